"""Streaming, windowing and scheduling over any model family."""
