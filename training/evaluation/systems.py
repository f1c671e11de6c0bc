"""What is evaluated: the source itself, engines of the service, and anything that converts."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fast_vc_service
from fast_vc_service.contract import Converter, Voice
from fast_vc_service.engine.families import ENGINES, Geometry, build_converter
from fast_vc_service.engine.stream import convert_offline
from training.evaluation.clips import SAMPLE_RATE_HZ

FloatArray = NDArray[np.float32]
Convert = Callable[[FloatArray, FloatArray], FloatArray]
"""(source, reference) to output: speech at 16 kHz, the output aligned with the source."""

UNCONVERTED = "unconverted"
_NO_BLOCK = SAMPLE_RATE_HZ // 5


class UnknownSystemError(ValueError):
    """There is no such system."""


@dataclass(frozen=True)
class System:
    """Something that turns a source into the voice of a reference.

    Attributes:
        name: as in the report; also the name of its folder, with ``-`` for ``:``.
        fingerprint: changes when its outputs might; names the folder in which they are kept.
        uses_reference: False where the output depends on the source alone.
        block: samples at 16 kHz between borders of blocks, where it has any.
        delay: samples at 16 kHz cut from the front of the output.
        latency_ms: block and delay as declared, None where that means nothing.
    """

    name: str
    convert: Convert
    fingerprint: str
    uses_reference: bool = True
    block: int = _NO_BLOCK
    delay: int = 0
    latency_ms: float | None = None

    @property
    def folder(self) -> str:
        """Name of the folder of its outputs."""
        return self.name.replace(":", "-")


def unconverted() -> System:
    """The source as it is; its "borders" are five a second, and show nothing."""
    return System(UNCONVERTED, lambda source, _: source, "1", uses_reference=False)


def of_engine(engine: str, geometry: Geometry, rate_out: int = SAMPLE_RATE_HZ) -> System:
    """An engine of the service, through the same Stream as live sessions and files."""
    converter = build_converter(engine, geometry=geometry)
    return of_converter(f"{engine}:{geometry}", converter, _fingerprint(converter), rate_out)


def of_converter(
    name: str, converter: Converter, fingerprint: str, rate_out: int = SAMPLE_RATE_HZ
) -> System:
    """A converter of the service, through the Stream."""
    voices: dict[bytes, Voice] = {}

    def convert(source: FloatArray, reference: FloatArray) -> FloatArray:
        key = hashlib.sha256(reference.tobytes()).digest()
        if key not in voices:
            voices[key] = converter.make_voice("reference", reference, SAMPLE_RATE_HZ)
        return convert_offline(converter, voices[key], source, SAMPLE_RATE_HZ, rate_out)

    return System(
        name,
        convert,
        fingerprint,
        block=converter.block,
        delay=converter.delay,
        latency_ms=1e3 * (converter.block + converter.delay) / SAMPLE_RATE_HZ,
    )


def _fingerprint(converter: Converter) -> str:
    """Hash of the geometry, the code of the stream and every file of the family, weights too."""
    digest = hashlib.sha256(repr((converter.block, converter.delay)).encode())
    package = Path(fast_vc_service.__file__).parent
    files = sorted((package / "models" / converter.family).rglob("*"))
    for path in (*files, package / "engine" / "stream.py", package / "engine" / "window.py"):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def find(spec: str, root: Path) -> list[System]:
    """The systems that a word of the command line means.

    Args:
        spec: ``unconverted``; ``ENGINE`` (both geometries), ``ENGINE:live``, ``ENGINE:file``; or
            ``module:function``, a function that takes ``root`` and returns a :class:`System`.
        root: folder of all stages.

    Raises:
        UnknownSystemError: None of these.
    """
    if spec == UNCONVERTED:
        return [unconverted()]
    name, _, geometry = spec.partition(":")
    if name in ENGINES and geometry in {"", "live", "file"}:
        chosen: list[Geometry] = ["live", "file"]
        return [of_engine(name, each) for each in chosen if geometry in {"", each}]
    try:
        system = getattr(importlib.import_module(name), geometry)(root)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UnknownSystemError(
            f"{spec}: expected {UNCONVERTED}, one of {', '.join(ENGINES)} (also with :live or "
            f":file), or module:function ({error})"
        ) from error
    if not isinstance(system, System):
        raise UnknownSystemError(
            f"{spec}: expected it to return a System, got {type(system).__name__}"
        )
    return [system]
