"""Real-time voice conversion as a service."""

__version__ = "0.3.0"
