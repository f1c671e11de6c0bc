"""Sockets from ``accept`` to the parser: who gets a place, and how much is read of whom when."""
