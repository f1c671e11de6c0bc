"""Audio from any source through one session: for programs that have chunks, not a microphone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Unpack

from fast_vc_service.client.client import DEFAULT_URL, VoiceClient
from fast_vc_service.client.protocol_types import SessionOptions
from fast_vc_service.client.sync import LoopThread
from fast_vc_service.contract import FloatArray

Chunks = Iterable[FloatArray] | AsyncIterable[FloatArray]


async def convert_stream(
    source: Chunks, *, url: str = DEFAULT_URL, **options: Unpack[SessionOptions]
) -> AsyncIterator[FloatArray]:
    """Send what ``source`` yields, and yield what comes back while it still does.

    ::

        async for converted in convert_stream(chunks, voice="alto"):
            play(converted)

    Args:
        source: Mono chunks ``[n]`` within [-1, 1], of any length, at ``sample_rate``. An ordinary
            iterable is asked in a thread, so it may wait for its audio.
        url: Address of the service.
        options: What to ask of the server; see :class:`SessionOptions`.

    Yields:
        Mono ``[n]`` at ``sample_rate_out``, in all as long as what was sent.

    Raises:
        VoiceServiceError: The session failed. What ``source`` raises is raised as well.
    """
    async with VoiceClient(url, **options) as client:
        speaking = asyncio.ensure_future(_speak(client, source))
        hearing = aiter(client)
        coming: asyncio.Future[FloatArray | None] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(anext(hearing, None))
                if not speaking.done():
                    await asyncio.wait({coming, speaking}, return_when=asyncio.FIRST_COMPLETED)
                if speaking.done():
                    speaking.result()
                samples = await coming
                if samples is None:
                    break
                yield samples
            await speaking
        finally:
            for task in (speaking, coming):
                if task is not None and not task.done():
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, Exception):
                        await task


def convert_chunks(
    source: Iterable[FloatArray], *, url: str = DEFAULT_URL, **options: Unpack[SessionOptions]
) -> Iterator[FloatArray]:
    """Do as :func:`convert_stream` does, without an event loop.

    ::

        for converted in convert_chunks(chunks, voice="alto"):
            play(converted)
    """
    with LoopThread() as loop:
        converting = convert_stream(source, url=url, **options)
        try:
            while (samples := loop.run(anext(converting, None))) is not None:
                yield samples
        finally:
            loop.run(converting.aclose())  # type: ignore[attr-defined]


async def _speak(client: VoiceClient, source: Chunks) -> None:
    if isinstance(source, AsyncIterable):
        async for samples in source:
            await client.send(samples)
    else:
        chunks = iter(source)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            await client.send(chunk)
    await client.end()
