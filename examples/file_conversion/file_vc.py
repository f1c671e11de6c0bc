"""Convert audio files to another voice, without a server: `fast-vc convert` as a script.

uv run python examples/file_conversion/file_vc.py --source-wav-path my.wav --voice alto
"""

from __future__ import annotations

from fast_vc_service.cli import convert_files

if __name__ == "__main__":
    convert_files()
