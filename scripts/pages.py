"""Read the project's Markdown pages: headings, links, code."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_IMAGE = re.compile(r"<img[^>]*\bsrc=\"([^\"]+)\"")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_EXAMPLE = re.compile(r"<!-- example: ([\w-]+) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Page:
    """One Markdown page.

    Attributes:
        path: Where it lies.
        text: All of it.
    """

    path: Path
    text: str

    @property
    def name(self) -> str:
        """The path as the repository says it."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def fences(self) -> list[tuple[str, str]]:
        """``(language, code)`` of each fenced block."""
        return [(match["language"], match["code"]) for match in _FENCE.finditer(self.text)]

    @cached_property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @cached_property
    def headings(self) -> list[tuple[int, str]]:
        """``(level, title)`` of each heading."""
        return [(len(marks), title) for marks, title in _HEADING.findall(self.prose)]

    @cached_property
    def anchors(self) -> set[str]:
        """The fragments that links may point to, made as GitHub makes them."""
        made: dict[str, int] = {}
        anchors = set()
        for _, title in self.headings:
            slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            seen = made.get(slug, 0)
            made[slug] = seen + 1
            anchors.add(f"{slug}-{seen}" if seen else slug)
        return anchors

    @cached_property
    def links(self) -> list[str]:
        """Targets of links and pictures."""
        prose = _SPAN.sub("", self.prose)
        return _LINK.findall(prose) + _IMAGE.findall(prose)

    @cached_property
    def spans(self) -> list[str]:
        """The contents of inline code."""
        return _SPAN.findall(self.prose)

    @cached_property
    def examples(self) -> dict[str, tuple[str, str]]:
        """``(language, code)`` of the blocks marked ``<!-- example: NAME -->``, by name."""
        return {name: (kind, code) for name, kind, code in _EXAMPLE.findall(self.text)}


def tracked(pattern: str = "*") -> list[Path]:
    """Return the files of the repository that match ``pattern``, ignored ones left out."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    paths = (ROOT / name for name in listing.split("\0") if name)
    return sorted(path for path in paths if path.is_file())


def load_pages() -> list[Page]:
    """Read every Markdown page of the repository."""
    return [Page(path, path.read_text(encoding="utf-8")) for path in tracked("*.md")]
