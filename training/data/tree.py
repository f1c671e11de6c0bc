"""The files of a source: an unpacked package, or a commit in a git directory."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

from training.data.fetch import debian_packages
from training.data.source import Source

_HOST = "https://github.com"


class TreeError(RuntimeError):
    """Files are missing; the message says which and where they were looked for."""


class Tree(Protocol):
    """Names and contents of files."""

    def names(self) -> list[str]:
        """Of all files, sorted, with ``/``."""
        ...

    def read(self, name: str) -> bytes:
        """The file's content."""
        ...

    def close(self) -> None:
        """End what reads."""
        ...


class Folder:
    """Files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """See :class:`Tree`."""
        return sorted(
            path.relative_to(self._folder).as_posix()
            for path in self._folder.rglob("*.*")
            if path.is_file()
        )

    def read(self, name: str) -> bytes:
        """See :class:`Tree`."""
        return (self._folder / name).read_bytes()

    def close(self) -> None:
        """Nothing is open."""


class Commit:
    """Files of a commit, read from the git directory without a checkout."""

    def __init__(self, folder: Path, commit: str) -> None:
        """Open ``folder``.

        Raises:
            TreeError: It has no such commit.
        """
        self._git = ["git", f"--git-dir={folder}"]
        listing = subprocess.run(
            [*self._git, "ls-tree", "-r", "-z", commit], capture_output=True, check=False
        )
        if listing.returncode != 0:
            raise TreeError(f"{folder}: no commit {commit} ({listing.stderr.decode().strip()})")
        rows = (row.split("\t", 1) for row in listing.stdout.decode().split("\0") if row)
        self._objects = {name: meta.split()[2] for meta, name in rows}
        self._reader: subprocess.Popen[bytes] | None = None

    def names(self) -> list[str]:
        """See :class:`Tree`."""
        return sorted(self._objects)

    def read(self, name: str) -> bytes:
        """See :class:`Tree`.

        Raises:
            TreeError: The git directory lacks the file.
        """
        if self._reader is None:
            self._reader = subprocess.Popen(
                [*self._git, "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        to_git, from_git = self._reader.stdin, self._reader.stdout
        if to_git is None or from_git is None:
            raise TreeError("git does not answer")
        to_git.write(self._objects[name].encode() + b"\n")
        to_git.flush()
        header = from_git.readline().split()
        if len(header) != 3:
            raise TreeError(f"{name}: not in the git directory; fetch the repository again")
        content = from_git.read(int(header[2]))
        from_git.read(1)
        return content

    def close(self) -> None:
        """See :class:`Tree`."""
        if self._reader is not None:
            self._reader.communicate()
            self._reader = None


def open_tree(source: Source, root: Path, mirrors: Path | None) -> Tree:
    """The files of ``source``, fetched into ``root/downloads`` first where they are not there.

    Args:
        source: where to look.
        root: folder of all stages.
        mirrors: folder of git directories ``owner+name/repo`` to use instead of the network.

    Raises:
        TreeError: A mirror is missing or lacks the commit.
    """
    if not source.commit:
        share = root / "real" / "packages" / source.origin
        if not share.is_dir():
            debian_packages([source.origin], root / "downloads" / "deb", share)
        return Folder(share)
    name = source.origin.replace("/", "+")
    if mirrors is not None:
        folder = mirrors / name / "repo"
        return Commit(folder / ".git" if (folder / ".git").is_dir() else folder, source.commit)
    folder = root / "downloads" / "git" / name
    if not (folder / "complete").is_file():
        subprocess.run(["git", "init", "--quiet", "--bare", str(folder)], check=True)
        address = f"{_HOST}/{source.origin}"
        fetch = ["git", f"--git-dir={folder}", "fetch", "--quiet", "--depth=1", address]
        subprocess.run([*fetch, source.commit], check=True)
        (folder / "complete").touch()
    return Commit(folder, source.commit)
