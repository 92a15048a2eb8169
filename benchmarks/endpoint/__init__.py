"""Endpoint: the openai engine against a mock of an endpoint."""
