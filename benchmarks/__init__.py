"""Measurements of the service; README.md says what each one measures and how to run it."""
