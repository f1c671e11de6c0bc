"""The recipe that makes the built-in weights; never imported by the service."""
