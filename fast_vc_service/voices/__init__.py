"""Voices: clips in folders, uploads, and the catalogue over both."""
