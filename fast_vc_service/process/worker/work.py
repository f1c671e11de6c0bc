"""What a worker process is given to do, and how that can fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Work(Generic[Result]):
    """A call in a worker process; all of it can be pickled.

    Attributes:
        what: For the log: what is done (``"an upload is decoded"``).
        run: The call, under the limits. What it returns or raises can be pickled too; large
            results belong into files.
        load: Called before, without the limits: code and weights that are our own.
        cpu_s: Processor time that ``run`` may take.
        memory_bytes: Memory that ``run`` may take beyond what was loaded before (Linux).
        urgent: Whether it goes before what is not.
    """

    what: str
    run: Callable[[], Result]
    load: Callable[[], object] | None = None
    cpu_s: float = 60.0
    memory_bytes: int = 1 << 30
    urgent: bool = False

    @property
    def wall_s(self) -> float:
        """How long ``run`` may take in all: the worker yields to everybody else."""
        return 30.0 + 10.0 * self.cpu_s


class Failure(StrEnum):
    """Why a worker brought no result."""

    CRASHED = "crashed"
    TOO_LONG = "too_long"
    TOO_MUCH_MEMORY = "too_much_memory"
    UNAVAILABLE = "unavailable"


class WorkFailedError(Exception):
    """A worker brought no result; it is gone, and another takes its place.

    Attributes:
        failure: Why. ``UNAVAILABLE`` has nothing to do with the work: no worker could begin.
    """

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class WorkStoppedError(Exception):
    """Nobody wants the result any more; the worker was ended."""
