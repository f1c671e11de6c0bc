"""Python client library."""
