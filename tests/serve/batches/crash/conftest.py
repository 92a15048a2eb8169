"""Credentials for a store on loopback."""

from tests.exactly_once.credentials import loopback_credentials

__all__ = ["loopback_credentials"]
