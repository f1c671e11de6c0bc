"""Runs one batch on a converter: late blocks are skipped, the rest stepped, faults contained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from loguru import logger

from fast_vc_service.contract import Converter, FloatArray, State, block_out
from fast_vc_service.engine.batching import Batch, Job, Result


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
    """

    def __init__(self, converter: Converter, clock: Callable[[], float] = time.monotonic) -> None:
        self._converter = converter
        self._clock = clock

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
        """Step the sessions together or, if that fails, each alone once; output by slot id."""
        calls()
        try:
            return self._checked(jobs, members)
        except Exception:
            logger.exception("a step over {} sessions failed", len(jobs))
            if len(jobs) == 1:
                return {}
        converted: dict[int, FloatArray] = {}
        for job in jobs:
            calls()
            with logger.contextualize(session_id=members[job.slot_id].log_id):
                try:
                    converted |= self._checked([job], members)
                except Exception:
                    logger.exception("the step of a session alone failed as well")
        return converted

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
