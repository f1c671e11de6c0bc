"""What is known of a collection of recordings: where it is, who speaks, what the licence allows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

Use = Literal["train", "encode", "eval"]

FREE_LICENCES = frozenset(
    {"CC0", "CC-BY-3.0", "CC-BY-4.0", "ODC-BY", "Apache-2.0", "MIT", "public domain"}
)
"""What weights may learn from: these ask for no more than credit."""


class LicenceError(ValueError):
    """Weights may not learn from this."""


@dataclass(frozen=True)
class Source:
    """Recordings of one origin.

    Attributes:
        origin: name of the Debian package, or ``owner/name`` of the git repository.
        pattern: which files below ``usr/share`` or of the repository; named groups may say who
            speaks.
        speaker: name of the speaker, or a format filled from the pattern's groups. The same
            person has the same name in all sources.
        sex: ``f``, ``m`` or ``?``.
        credit: whom the licence wants named.
        use: ``train``; ``encode``: only what listens learns from it, nobody is to sound like it;
            ``eval``: nothing learns from it.
        commit: of a repository; empty for a package.
        wide: sampled at 24 kHz or more, so that all bands are filled.
        core_minutes: what the core set takes of it.
        join_s: recordings of a speaker are joined up to about this length; 0: left as they are.
        texts: pattern of files whose lines are a recording's name and its words.
        ages: files whose lines are a speaker (as the group ``who``) and years.
        held_out: whether one speaker in ten is kept for validation; else one recording in twenty.

    Raises:
        LicenceError: something is to learn from it and the licence is not among FREE_LICENCES.
    """

    origin: str
    pattern: str
    speaker: str
    language: str
    sex: str
    licence: str
    credit: str
    use: Use
    commit: str = ""
    wide: bool = False
    core_minutes: float = 0.0
    join_s: float = 0.0
    texts: str = ""
    ages: tuple[str, ...] = ()
    held_out: bool = False

    @property
    def digest(self) -> str:
        """Names this description: another one has other clips."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]

    def __post_init__(self) -> None:
        if self.use != "eval" and self.licence not in FREE_LICENCES:
            raise LicenceError(
                f"{self.origin}: nothing may learn from speech under {self.licence or 'no licence'}"
                f", expected one of {', '.join(sorted(FREE_LICENCES))}"
            )
