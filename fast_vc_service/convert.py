"""Files in another voice: ``fast-vc convert`` and ``examples/file_conversion``.

How one file is converted is in :mod:`fast_vc_service.engine.files`; here are many of them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import soundfile
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fast_vc_service.audio.files import AudioFileError, audio_info, read_audio
from fast_vc_service.contract import Converter, Voice
from fast_vc_service.engine.build import build_catalogue, build_converter, seedvc_source
from fast_vc_service.engine.files import FileFormat, convert_blocks, write_blocks
from fast_vc_service.errors import ConversionError, SettingsError
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
    """

    sources: Sequence[Path]
    output_dir: Path
    file_format: FileFormat = "wav"
    voice: str | None = None
    reference: Path | None = None
    pitch_shift: float = 0.0


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
    """

    source: Path
    output: Path | None = None
    duration_s: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    elapsed_s: float | None = None
    real_time_factor: float | None = None
    error: str | None = None


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
            device=settings.device,
            geometry="file",
            seedvc=seedvc_source(settings),
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error
    voice = choose_voice(settings, converter, request)
    results = []
    for source, place in find_files(request.sources):
        with _progress(tell, source.name) as advance:
            result = convert_file(
                converter, voice, source, place=place, request=request, progress=advance
            )
        results.append(result)
        if result.error is not None:
            tell.print(f"fast-vc: {result.error}", style="red", markup=False)
        elif not as_json:
            sys.stdout.write(_line(result) + "\n")
            sys.stdout.flush()
    failed = sum(result.error is not None for result in results)
    if as_json:
        content = {
            "engine": settings.engine,
            "voice": voice.name,
            "converted": len(results) - failed,
            "failed": failed,
            "files": [asdict(result) for result in results],
        }
        sys.stdout.write(json.dumps(content, indent=2, default=str) + "\n")
    elif len(results) > 1:
        sys.stdout.write(f"{len(results) - failed} of {len(results)} files converted\n")
    return 1 if failed else 0


def choose_voice(settings: Settings, converter: Converter, request: Request) -> Voice:
    """Return the voice ``request`` asks for.

    Raises:
        ConversionError: There is no such voice, or its clip makes none.
    """
    try:
        if request.reference is not None:
            audio, sample_rate = read_audio(request.reference)
            return converter.make_voice(request.reference.stem, audio, sample_rate)
        voices = build_catalogue(
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

    Returns:
        The result; a broken file gives one with ``error``, nothing is raised and no part of an
        output stays behind.
    """
    output = request.output_dir / place.with_name(f"{place.name}.{request.file_format}")
    started = time.perf_counter()
    try:
        if source.is_dir():
            raise AudioFileError(f"{source}: expected audio files in it, got none")
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


@contextmanager
def _progress(console: Console, name: str) -> Iterator[Callable[[float], None]]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _line(result: Converted) -> str:
    mixed = f", {result.channels} channels mixed to mono" if (result.channels or 1) > 1 else ""
    return (
        f"{result.source} -> {result.output}: {result.duration_s:.2f} s at "
        f"{result.sample_rate} Hz{mixed}, RTF {result.real_time_factor:.3f}"
    )
