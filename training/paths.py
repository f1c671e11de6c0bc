"""Where the stages keep what they make."""

from __future__ import annotations

from pathlib import Path

DEFAULT_ROOT = Path("~/.cache/fast-vc-training").expanduser()
"""Downloads, speech, features and runs; some tens of gigabytes in the end."""
