"""Ways to run the networks of ``nano`` on one core, each on the same speech in the same process.

    python -m benchmarks.runtimes
    python -m pip install onnx onnxscript onnxruntime    # for the rows of ONNX Runtime

Times are those of a whole step. The error is the mean distance of the sound's log-mel spectrum to
that of float32: waveforms drift apart by the phase of the voice, which nobody hears.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn

from benchmarks import tables
from benchmarks.results import CORES, RESULTS, ROOT, save
from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.client.summary import describe
from fast_vc_service.contract import FloatArray
from fast_vc_service.models.campplus import load_campplus
from fast_vc_service.models.nano import envelope, load, packed, spectrum
from fast_vc_service.models.nano.converter import NanoConverter
from fast_vc_service.models.nano.load import WEIGHTS, Networks

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SOURCE = ROOT / "wavs" / "sources" / "british-male-16k.wav"
REFERENCE = ROOT / "wavs" / "references" / "ref-24k.wav"
NAMES = ("content", "f0_tracker", "acoustic", "vocoder")
WARM_UP_BLOCKS = 5
Change = Callable[[Networks], Networks]


class HalfLinear(nn.Module):
    """A linear layer in bfloat16 between float32 ones."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._linear = linear.bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out], float32 both."""
        out: Tensor = self._linear(x.bfloat16()).float()
        return out


