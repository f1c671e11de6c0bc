"""Runs one batch on a converter: late blocks are skipped, the rest stepped, faults contained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from loguru import logger

from fast_vc_service.contract import Converter, FloatArray, State, block_out
from fast_vc_service.engine.batching import Batch, Job, Result
from fast_vc_service.engine.device_errors import (
    DeviceLostError,
    is_device_error,
    is_out_of_memory,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A session of a batch: its state, and what the log calls it."""

    state: State
    log_id: str


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a batch.

    Attributes:
        answers: Every job with its result; those of each session are in order.
        step_s: Wall seconds of the step.
        stepped: Sessions in the step; 0 when all were skipped.
    """

    answers: list[tuple[Job, Result]]
    step_s: float
    stepped: int


class BatchRunner:
    """Has no thread of its own; several may run batches of different sessions at a time.

    Args:
        converter: Runs the steps.
        clock: Monotonic seconds.
        prove_device: Makes a step that has to succeed, and raises where it does not.
        on_out_of_memory: Told how many sessions a step may have after one had too many.
    """

    def __init__(
        self,
        converter: Converter,
        clock: Callable[[], float] = time.monotonic,
        *,
        prove_device: Callable[[], None] = lambda: None,
        on_out_of_memory: Callable[[int], None] = lambda _sessions: None,
    ) -> None:
        self._converter = converter
        self._clock = clock
        self._prove = prove_device
        self._on_out_of_memory = on_out_of_memory

    def run(self, batch: Batch, members: Mapping[int, Member], calls: Callable[[], None]) -> Ran:
        """Run ``batch``.

        Args:
            batch: What to run.
            members: Its sessions by slot id.
            calls: Called before every call of the converter.
        """
        with logger.contextualize(session_id=log_ids(members)):
            now = self._clock()
            answers = []
            for job in batch.late:
                state = members[job.slot_id].state
                calls()
                self._retarget(job, state)
                result = Result(self._silence(state), 0.0, now - job.submitted_at, "late")
                answers.append((job, result))
            jobs = [job for job in batch.jobs if self._retarget(job, members[job.slot_id].state)]
            converted = self._step(jobs, members, calls) if jobs else {}
            step_s = self._clock() - now
            for job in batch.jobs:
                queued_s = now - job.submitted_at
                row = converted.get(job.slot_id)
                if row is not None:
                    answers.append((job, Result(row, step_s, queued_s, None, len(jobs))))
                else:
                    samples = self._silence(members[job.slot_id].state)
                    answers.append((job, Result(samples, 0.0, queued_s, "failed")))
        return Ran(answers, step_s, len(jobs))

    def _retarget(self, job: Job, state: State) -> bool:
        """Apply the change of voice that comes with ``job``; False when that fails."""
        if job.change is not None:
            try:
                self._converter.update(state, job.change.voice, job.change.pitch_shift)
            except Exception:
                logger.exception("changing the voice of a session failed")
                return False
        return True

    def _silence(self, state: State) -> FloatArray:
        try:
            return self._converter.skip(state)
        except Exception:
            logger.exception("skipping a block failed")
            return np.zeros(block_out(self._converter), np.float32)

    def _step(
        self, jobs: list[Job], members: Mapping[int, Member], calls: Callable[[], None]
    ) -> dict[int, FloatArray]:
        """Step the sessions together or, if that fails, in smaller batches; output by slot id.

        Raises:
            DeviceLostError: The device computes nothing any more.
        """
        calls()
        converted, error = self._attempt(jobs, members)
        if error is None:
            return converted
        size = 1
        if is_out_of_memory(error):
            size = max(1, len(jobs) // 2)
            self._on_out_of_memory(size)
        elif is_device_error(error):
            calls()
            self._prove_device()
        if len(jobs) > 1:
            for begin in range(0, len(jobs), size):
                converted |= self._step(jobs[begin : begin + size], members, calls)
        return converted

    def _prove_device(self) -> None:
        try:
            self._prove()
        except Exception as error:
            raise DeviceLostError("the device has failed, and fails again") from error

    def _attempt(
        self, jobs: list[Job], members: Mapping[int, Member]
    ) -> tuple[dict[int, FloatArray], Exception | None]:
        """Step the sessions once; the error is without its traceback, which holds tensors."""
        one = members[jobs[0].slot_id].log_id if len(jobs) == 1 else None
        named = {} if one is None else {"session_id": one}
        try:
            return self._checked(jobs, members), None
        except Exception as error:
            with logger.contextualize(**named):
                logger.exception("a step over {} sessions failed", len(jobs))
            error.__traceback__ = error.__context__ = error.__cause__ = None
            return {}, error

    def _checked(self, jobs: list[Job], members: Mapping[int, Member]) -> dict[int, FloatArray]:
        blocks = np.concatenate([job.block for job in jobs]).reshape(len(jobs), -1)
        output = self._converter.step(blocks, [members[job.slot_id].state for job in jobs])
        answers = dict(zip([job.slot_id for job in jobs], output, strict=True))
        if np.isfinite(output).all():
            return answers
        logger.error("a step gave samples that are not finite")
        return {slot_id: row for slot_id, row in answers.items() if np.isfinite(row).all()}


def log_ids(members: Mapping[int, Member]) -> str:
    """Return what log lines about all of ``members`` carry."""
    return ",".join(member.log_id for member in members.values())
