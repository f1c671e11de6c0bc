"""One check for each golden vector file, by the file's stem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from fast_vc_service.audio.fbank import kaldi_fbank
from fast_vc_service.audio.mel import MelSettings, log_mel
from fast_vc_service.models import campplus
from fast_vc_service.models.seedvc import (
    bigvgan,
    dit,
    dit_config,
    dit_layers,
    f0,
    hift,
    length_regulator,
    rmvpe,
)
from fast_vc_service.models.seedvc.presets import PRESETS
from fast_vc_service.models.seedvc.sampler import Sampler
from tests.golden import build
from tests.golden.compare import Comparison, close, exact

Vectors = dict[str, Any]
Check = Callable[[Vectors, Path], Iterator[Comparison]]
"""Compares what our code makes of the inputs; the folder may hold real weights."""


def read(path: Path) -> Vectors:
    """Read a vector file: tensors, or plain numbers where there is but one."""
    with np.load(path) as file:
        return {
            key: torch.from_numpy(file[key]) if file[key].ndim else file[key].item()
            for key in file.files
        }


def check_mel(v: Vectors, _: Path) -> Iterator[Comparison]:
    settings = MelSettings(
        v["sample_rate"], v["n_fft"], v["hop"], v["n_mels"], low_hz=0.0, high_hz=v["fmax"]
    )
    yield close("mel", log_mel(v["audio"][None], settings)[0], v["mel"], 2e-3, median=1e-5)


def check_nearest_index(v: Vectors, _: Path) -> Iterator[Comparison]:
    for name, wanted in v.items():
        _, frames_in, _, frames_out = name.split("_")
        device = torch.device("cpu")
        got = length_regulator.nearest_index(int(frames_in), int(frames_out), device)
        yield exact(name, got, wanted)


def check_f0_bins(v: Vectors, _: Path) -> Iterator[Comparison]:
    for name in v:
        if name.startswith("bins_"):
            yield exact(name, f0.f0_bins(v["f0"], int(name.removeprefix("bins_"))), v[name])


def check_f0_shift(v: Vectors, _: Path) -> Iterator[Comparison]:
    source = v["source"]
    offset = f0.register_offset(source, v["reference"])
    yield close("plain", f0.shifted(source), v["plain"], 1e-2)
    yield close("auto", f0.shifted(source, log_offset=offset), v["auto"], 1e-2)
    yield close("semitones_plus12", f0.shifted(source, 12.0), v["semitones_plus12"], 1e-2)
    yield close(
        "auto_semitones_minus3", f0.shifted(source, -3.0, offset), v["auto_semitones_minus3"], 1e-2
    )


def check_length_regulator(preset: str) -> Check:
    def check(v: Vectors, _: Path) -> Iterator[Comparison]:
        network = build.filled(
            length_regulator.LengthRegulator(PRESETS[preset].regulator),
            build.LISTING[f"length_regulator_{preset}"],
            length_regulator.TABLE,
        )
        yield close("out", network(v["x"], v["ylens"], v.get("f0")), v["out"], 1e-4)
        if "f0" in v:
            yield exact("f0_bins", f0.f0_bins(v["f0"], 256), v["f0_bins"])
            without = network(v["x"], v["ylens"])
            yield close("out_without_f0", without, v["out_without_f0"], 1e-4)

    return check


@cache
def _dit(preset: str) -> dit.DiT:
    config = PRESETS[preset].dit
    return build.filled(dit.DiT(config), build.LISTING[f"dit_{preset}"], dit_config.table(config))


def check_dit(preset: str) -> Check:
    def check(v: Vectors, _: Path) -> Iterator[Comparison]:
        network = _dit(preset)
        inputs = [v[name] for name in ("x", "prompt_x", "x_lens", "t")]
        given = {"style": v["style"], "mu": v["cond"]}
        caught = build.outputs(network, "time", "layers.0", "wavenet" if preset == "small" else "")
        seen = _inputs(network.layers[0])
        transformer_out: list[torch.Tensor] = []
        head = network.long_skip if preset == "small" else network.final
        head.register_forward_pre_hook(lambda _, args: transformer_out.append(args[0].detach()))
        final_out = _inputs(network.final_conv) if preset == "small" else []
        yield close("out", network(*inputs, **given), v["out"], 1e-4)
        yield close("t_embedding", caught["time"], v["t_embedding"], 1e-4)
        yield close("transformer_in", seen[0][:1], v["transformer_in"], 1e-4)
        yield close("layer0_out", caught["layers.0"][:1], v["layer0_out"], 1e-4)
        frames = transformer_out[0][:1, :, : network.config.width]
        wanted = v["transformer_out"][:, network.tokens :]
        yield close("transformer_out", frames, wanted, 1e-4)
        if preset == "small":
            yield close("wavenet_out", caught["wavenet"][:1], v["wavenet_out"], 1e-4)
            final = final_out[0][:1].transpose(1, 2)
            yield close("final_layer_out", final, v["final_layer_out"], 1e-4)
        x, prompt, lengths, t = (value[:1] for value in inputs)
        nothing = {name: value[:1] * 0 for name, value in given.items()}
        null = network(x, prompt * 0, lengths, t, **nothing)
        yield close("out_null_row0", null, v["out_null_row0"], 1e-4)

    return check


def check_cfm(preset: str) -> Check:
    def check(v: Vectors, _: Path) -> Iterator[Comparison]:
        network = _dit(preset)
        length = v["prompt"].shape[2]
        noise = v["noise"]
        prompt = pad(v["prompt"], (0, noise.shape[2] - length))
        condition = network.condition(prompt, v["mu"], v["style"])
        for name, wanted in v.items():
            if name.startswith("out_steps"):
                steps, guidance = name.removeprefix("out_steps").split("_cfg")
                sample = Sampler(network, int(steps), float(guidance))
                mel = sample(noise[:, :, length:], condition)
                mel = pad(mel, (length, 0))
                yield close(name, mel, wanted, 2e-4)

    return check


def check_rotary(v: Vectors, _: Path) -> Iterator[Comparison]:
    cos, sin = dit_layers.rotations(v["x"].shape[1], v["x"].shape[3])
    yield close("out", dit_layers.rotated(v["x"], cos, sin), v["out"], 1e-5)
    yield close("cos_position_5", cos[5], v["cos_position_5"], 1e-5)
    yield close("sin_position_5", sin[5], v["sin_position_5"], 1e-5)


def check_alias_free_activation(v: Vectors, _: Path) -> Iterator[Comparison]:
    shapes = {f"activation_post.act.{leaf}": (24,) for leaf in ("alpha", "beta")}
    generated = build.generated(shapes)
    activation = bigvgan.Activation(24)
    activation.load_state_dict(
        {name.rsplit(".", 1)[-1]: tensor for name, tensor in generated.items()}
    )
    yield close("upsampled", bigvgan.upsampled(v["x"], activation.up), v["upsampled"], 1e-5)
    yield close("out", activation(v["x"]), v["out"], 1e-5)
    yield close("filter", bigvgan.low_pass(), v["filter"], 5e-7)
    yield close("filter_down", bigvgan.low_pass(), v["filter_down"], 5e-7)


def check_bigvgan(name: str, config: bigvgan.BigVganConfig) -> Check:
    def check(v: Vectors, _: Path) -> Iterator[Comparison]:
        network = build.filled(bigvgan.BigVgan(config), build.LISTING[name], bigvgan.TABLE)
        caught = build.outputs(network, "first", "ups.0", "blocks.0", "last")
        wave = network(v["mel"])
        yield close("conv_pre_out", caught["first"][:, :64], v["conv_pre_out"], 3e-4)
        yield close("up0_out", caught["ups.0"][:, :64], v["up0_out"], 3e-4)
        yield close("resblock0_out", caught["blocks.0"][:, :64], v["resblock0_out"], 3e-4)
        yield close("before_clamp", caught["last"], v["before_clamp"], 3e-4)
        yield close("wave", wave[:, None], v["wave"], 3e-4)

    return check


def check_hift(v: Vectors, _: Path) -> Iterator[Comparison]:
    network = build.filled(hift.HiFT(), "hift", hift.TABLE)
    mel, phase, noise = v["mel"], v["phase"][None], v["noise"]

    caught = build.outputs(network, "first", "source_blocks.0", "last")
    quiet = network.source(v["f0"], phase * 0, noise * 0)
    yield close("source_quiet", quiet[:, None], v["source_quiet"], 1e-5)
    yield close("wave_quiet", network(mel, quiet), v["wave_quiet"], 3e-4)
    yield close("conv_pre_out", caught["first"][:, :64], v["conv_pre_out"], 3e-4)
    yield close("source0_out", caught["source_blocks.0"][:, :64, ::4], v["source0_out"], 3e-4)
    yield close("conv_post_out", caught["last"], v["conv_post_out"], 3e-4)
    loud = network.source(v["f0"], phase, noise)
    yield close("source", loud[:, None], v["source"], 1e-5)
    yield close("wave", network(mel, loud), v["wave"], 3e-4)
    f0_hz = network.f0(mel)
    yield close("predicted_f0", f0_hz, v["predicted_f0"], 3e-4)
    wave = network(mel, network.source(f0_hz, phase, noise))
    yield close("wave_predicted_f0", wave, v["wave_predicted_f0"], 3e-4)


def check_rmvpe(v: Vectors, _: Path) -> Iterator[Comparison]:
    network = build.filled(rmvpe.Rmvpe(), "rmvpe", rmvpe.TABLE)
    mel = log_mel(v["audio_16k"][None], rmvpe.MEL)
    yield close("mel", mel[0], v["mel"], 5e-3, median=1e-5)
    deepest = _inputs(network.middle)
    caught = build.outputs(network, "decoder.4", "last")
    salience = network(v["mel"][None])[0]
    yield close("encoder_out", deepest[0][0, ::8], v["encoder_out"], 1e-3)
    unet, cnn = caught["decoder.4"][0, :, :16], caught["last"][0, :, :16]
    yield close("unet_out_frames_0_16", unet, v["unet_out_frames_0_16"], 1e-3)
    yield close("cnn_out_frames_0_16", cnn, v["cnn_out_frames_0_16"], 1e-3)
    yield close("salience", salience, v["salience"], 1e-3)
    yield close("f0", rmvpe.decoded(v["salience"]), v["f0"], 1e-6, rtol=1e-3)
    yield close("decode_f0", rmvpe.decoded(v["decode_salience"]), v["decode_f0"], 1e-2)


def check_campplus(v: Vectors, folder: Path) -> Iterator[Comparison]:
    fbank = kaldi_fbank(v["audio_16k"])
    yield close("fbank", fbank, v["fbank"], 1e-2, median=1e-5)
    yield close("fbank_centered", fbank - fbank.mean(0), v["fbank_centered"], 1e-2, median=1e-5)
    network = build.filled(campplus.CampPlus(), "campplus", campplus.TABLE)
    features = v["fbank_centered"][None]
    yield close(
        "embedding_first_150_frames",
        network(features[:, :150]),
        v["embedding_first_150_frames"],
        1e-5,
    )
    caught = build.outputs(network, "head", "tdnn", "blocks.0.0", "transitions.2", "embedding")
    statistics = _inputs(network.embedding)
    embedding = network(features)
    yield close("head_frames_0_8", caught["head"][0, :, :8], v["head_frames_0_8"], 1e-4)
    yield close("tdnn_frames_0_8", caught["tdnn"][0, :, :8], v["tdnn_frames_0_8"], 1e-4)
    new = caught["blocks.0.0"][0, -32:, ::8]
    yield close("block1_tdnnd1", new, v["block1_tdnnd1"], 1e-4)
    yield close(
        "transit3_frames_0_8", caught["transitions.2"][0, :, :8], v["transit3_frames_0_8"], 1e-4
    )
    yield close("stats", statistics[0][:, :, 0], v["stats"], 1e-4)
    yield close("embedding", embedding, v["embedding"], 1e-5)

    real = _real_campplus(folder)
    if real is not None:
        statistics = _inputs(real.embedding)
        first = real(features[:, :150])
        name = "real_weights_embedding_first_150_frames"
        yield close(name, first, v[name], 1e-3)
        yield close("real_weights_embedding", real(features), v["real_weights_embedding"], 1e-3)
        yield close("real_weights_stats", statistics[-1][:, :, 0], v["real_weights_stats"], 1e-3)


def _inputs(module: torch.nn.Module) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    return seen


@cache
def _real_campplus(folder: Path) -> campplus.CampPlus | None:
    """CAM++ with its published weights, where they lie beside the vectors or in checkpoints/."""
    for place in (folder, folder.parent / "weights", Path("checkpoints")):
        for suffix in (".safetensors", ".bin"):
            path = place / f"campplus_cn_common{suffix}"
            if path.is_file():
                return campplus.load_campplus(path)
    return None


CHECKS: dict[str, Check] = {
    "campplus": check_campplus,
    "nearest_index": check_nearest_index,
    "f0_bins": check_f0_bins,
    "f0_shift": check_f0_shift,
    "rotary": check_rotary,
    "alias_free_activation": check_alias_free_activation,
    "bigvgan_22k": check_bigvgan("bigvgan_22k", bigvgan.BIGVGAN_22K),
    "bigvgan_44k": check_bigvgan("bigvgan_44k", bigvgan.BIGVGAN_44K),
    "hift": check_hift,
    "rmvpe": check_rmvpe,
    **{f"mel_{preset}": check_mel for preset in PRESETS},
    **{f"length_regulator_{preset}": check_length_regulator(preset) for preset in PRESETS},
    **{f"dit_{preset}": check_dit(preset) for preset in PRESETS},
    **{f"cfm_{preset}": check_cfm(preset) for preset in PRESETS},
}
