"""What is to be converted, one file of it, and what became of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from fast_vc_service.audio.files import AudioFileError, AudioInfo, count_audio
from fast_vc_service.commands.finished import Finished
from fast_vc_service.contract import Converter, Voice
from fast_vc_service.engine.files import FileFormat, convert_blocks, frames_at, write_blocks
from fast_vc_service.process.names import one_line, shown


@dataclass(frozen=True)
class Request:
    """What to convert.

    Attributes:
        sources: Files and folders; a folder stands for all audio files in and below it.
        output_dir: Where converted files go, under the names of their sources.
        file_format: What they are written as.
        voice: Name of a voice, None for the default one.
        reference: Clip to make the voice of instead.
        pitch_shift: Semitones on top of the automatic register match.
        parallel: Files converted at the same time.
        resume: Skip what an earlier run with ``resume`` has finished just so, and note what this
            one finishes.
        report: Where the results are written as JSON, None for nowhere.
        sample_rate: Hz of what is written, None for that of each source.
    """

    sources: Sequence[Path]
    output_dir: Path
    file_format: FileFormat = "wav"
    voice: str | None = None
    reference: Path | None = None
    pitch_shift: float = 0.0
    parallel: int = 1
    resume: bool = False
    report: Path | None = None
    sample_rate: int | None = None


@dataclass(frozen=True)
class Converted:
    """What became of one file.

    Attributes:
        source: The file.
        output: Its conversion, None when it failed.
        duration_s: Length of both.
        sample_rate: Hz of the output.
        channels: Of the source; the output is mono.
        peak: Of a float source above full scale, which was scaled to it; else 1.
        elapsed_s: Wall time of the conversion.
        real_time_factor: ``elapsed_s / duration_s``.
        error: Why it failed, None when it did not.
        skipped: An earlier run had finished it.
    """

    source: Path
    output: Path | None = None
    duration_s: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    peak: float | None = None
    elapsed_s: float | None = None
    real_time_factor: float | None = None
    error: str | None = None
    skipped: bool = False


class StoppedError(Exception):
    """The run was stopped; files that are being converted are not finished."""


def convert_file(
    converter: Converter,
    voice: Voice,
    source: Path,
    *,
    place: Path,
    request: Request,
    progress: Callable[[float], None] = lambda _share: None,
    finished: Finished | None = None,
) -> Converted:
    """Convert one file into ``<request.output_dir>/<place>.<format>``.

    The output is, to the sample, as long as the source.

    Args:
        converter: In file geometry.
        voice: Of its family.
        source: The file.
        place: Relative path without suffix.
        request: The rest.
        progress: Called with the share (0 to 1) that is done.
        finished: What need not be done again.

    Returns:
        The result; a broken file gives one with ``error``, nothing is raised and no part of an
        output stays behind.
    """
    output = request.output_dir / place.with_name(f"{place.name}.{request.file_format}")
    started = time.perf_counter()
    try:
        if source.is_dir():
            raise AudioFileError(f"{source}: expected audio files in it, got none")
        if finished is not None and finished.has(source, output):
            return Converted(source, output, skipped=True)
        info = count_audio(source)
        if output.exists() and output.samefile(source):
            raise AudioFileError(f"{source}: would be overwritten; choose another --output-dir")
        output.parent.mkdir(parents=True, exist_ok=True)
        rate = request.sample_rate or info.sample_rate
        written = write_blocks(
            convert_blocks(converter, voice, source, info, request.pitch_shift, rate),
            output,
            info=AudioInfo(rate, 1, frames_at(info.frames, info.sample_rate, rate)),
            file_format=request.file_format,
            progress=progress,
        )
        if finished is not None:
            finished.add(source, output)
    except (AudioFileError, soundfile.SoundFileError, OSError) as error:
        name, text = str(source), str(error)
        told = text.replace(name, shown(name)) if name in text else f"{shown(name)}: {text}"
        return Converted(source, error=one_line(told))
    elapsed_s = time.perf_counter() - started
    duration_s = written / rate
    return Converted(
        source,
        output,
        duration_s,
        rate,
        info.channels,
        info.peak,
        elapsed_s,
        elapsed_s / duration_s,
    )
