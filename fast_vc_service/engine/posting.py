"""Results, on their way to the thread that owns a session."""

from __future__ import annotations

from collections.abc import Callable

from loguru import logger

from fast_vc_service.engine.batching import Job, Result

Post = Callable[[Callable[[], None]], object]


def answer_to(job: Job, result: Result) -> None:
    """Give ``result`` to who waits for it; one session's fault costs no other its results."""
    try:
        job.done(result)
    except Exception:
        logger.exception("a session could not take its result")


def post_to(post: Post, call: Callable[[], None]) -> None:
    """Have ``call`` called by the owner, unless the owner's loop has closed."""
    try:
        post(call)
    except RuntimeError:
        logger.debug("results had no owner left")
