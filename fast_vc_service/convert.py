"""Files in another voice: ``fast-vc convert`` and ``examples/file_conversion``.

How one file is converted is in :mod:`fast_vc_service.engine.files`; here are many of them.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fast_vc_service.audio.files import AudioFileError, audio_info, read_audio
from fast_vc_service.contract import Converter, Voice
from fast_vc_service.engine.build import build_catalogue, seedvc_source
from fast_vc_service.engine.families import build_converter, family_of
from fast_vc_service.engine.files import FileFormat, convert_blocks, write_blocks
from fast_vc_service.engine.voices import warn_of_doubts
from fast_vc_service.errors import ConversionError, SettingsError
from fast_vc_service.finished import Finished
from fast_vc_service.settings import Settings

DEFAULT_SOURCE = Path("wavs/sources/low-pitched-male-24k.wav")
DEFAULT_OUTPUT_DIR = Path("outputs/file_vc")
_SUFFIXES = frozenset(
    f".{name.lower()}" for name in (*soundfile.available_formats(), "aif", "oga", "opus")
)


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


@dataclass(frozen=True)
class Converted:
    """What became of one file.

    Attributes:
        source: The file.
        output: Its conversion, None when it failed.
        duration_s: Length of both.
        sample_rate: Hz of both.
        channels: Of the source; the output is mono.
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
    elapsed_s: float | None = None
    real_time_factor: float | None = None
    error: str | None = None
    skipped: bool = False


class _StoppedError(Exception):
    """The run is over; files under way are given up."""


