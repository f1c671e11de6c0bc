"""Errors whose message is the whole answer to the person at the command line."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right; the message is one line that says what and how."""


class SettingsError(UserError):
    """A setting is wrong; the line names it, what was expected, what came and where from."""


class ServiceError(UserError):
    """The service cannot be started, found, asked or stopped."""


class ConversionError(UserError):
    """A file cannot be converted, or none can."""


class VoiceError(UserError):
    """A voice cannot be added, found, removed, exported or imported."""
