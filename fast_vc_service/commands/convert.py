"""Files in another voice: ``fast-vc convert`` and ``examples/file_conversion``.

How one file is converted is in :mod:`fast_vc_service.engine.files`; here are many of them.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fast_vc_service.audio.files import read_audio
from fast_vc_service.commands.finished import Finished
from fast_vc_service.commands.one_file import Converted, Request, StoppedError, convert_file
from fast_vc_service.commands.source_files import find_files
from fast_vc_service.contract import Converter, Voice
from fast_vc_service.engine.build import options_of
from fast_vc_service.engine.families import build_converter, family_of, first_device
from fast_vc_service.errors import ConversionError, SettingsError
from fast_vc_service.process.interpreter import limit_torch_threads
from fast_vc_service.process.names import shown
from fast_vc_service.process.signals import end_at_next_interrupt
from fast_vc_service.protocol.voice_choice import named_by
from fast_vc_service.settings import Settings
from fast_vc_service.voices.build import catalogue_of
from fast_vc_service.voices.clip_check import check_clip, log_clip_warnings
from fast_vc_service.voices.excerpt import best_excerpt

DEFAULT_SOURCE = Path("wavs/sources/low-pitched-male-24k.wav")
DEFAULT_OUTPUT_DIR = Path("outputs/file_vc")


def run(settings: Settings, request: Request, *, as_json: bool = False) -> int:
    """Convert what ``request`` names, with progress on stderr and results on stdout.

    Returns:
        Exit status: 0 when every file was converted.

    Raises:
        SettingsError: The engine cannot be built as configured.
        ConversionError: There is no such voice, or the reference clip makes none.
    """
    limit_torch_threads(family_of(settings.engine).torch_threads)
    tell = Console(stderr=True, highlight=False, soft_wrap=True)
    converter = _file_converter(settings)
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
        files = list(
            find_files(
                request.sources,
                request.output_dir,
                lambda path, why: tell.print(f"{shown(path)}: not taken: {why}", markup=False),
            )
        )
        every = bar.add_task("files", total=len(files), visible=len(files) > 1)

        def convert(source: Path, place: Path) -> Converted:
            task = bar.add_task(shown(source.name), total=1.0)

            def progress(share: float) -> None:
                if stopping.is_set():
                    raise StoppedError
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
        except BaseException as error:
            # Files under way end after the block that is being made.
            if isinstance(error, KeyboardInterrupt):
                _await_another_interrupt(tell)
            stopping.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return _summarise(results, settings.engine, voice.name, request.report, as_json=as_json)


def _await_another_interrupt(tell: Console) -> None:
    end_at_next_interrupt()
    tell.print("stopping after this block; Ctrl-C again ends at once", markup=False)


def _file_converter(settings: Settings) -> Converter:
    try:
        return build_converter(
            settings.engine,
            # One file after the other: further devices would have nothing to do.
            device=first_device(settings.device),
            geometry="file",
            options=options_of(settings),
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _summarise(
    results: Sequence[Converted], engine: str, voice: str, report: Path | None, *, as_json: bool
) -> int:
    """Report all results; return the exit status."""
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
    decisive: dict[str, object] = {
        "engine": settings.engine,
        "voice": features.hexdigest()[:16],
        "pitch_shift": request.pitch_shift,
    }
    if request.sample_rate is not None:  # else left out, so that older lists still count
        decisive["sample_rate"] = request.sample_rate
    return decisive


def choose_voice(settings: Settings, converter: Converter, request: Request) -> Voice:
    """Return the voice ``request`` asks for.

    Raises:
        ConversionError: There is no such voice, or its clip makes none.
    """
    try:
        if request.reference is not None:
            audio, sample_rate = read_audio(request.reference)
            name = request.reference.stem
            used = best_excerpt(audio, sample_rate).audio
            voice = converter.make_voice(name, used, sample_rate)
            if family_of(settings.engine).on_torch:
                log_clip_warnings(name, check_clip(audio, sample_rate))
            return voice
        voices = catalogue_of(settings, converter)
        return voices.get(named_by(request.voice) if request.voice else voices.default)
    except (LookupError, ValueError) as error:
        message = str(error.args[0]) if error.args else str(error)
        raise ConversionError(message) from error


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def _line(result: Converted) -> str:
    if result.skipped:
        return f"{shown(result.source)} -> {result.output}: was converted before"
    mixed = f", {result.channels} channels mixed to mono" if (result.channels or 1) > 1 else ""
    if (result.peak or 1.0) > 1.0:
        mixed += f", scaled from a peak of {result.peak:.2f} to 1"
    return (
        f"{shown(result.source)} -> {result.output}: {result.duration_s:.2f} s at "
        f"{result.sample_rate} Hz{mixed}, RTF {result.real_time_factor:.3f}"
    )
