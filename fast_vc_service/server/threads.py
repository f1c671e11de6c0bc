"""Threads for what blocks, a few for each kind: what one kind waits for holds up no other.

Whatever is not of these kinds runs in the threads of ``asyncio.to_thread`` and is short: what
sessions and listings need.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from fast_vc_service.contract import Voice
from fast_vc_service.protocol.voice_choice import VoiceChoice
from fast_vc_service.voices.catalogue import VoiceCatalogue

Given = ParamSpec("Given")
Result = TypeVar("Result")

_UPLOADS = ThreadPoolExecutor(8, "upload")
_VOICES = ThreadPoolExecutor(8, "voice")


async def upload_thread(
    work: Callable[Given, Result], *args: Given.args, **named: Given.kwargs
) -> Result:
    """Await ``work`` on what a client has sent: copies, checks, new voices."""
    return await _in(_UPLOADS, functools.partial(work, *args, **named))


async def voice_thread(
    work: Callable[Given, Result], *args: Given.args, **named: Given.kwargs
) -> Result:
    """Await ``work`` that makes or reads voices, which sessions wait for."""
    return await _in(_VOICES, functools.partial(work, *args, **named))


async def find_voice(voices: VoiceCatalogue, choice: VoiceChoice, owner: str | None) -> Voice:
    """Return a voice; see :meth:`VoiceCatalogue.get`. One that is made waits for none that is not.

    Raises:
        UnknownVoiceError, CannotBlendError, ValueError: See there.
    """
    # In a thread even when it is made: an added one is looked for on the disk.
    made = await asyncio.to_thread(voices.made, choice, owner)
    return made if made is not None else await voice_thread(voices.get, choice, owner)


async def _in(threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(threads, context.run, work)
