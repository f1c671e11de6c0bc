"""What a reader is told of a part of the protocol, in the languages of the documentation."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """One text in English and in Chinese; Markdown."""

    en: str = ""
    zh: str = ""
