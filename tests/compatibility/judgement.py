"""Whether two pieces of audio are the same: by their hash, or by their fingerprint elsewhere.

On the kind of CPU that a recording was made on, with the same libraries, the hash must match. On
another one rounding differs in the last bits, and so do some samples; there the fingerprint has
to agree within its tolerance.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.compatibility.comparison import differences
from tests.compatibility.fingerprint import PACKETS, SAMPLES, distance
from tests.compatibility.same_results import machine


@dataclass
class Judge:
    """Compares audio, and counts by what.

    Attributes:
        recorded_on: The machine that the recording was made on.
        used: How often each way of comparing was used.
    """

    recorded_on: dict[str, str]
    present_on: dict[str, str] = field(default_factory=machine)
    used: Counter[str] = field(default_factory=Counter)

    @property
    def same_machine(self) -> bool:
        return self.recorded_on == self.present_on

    def differences(self, recorded: Any, present: Any, place: str) -> list[str]:
        """Return how audio differs, one line for each way; ``{"sha256", "fingerprint", …}``."""
        marks = ("sha256", "fingerprint")
        found = differences(
            {key: value for key, value in recorded.items() if key not in marks},
            {key: value for key, value in present.items() if key not in marks},
            place,
        )
        if found or "sha256" not in recorded:
            return found
        if recorded["sha256"] == present["sha256"]:
            self.used["hash"] += 1
            return []
        apart = distance(recorded["fingerprint"], present["fingerprint"])
        measured = f"{apart.mean_db:.4f} dB apart on average, {apart.largest_db:.2f} dB at most"
        if self.same_machine:
            return [f"{place}: another hash on the kind of CPU it was recorded on; {measured}"]
        self.used["fingerprint"] += 1
        if apart.within(PACKETS if "packets" in recorded else SAMPLES):
            return []
        return [f"{place}: another hash, and sounds different: {measured}"]

    def summary(self, what: str) -> str:
        """Say in a line what was compared by what, for the report of a test run."""
        counted = ", ".join(f"{count} by {way}" for way, count in sorted(self.used.items()))
        if self.same_machine:
            return f"{what}: {counted}; recorded on this kind of CPU, so that hashes must match"
        return (
            f"{what}: {counted}; recorded on {self.recorded_on}, this is {self.present_on}: "
            "fingerprints count where hashes differ"
        )
