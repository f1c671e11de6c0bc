"""What a made voice depends on beside its clip: the code in front of the networks, and weights."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def made_with(family: str) -> str:
    """Return a digest of all that makes voices of ``family`` out of clips.

    Families whose weights are the user's own files (``seedvc-tiny-1a2b3c4d``) name those already.
    """
    folders = (_PACKAGE / "audio", _PACKAGE / "models" / family.partition("-")[0])
    files = [
        *(path for folder in folders for path in folder.rglob("*") if path.is_file()),
        Path(__file__).with_name("excerpt.py"),
    ]
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.suffix in {".py", ".safetensors"}:
            digest.update(path.relative_to(_PACKAGE).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]
