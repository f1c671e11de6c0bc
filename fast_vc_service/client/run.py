"""A whole clip through the service, with a record of when what happened."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from fast_vc_service.audio.f0 import median_f0_hz
from fast_vc_service.audio.files import read_audio, write_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.client.both_ways import both_ways
from fast_vc_service.client.client import (
    ANSWER_TIMEOUT_S,
    DEFAULT_BITRATE,
    DEFAULT_URL,
    VoiceClient,
)
from fast_vc_service.client.errors import CLIENT_TIMEOUT, VoiceServiceError
from fast_vc_service.client.messages import Notice
from fast_vc_service.client.pacing import Pacer
from fast_vc_service.client.protocol_types import Ready, SessionOptions, Warned
from fast_vc_service.client.statistics import statistics
from fast_vc_service.client.timeline import Timeline
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.limits import implied_rate_hz
from fast_vc_service.protocol.members import Dialect


@dataclass(frozen=True)
class Plan:
    """How to send a clip.

    Attributes:
        url: Address of the service.
        dialect: The dialect to speak.
        chunk_ms: Audio to send at a time.
        real_time: Send by the clock, as a microphone would; else as fast as the server reads.
        bitrate: Bits a second of Opus that is sent.
        answer_timeout_s: How long the server may owe an answer without a sign of life.
        timeout_s: How long the whole session may take; None means as long as it likes.
        ca_file: PEM certificate to trust with ``wss://``.
        options: What to ask of the server. ``realtime`` follows from :attr:`real_time`.
    """

    url: str = DEFAULT_URL
    dialect: Dialect = "standard"
    chunk_ms: float = 20.0
    real_time: bool = True
    bitrate: int = DEFAULT_BITRATE
    answer_timeout_s: float = ANSWER_TIMEOUT_S
    timeout_s: float | None = None
    ca_file: Path | None = None
    options: SessionOptions = field(default_factory=SessionOptions)

    @property
    def sample_rate(self) -> int:
        """Hz of the audio to send."""
        return self.options.get("sample_rate", implied_rate_hz(self.options.get("encoding", "PCM")))

    @property
    def sample_rate_out(self) -> int:
        """Hz of the audio that comes back."""
        encoding = self.options.get("encoding_out", "PCM")
        return self.options.get("sample_rate_out", implied_rate_hz(encoding))


@dataclass
class Outcome:
    """What became of a clip; of a failed session, as far as it came.

    Attributes:
        plan: How it was sent.
        duration_in_s: Length of the clip.
        output: Converted audio ``[n]``.
        timeline: Every message of audio.
        ready: The server's hello; None in the simple dialect.
        stats: The server's statistics; empty in the simple dialect, None if it never came to that.
        notices: Warnings and announcements.
        error: Why it failed; None when it did not.
    """

    plan: Plan
    duration_in_s: float
    output: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    timeline: Timeline = field(default_factory=Timeline)
    ready: Ready | None = None
    stats: Mapping[str, Any] | None = None
    notices: list[Notice] = field(default_factory=list)
    error: VoiceServiceError | None = None

    @property
    def duration_out_s(self) -> float:
        """Length of the converted audio."""
        return len(self.output) / self.plan.sample_rate_out

    @property
    def warnings(self) -> list[Warned]:
        """What the server warned of."""
        return [notice for notice in self.notices if isinstance(notice, Warned)]

    @property
    def delay_ms(self) -> float:
        """Silence in front of the output: the server's delay if it was not trimmed."""
        if self.plan.options.get("trim_delay", True) or self.ready is None:
            return 0.0
        return self.ready.delay_ms or 0.0

    def statistics(self) -> dict[str, Any]:
        """Return the statistics file of the session."""
        return statistics(
            self.timeline,
            chunk_ms=self.plan.chunk_ms,
            real_time=self.plan.real_time,
            delay_ms=self.delay_ms,
            server_stats=self.stats,
        )


def load_clip(path: Path, sample_rate: int) -> FloatArray:
    """Read an audio file as mono ``[n]`` at ``sample_rate`` Hz.

    Raises:
        AudioFileError: The file cannot be read as audio.
    """
    audio, rate = read_audio(path)
    return audio if rate == sample_rate else resample(audio, rate, sample_rate)


