"""The ``world`` family: a signal-processing converter that needs no weights."""
