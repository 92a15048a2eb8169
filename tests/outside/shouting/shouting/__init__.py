"""Shouting: what another package can add to raygen, by the public names alone."""