def with_register(plan: Plan, clip: FloatArray) -> Plan:
    """Return ``plan`` with the register of the speaker in ``clip`` ``[n]`` among its options.

    Who sends a whole recording as fast as it is read can tell the service beforehand what a live
    session has to learn. A plan in real time stays as it is: it stands in for a microphone.
    """
    if plan.real_time or "source_f0_hz" in plan.options:
        return plan
    known_f0_hz = median_f0_hz([clip], plan.sample_rate)
    if known_f0_hz is None:
        return plan
    options = plan.options.copy()
    options["source_f0_hz"] = known_f0_hz
    return replace(plan, options=options)


async def run_clip(
    clip: FloatArray,
    plan: Plan,
    on_sent: Callable[[float], None] = lambda _seconds: None,
) -> Outcome:
    """Send ``clip`` ``[n]`` (at the plan's ``sample_rate``) through the service.

    A failed session gives an outcome with ``error``; it does not raise.

    Args:
        clip: The audio.
        plan: How to send it.
        on_sent: Told how many seconds have been sent, after each chunk.

    Raises:
        ValueError: An option of the plan is out of range, or unknown to the dialect.
    """
    outcome = Outcome(plan, len(clip) / plan.sample_rate)
    pieces: list[FloatArray] = []
    try:
        async with asyncio.timeout(plan.timeout_s):
            await _converse(clip, plan, outcome, pieces, on_sent)
    except VoiceServiceError as error:
        outcome.error = error
    except TimeoutError:
        outcome.error = VoiceServiceError(
            CLIENT_TIMEOUT,
            f"the session was not complete after {plan.timeout_s:g} s",
            {"hint": "allow more time, or send a shorter clip"},
        )
    if pieces:
        outcome.output = np.concatenate(pieces)
    return outcome


def convert_file_over_ws(
    source: str | Path,
    output: str | Path,
    *,
    url: str = DEFAULT_URL,
    **options: Unpack[SessionOptions],
) -> Outcome:
    """Convert an audio file by a running service, as fast as that can; no event loop needed.

    Args:
        source: Any file libsndfile reads; down-mixed, and resampled to ``sample_rate``.
        output: File to write, at ``sample_rate_out``; its suffix chooses the format.
        url: Address of the service.
        options: What to ask of the server; see :class:`SessionOptions`.

    Raises:
        AudioFileError: A file cannot be read or written.
        VoiceServiceError: The session failed; nothing was written.
    """
    plan = Plan(url=url, real_time=False, options=options)
    clip = load_clip(Path(source), plan.sample_rate)
    outcome = asyncio.run(run_clip(clip, with_register(plan, clip)))
    if outcome.error is not None:
        raise outcome.error
    write_audio(output, outcome.output, plan.sample_rate_out)
    return outcome


async def _converse(
    clip: FloatArray,
    plan: Plan,
    outcome: Outcome,
    pieces: list[FloatArray],
    on_sent: Callable[[float], None],
) -> None:
    options = plan.options.copy()
    if plan.dialect == "standard":
        options["realtime"] = plan.real_time
    client = VoiceClient(
        plan.url,
        dialect=plan.dialect,
        bitrate=plan.bitrate,
        answer_timeout_s=plan.answer_timeout_s,
        tls=None if plan.ca_file is None else ssl.create_default_context(cafile=plan.ca_file),
        timeline=outcome.timeline,
        on_notice=outcome.notices.append,
        **options,
    )

    async def receive() -> None:
        async for samples in client:
            pieces.append(samples)  # noqa: PERF401 (one by one: a failure must not lose them)

    async with client:
        outcome.ready = client.ready
        try:
            await both_ways(_send_all(client, clip, plan, on_sent), receive())
        finally:
            outcome.stats = client.stats


async def _send_all(
    client: VoiceClient, clip: FloatArray, plan: Plan, on_sent: Callable[[float], None]
) -> None:
    rate = plan.sample_rate
    step = max(1, round(plan.chunk_ms * rate / 1e3))
    pacer = Pacer()
    due_s: float | None = None
    for start in range(0, len(clip), step):
        if plan.real_time:
            due_s = await pacer.wait_until(start / rate)
        await client.send(clip[start : start + step], due_s=due_s)
        on_sent(min(len(clip), start + step) / rate)
    await client.end(due_s=due_s)
