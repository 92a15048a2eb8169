"""Tenants: keys, what a key may do and how much, and what was used. Object storage is the only state."""