def run(settings: Settings, request: Request, *, as_json: bool = False) -> int:
    """Convert what ``request`` names, telling progress on stderr and results on stdout.

    Returns:
        Exit status: 0 when every file was converted.

    Raises:
        SettingsError: The engine cannot be built as configured.
        ConversionError: There is no such voice, or the reference clip makes none.
    """
    tell = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        converter = build_converter(
            settings.engine,
            # One file after the other: further devices would have nothing to do.
            device=settings.device.partition(",")[0],
            geometry="file",
            seedvc=seedvc_source(settings),
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error
    voice = choose_voice(settings, converter, request)
    finished = None
    if request.resume:
        finished = Finished(request.output_dir, _conversion(settings, request, voice))
    results = []
    stopping = threading.Event()
    with (
        _progress(tell) as bar,
        ThreadPoolExecutor(request.parallel, "convert") as threads,
    ):
        files = list(find_files(request.sources))
        every = bar.add_task("files", total=len(files), visible=len(files) > 1)

        def convert(source: Path, place: Path) -> Converted:
            task = bar.add_task(source.name, total=1.0)

            def progress(share: float) -> None:
                if stopping.is_set():
                    raise _StoppedError
                bar.update(task, completed=share)

            try:
                return convert_file(
                    converter,
                    voice,
                    source,
                    place=place,
                    request=request,
                    progress=progress,
                    finished=finished,
                )
            finally:
                bar.remove_task(task)

        try:
            for result in threads.map(lambda pair: convert(*pair), files):
                bar.advance(every)
                results.append(result)
                if result.error is not None:
                    tell.print(f"fast-vc: {result.error}", style="red", markup=False)
                elif not as_json:
                    sys.stdout.write(_line(result) + "\n")
                    sys.stdout.flush()
        except BaseException:
            # Files under way end after the block that is being made.
            stopping.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return _summarise(results, settings.engine, voice.name, request.report, as_json=as_json)


def _summarise(
    results: Sequence[Converted], engine: str, voice: str, report: Path | None, *, as_json: bool
) -> int:
    """Tell what became of all files; return the exit status."""
    failed = sum(result.error is not None for result in results)
    content = {
        "engine": engine,
        "voice": voice,
        "converted": len(results) - failed,
        "failed": failed,
        "files": [asdict(result) for result in results],
    }
    text = json.dumps(content, indent=2, default=str) + "\n"
    if report is not None:
        try:
            report.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConversionError(f"{report} cannot be written: {error}") from error
    if as_json:
        sys.stdout.write(text)
    elif len(results) > 1:
        skipped = sum(result.skipped for result in results)
        note = f", {skipped} of them before" if skipped else ""
        sys.stdout.write(f"{len(results) - failed} of {len(results)} files converted{note}\n")
    return 1 if failed else 0


def _conversion(settings: Settings, request: Request, voice: Voice) -> dict[str, object]:
    """Return what decides how a file sounds, for :class:`Finished`."""
    features = hashlib.sha256()
    for name in sorted(voice.features):
        features.update(np.ascontiguousarray(voice.features[name]).tobytes())
    return {
        "engine": settings.engine,
        "voice": features.hexdigest()[:16],
        "pitch_shift": request.pitch_shift,
    }


def choose_voice(settings: Settings, converter: Converter, request: Request) -> Voice:
    """Return the voice ``request`` asks for.

    Raises:
        ConversionError: There is no such voice, or its clip makes none.
    """
    try:
        if request.reference is not None:
            audio, sample_rate = read_audio(request.reference)
            name = request.reference.stem
            voice = converter.make_voice(name, audio, sample_rate)
            if family_of(settings.engine).on_torch:
                warn_of_doubts(name, audio, sample_rate)
            return voice
        voices = build_catalogue(
            settings.engine,
            converter,
            voices_dir=settings.voices_dir,
            default_voice=settings.default_voice,
            cache_dir=settings.models_dir / "voices",
            data_dir=settings.data_dir,
        )
        return voices.get(request.voice or voices.default)
    except (LookupError, ValueError) as error:
        message = str(error.args[0]) if error.args else str(error)
        raise ConversionError(message) from error


def find_files(sources: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each file of ``sources`` with its place under the output folder, without suffix.

    Files of a folder keep their subfolders; places are made different by a number. A source
    that is no folder is yielded as it is, even if it is missing.
    """
    taken: set[Path] = set()

    def unique(place: Path) -> Path:
        free, number = place, 2
        while free in taken:
            free, number = place.with_name(f"{place.name}-{number}"), number + 1
        taken.add(free)
        return free

    for source in sources:
        if not source.is_dir():
            yield source, unique(Path(source.stem))
            continue
        found = sorted(
            path
            for path in source.rglob("*")
            if path.suffix.lower() in _SUFFIXES and path.is_file()
        )
        if not found:
            # Yielded so that it is reported as what cannot be converted.
            yield source, unique(Path(source.name))
        for path in found:
            yield path, unique(path.relative_to(source).with_suffix(""))


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

    The output has the sample rate and, to the sample, the length of the source.

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
        info = audio_info(source)
        if output.exists() and output.samefile(source):
            raise AudioFileError(f"{source}: would be overwritten; choose another --output-dir")
        output.parent.mkdir(parents=True, exist_ok=True)
        written = write_blocks(
            convert_blocks(converter, voice, source, info, request.pitch_shift),
            output,
            info=info,
            file_format=request.file_format,
            progress=progress,
        )
        if finished is not None:
            finished.add(source, output)
    except (AudioFileError, soundfile.SoundFileError, OSError) as error:
        text = str(error)
        return Converted(source, error=text if str(source) in text else f"{source}: {text}")
    elapsed_s = time.perf_counter() - started
    duration_s = written / info.sample_rate
    return Converted(
        source,
        output,
        duration_s,
        info.sample_rate,
        info.channels,
        elapsed_s,
        elapsed_s / duration_s,
    )


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def _line(result: Converted) -> str:
    if result.skipped:
        return f"{result.source} -> {result.output}: was converted before"
    mixed = f", {result.channels} channels mixed to mono" if (result.channels or 1) > 1 else ""
    return (
        f"{result.source} -> {result.output}: {result.duration_s:.2f} s at "
        f"{result.sample_rate} Hz{mixed}, RTF {result.real_time_factor:.3f}"
    )