def _replace_linear(network: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> nn.Module:
    for name, child in network.named_children():
        if isinstance(child, nn.Linear):
            setattr(network, name, make(child))
        else:
            _replace_linear(child, make)
    return network


def _int8(network: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        quantise: Any = torch.ao.quantization.quantize_dynamic
        made: nn.Module = quantise(network, {nn.Linear})
    return made


def _compiled(network: Any) -> Any:
    network.stream = torch.compile(network.stream, dynamic=False)
    return network


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    else:
        parts = [getattr(tree, f.name) for f in fields(tree)] if is_dataclass(tree) else tree
        for part in parts:
            yield from _tensors(part)


def _like(tree: Any, tensors: Iterator[Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return next(tensors)
    if is_dataclass(tree) and not isinstance(tree, type):
        return type(tree)(*(_like(getattr(tree, f.name), tensors) for f in fields(tree)))
    return tuple(_like(part, tensors) for part in tree)


class _Flat(nn.Module):
    """``network.stream`` with every tensor of its arguments and answers by itself."""

    def __init__(self, network: Any, arguments: Sequence[Any]) -> None:
        super().__init__()
        self._network, self._arguments = network, tuple(arguments)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        out = self._network.stream(*_like(self._arguments, iter(tensors)))
        return tuple(_tensors(out))


class OnnxNetwork:
    """A network whose ``stream`` is exported when it is first called, and runs in ONNX Runtime."""

    def __init__(self, network: Any, *, int8: bool) -> None:
        self._network, self._int8 = network, int8
        self._session: Any = None
        self._shape: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def _build(self, arguments: Sequence[Any]) -> None:
        import onnxruntime  # type: ignore[import-not-found, unused-ignore]
        from onnxruntime.quantization import (  # type: ignore[import-not-found, unused-ignore]
            quantize_dynamic,
        )

        self._shape = self._network.stream(*arguments)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            flat = _Flat(self._network, arguments).eval()
            # Inference tensors cannot be traced.
            example = tuple(part.clone() for part in _tensors(tuple(arguments)))
            torch.onnx.export(flat, example, str(path), dynamo=True, verbose=False)
            if self._int8:
                small = path.with_name("int8.onnx")
                quantize_dynamic(str(path), str(small), op_types_to_quantize=["MatMul", "Gemm"])
                path = small
            self._session = onnxruntime.InferenceSession(str(path), options)

    def stream(self, *arguments: Any) -> Any:
        """As that of the network."""
        if self._session is None:
            with torch.inference_mode(mode=False), torch.no_grad():
                self._build(_like(arguments, iter([part.clone() for part in _tensors(arguments)])))
        names = [each.name for each in self._session.get_inputs()]
        # The exporter leaves out inputs that change nothing.
        given = {f"tensors_{i}": part.numpy() for i, part in enumerate(_tensors(arguments))}
        values = [torch.from_numpy(each) for each in self._session.run(None, _known(given, names))]
        return _like(self._shape, iter(values))


def _known(given: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: given[name] for name in names}


def _each(change: Callable[[nn.Module], Any], names: Sequence[str] = NAMES) -> Change:
    return lambda networks: replace(networks, **{n: change(getattr(networks, n)) for n in names})


def variants() -> dict[str, Change]:
    """Names and what they do to float32 networks; what is not installed is left out."""
    found: dict[str, Change] = {
        "float32": lambda networks: networks,
        "bfloat16 linear layers": _each(lambda network: _replace_linear(network, HalfLinear)),
        "float16 packed linear layers": _each(packed.pack),
        "float16 packed linear layers, as graphs": lambda networks: replace(
            _each(packed.pack)(networks), traced=True
        ),
        "int8 dynamic linear layers": _each(_int8),
        "float32, compiled": _each(_compiled),
    }
    if not packed.available(torch.device("cpu")):
        del found["float16 packed linear layers"]
        del found["float16 packed linear layers, as graphs"]
    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        heavy = ("content", "acoustic")
        title = "content and acoustic in ONNX Runtime"
        found[f"{title}, float32"] = _each(lambda net: OnnxNetwork(net, int8=False), heavy)
        found[f"{title}, int8"] = _each(lambda net: OnnxNetwork(net, int8=True), heavy)
    return found


def _networks() -> Networks:
    """As they load, but in float32 throughout."""
    reader = load.load_content(WEIGHTS / "content.safetensors")
    return Networks(
        copy.deepcopy(reader),
        load.load_f0_tracker(WEIGHTS / "melody.safetensors"),
        load.load_acoustic(WEIGHTS / "acoustic.safetensors"),
        load.load_vocoder(WEIGHTS / "vocoder.safetensors"),
        reader,
        load_campplus(WEIGHTS / "campplus.safetensors"),
        torch.device("cpu"),
    )


def _log_mel_db(sound: FloatArray) -> FloatArray:
    """[frames, bands] in dB, not below -80 dB."""
    heard = resample(sound, envelope.SAMPLE_RATE_HZ, spectrum.SAMPLE_RATE_HZ).astype(np.float32)
    whole = heard[: len(heard) // spectrum.HOP_SAMPLES * spectrum.HOP_SAMPLES]
    mel, _ = spectrum.log_mel(torch.from_numpy(whole)[None])
    return np.asarray(8.686 * mel[0].clamp(min=-9.2).numpy(), np.float32)


def measure(converter: NanoConverter, voice: Any, blocks: FloatArray) -> tuple[Any, FloatArray]:
    """Step times in ms, described, and the sound ``[samples]``."""
    state = converter.new_state(voice)
    times, out = [], []
    for block in blocks:
        began = time.perf_counter()
        out.append(converter.step(block[None], [state])[0])
        times.append(1e3 * (time.perf_counter() - began))
    return describe(np.array(times[WARM_UP_BLOCKS:])), np.concatenate(out)


@app.command()
def main(
    seconds: Annotated[float, typer.Option(help="Seconds of speech.")] = 12.0,
    block_ms: Annotated[int, typer.Option(help="Length of a block.")] = 80,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure each way to run nano."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {CORES[-1]})
    torch.set_num_threads(1)
    audio, rate = read_audio(SOURCE)
    rows: list[dict[str, Any]] = []
    plain = NanoConverter(_networks(), block_ms)
    voice = plain.make_voice("benchmark", *read_audio(REFERENCE))
    count = round(seconds * rate) // plain.block
    blocks = np.resize(audio, count * plain.block).reshape(count, plain.block)
    wanted: FloatArray | None = None
    for name, change in variants().items():
        typer.echo(name)
        converter = NanoConverter(change(_networks()), block_ms)
        began = time.perf_counter()
        converter.step(blocks[0][None], [converter.new_state(voice)])
        first_s = time.perf_counter() - began
        step_ms, sound = measure(converter, voice, blocks)
        wanted = sound if wanted is None else wanted
        rows.append(
            {
                "name": name,
                "step_ms": step_ms,
                "rtf": {key: step_ms[key] / block_ms for key in ("median", "p95")},
                "error_db": float(np.abs(_log_mel_db(sound) - _log_mel_db(wanted)).mean()),
                "first_step_s": first_s,
            }
        )
    path = save("runtimes", output, seconds=seconds, block_ms=block_ms, rows=rows)
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
