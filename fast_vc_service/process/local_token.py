"""A token that stands for being on the machine of the service, where its sockets cannot tell.

Who can read the file is the user of the service, or root.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

TOKEN_BYTES = 24


class LocalTokenFile:
    """The file of one running service.

    Args:
        folder: Where info files are.
        port: Of the service.

    Attributes:
        path: The file.
        token: What it holds.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.path = folder / f"fast_vc_service_port_{port}.token"
        self.token = secrets.token_urlsafe(TOKEN_BYTES)

    def write(self) -> None:
        """Write it for this user alone, in the place of one that a killed service has left.

        Raises:
            OSError: It cannot be written.
        """
        self.path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(self.path, flags, 0o600), "w") as file:
            file.write(self.token + "\n")

    def remove(self) -> None:
        """Remove it, if it is still this one."""
        with contextlib.suppress(OSError):
            if self.path.read_text(encoding="ascii").strip() == self.token:
                self.path.unlink()
