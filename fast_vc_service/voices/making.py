"""How a voice is made of a clip, and where: in this process, or in a worker."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import soundfile

from fast_vc_service.audio.files import audio_info, read_audio, telling_why
from fast_vc_service.audio.pcm import to_int16
from fast_vc_service.audio.untrusted import read_untrusted
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, Voice
from fast_vc_service.engine.families import build_converter, family_of
from fast_vc_service.models.seedvc.options import SeedVcSource
from fast_vc_service.process.interpreter import limit_torch_threads
from fast_vc_service.process.worker.pool import WorkerPool
from fast_vc_service.process.worker.work import Failure, Work, WorkFailedError
from fast_vc_service.voices import listening
from fast_vc_service.voices.clip_check import ClipCheck, check_clip
from fast_vc_service.voices.excerpt import EXCERPT_S, best_excerpt

CPU_S = 120.0
"""Processor time that a voice may take: an hour of speech to choose from, large networks."""

MEMORY_BYTES = 3 << 30

_LOADED_S = 3.0

Made = TypeVar("Made")


@dataclass(frozen=True)
class ClipVoice:
    """A voice of a clip that the operator has put there.

    Attributes:
        voice: The voice.
        check: What was found out about the clip, if that was asked for.
    """

    voice: Voice
    check: ClipCheck | None


@dataclass(frozen=True)
class UploadedVoice:
    """What was made of a clip that a user has sent.

    Attributes:
        check: What was found out about the clip.
        voice: None when the clip makes none, see the problems of ``check``.
    """

    check: ClipCheck
    voice: Voice | None


class VoiceMaker(Protocol):
    """Who makes voices."""

    def of_clip(self, name: str, clip: Path, *, check: bool) -> ClipVoice:
        """Make a voice of a clip; see :func:`of_clip`."""
        ...

    def of_upload(self, name: str, upload: Path, kept: Path, *, max_s: float) -> UploadedVoice:
        """Check a clip, make a voice of it and keep it; see :func:`of_upload`."""
        ...

    def sample(self, clip: Path) -> bytes:
        """Return what a voice is heard by; see :func:`sample`."""
        ...


def of_clip(converter: Converter, name: str, clip: Path, *, check: bool) -> ClipVoice:
    """Make a voice of a clip.

    Args:
        converter: Makes it.
        name: Of the voice.
        clip: The file.
        check: Whether to look for what makes the voice worse than it could be.

    Raises:
        ValueError: The clip makes no voice; the message says why.
    """
    audio, sample_rate = read_audio(clip)
    voice = converter.make_voice(name, best_excerpt(audio, sample_rate).audio, sample_rate)
    return ClipVoice(voice, check_clip(audio, sample_rate) if check else None)


def of_upload(
    converter: Converter, name: str, upload: Path, kept: Path, *, max_s: float
) -> UploadedVoice:
    """Check a clip, make a voice of it and write it to ``kept`` as FLAC.

    Args:
        converter: Makes the voice.
        name: Of the voice.
        upload: The file as it was sent.
        kept: Where the clip is to be; not written when it makes no voice.
        max_s: Seconds that it may last.

    Raises:
        AudioFileError: It cannot be read; see :func:`~.read_untrusted`.
        OSError: ``kept`` cannot be written.
    """
    audio, sample_rate = read_untrusted(upload, max_s=max_s)
    check = check_clip(audio, sample_rate)
    if check.problems:
        return UploadedVoice(check, None)
    try:
        voice = converter.make_voice(name, best_excerpt(audio, sample_rate).audio, sample_rate)
    except ValueError as error:
        return UploadedVoice(replace(check, problems=(*check.problems, str(error))), None)
    with telling_why(kept):
        soundfile.write(kept, to_int16(audio), sample_rate, format="FLAC")
    return UploadedVoice(check, voice)


def sample(clip: Path) -> bytes:
    """Return what is used of a clip as a WAV file.

    Raises:
        AudioFileError: It cannot be read.
    """
    audio, rate = read_audio(clip)
    file = io.BytesIO()
    soundfile.write(file, to_int16(best_excerpt(audio, rate).audio), rate, format="WAV")
    return file.getvalue()


@dataclass(frozen=True)
class MakerHere:
    """Makes voices in this process.

    Attributes:
        converter: Makes them.
    """

    converter: Converter

    def of_clip(self, name: str, clip: Path, *, check: bool) -> ClipVoice:
        """See :func:`of_clip`."""
        return of_clip(self.converter, name, clip, check=check)

    def of_upload(self, name: str, upload: Path, kept: Path, *, max_s: float) -> UploadedVoice:
        """See :func:`of_upload`."""
        return of_upload(self.converter, name, upload, kept, max_s=max_s)

    def sample(self, clip: Path) -> bytes:
        """See :func:`sample`."""
        return sample(clip)


@dataclass(frozen=True)
class Recipe:
    """What a worker needs to know to make the voices of the engine, on its CPU.

    Attributes:
        engine: Its name.
        options: What it was built with.
        family: Of its voices; that of a converter on the CPU may be another.
    """

    engine: str
    options: SeedVcSource | None
    family: str

    def build(self) -> Converter:
        """Build the converter, or return the one that was built."""
        return _built(self)

    def load(self, *, listens: bool) -> None:
        """Load everything that making a voice takes.

        Args:
            listens: Whether the networks that look at clips are needed.
        """
        limit_torch_threads(family_of(self.engine).torch_threads)
        silence = np.zeros(round(_LOADED_S * SAMPLE_RATE_IN), np.float32)
        with contextlib.suppress(ValueError):
            # Some networks are loaded at their first use.
            self.build().make_voice("", silence, SAMPLE_RATE_IN)
        if listens:
            listening.is_speech(silence)
            listening.speaker_embeddings([silence])


@lru_cache(maxsize=1)
def _built(recipe: Recipe) -> Converter:
    source = recipe.options
    if source is not None:
        # What only a GPU can do, or does faster, makes no other voices.
        own = replace(source.options, precision="float32", compile=False, cuda_graphs=False)
        source = replace(source, options=own)
    return build_converter(recipe.engine, options=source)


@dataclass(frozen=True)
class MakerElsewhere:
    """Makes voices in a worker process.

    Attributes:
        workers: Where.
        recipe: Of the converter that makes them.
    """

    workers: WorkerPool
    recipe: Recipe

    def of_clip(self, name: str, clip: Path, *, check: bool) -> ClipVoice:
        """See :func:`of_clip`.

        Raises:
            WorkFailedError: The worker failed for a reason that may not be the clip.
        """
        listens = check or audio_info(clip).duration_s > EXCERPT_S
        run = partial(_of_clip, self.recipe, name, clip, check=check)
        try:
            return self._made(f"the voice {name!r} is made", run, listens=listens, urgent=True)
        except WorkFailedError as error:
            if error.failure in {Failure.UNAVAILABLE, Failure.TOO_MUCH_MEMORY}:
                raise
            raise ValueError(f"the clip cannot be used: {error}") from error

    def of_upload(self, name: str, upload: Path, kept: Path, *, max_s: float) -> UploadedVoice:
        """See :func:`of_upload`.

        Raises:
            WorkFailedError: The worker failed.
        """
        run = partial(_of_upload, self.recipe, name, upload, kept, max_s=max_s)
        return self._made("a clip is checked", run, listens=True)

    def sample(self, clip: Path) -> bytes:
        """See :func:`sample`; a clip of which all is used is not worth a worker."""
        if audio_info(clip).duration_s <= EXCERPT_S:
            return sample(clip)
        return self._made("a voice is heard", partial(sample, clip), listens=True)

    def _made(
        self, what: str, run: Callable[[], Made], *, listens: bool, urgent: bool = False
    ) -> Made:
        work = Work(
            what,
            run,
            partial(self.recipe.load, listens=listens),
            cpu_s=CPU_S,
            memory_bytes=MEMORY_BYTES,
            urgent=urgent,
        )
        return self.workers.submit(work).result()


def _of_clip(recipe: Recipe, name: str, clip: Path, *, check: bool) -> ClipVoice:
    made = of_clip(recipe.build(), name, clip, check=check)
    return replace(made, voice=replace(made.voice, family=recipe.family))


def _of_upload(
    recipe: Recipe, name: str, upload: Path, kept: Path, *, max_s: float
) -> UploadedVoice:
    made = of_upload(recipe.build(), name, upload, kept, max_s=max_s)
    if made.voice is None:
        return made
    return replace(made, voice=replace(made.voice, family=recipe.family))
