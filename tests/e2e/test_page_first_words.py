"""The page: two channels without loss, registers as the service measures them, and remembered."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Visitor, launch_browser, page_beside_modules, playwright
from playwright.sync_api import Browser, Page, Playwright, WebSocket, expect
from service import ROOT, RunningService

from fast_vc_service.audio.f0 import median_f0_hz
from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.live_mixdown import LiveMixdown
from fast_vc_service.audio.register import semitones
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import FloatArray

__all__ = ["playwright"]

RATE = 16_000

SAMPLES = """
const samplesOf = (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
};
const textOf = (samples) => {
  const bytes = new Uint8Array(samples.buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) {
    text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  return btoa(text);
};
"""

MEDIAN_F0 = f"""
async (text) => {{
  {SAMPLES}
  const {{ medianF0 }} = await import("/demo/audio/register.js");
  return medianF0(samplesOf(text));
}}
"""

MIXED = f"""
async ([left, right, rate, step]) => {{
  {SAMPLES}
  const {{ Mixdown }} = await import("/demo/audio/mixdown.js");
  const mixdown = new Mixdown(rate);
  const pair = [left, right].map(samplesOf);
  const out = new Float32Array(pair[0].length);
  for (let at = 0; at < out.length; at += step) {{
    const [one, other] = pair.map((samples) => samples.subarray(at, at + step));
    out.set(mixdown.push(one, other), at);
  }}
  return textOf(out);
}}
"""


def text_of(samples: FloatArray) -> str:
    return base64.b64encode(np.asarray(samples, "<f4").tobytes()).decode()


def clip(path: Path, seconds: float = 20.0) -> FloatArray:
    audio, rate = read_audio(path)
    return resample(audio[: round(seconds * rate)], rate, RATE)


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    source = ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav"
    with launch_browser(playwright, source) as opened:
        yield opened


@pytest.fixture(scope="module")
def modules(browser: Browser) -> Iterator[Page]:
    with page_beside_modules(browser) as page:
        yield page


# ------------------------------------------------------------------ registers


CLIPS = sorted((ROOT / "wavs").glob("*/*.wav"))
SOME = [path for path in CLIPS if path.stem in {"bass", "soprano", "telephone-male-8k"}]


def check_register(page: Page, path: Path) -> None:
    audio = clip(path)
    service = median_f0_hz([audio], RATE)
    assert service is not None
    assert abs(semitones(page.evaluate(MEDIAN_F0, text_of(audio)), service)) < 0.5


@pytest.mark.parametrize("path", SOME, ids=lambda path: path.stem)
def test_a_register_is_measured_as_the_service_does(modules: Page, path: Path) -> None:
    check_register(modules, path)


@pytest.mark.slow
@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_every_register_is_measured_as_the_service_does(modules: Page, path: Path) -> None:
    check_register(modules, path)


@pytest.mark.parametrize("hertz", [50.0, 60.0])
def test_hum_offset_and_noise_have_no_register(modules: Page, hertz: float) -> None:
    time_s = np.arange(3 * RATE) / RATE
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(time_s))
    hum = 0.05 * np.sin(2 * np.pi * hertz * time_s) + 0.1
    for heard in (noise, hum, noise + hum, 0.0 * noise):
        assert modules.evaluate(MEDIAN_F0, text_of(heard)) is None


# ------------------------------------------------------------------ two channels


def mixed(page: Page, left: FloatArray, right: FloatArray, step: int = 128) -> FloatArray:
    text = page.evaluate(MIXED, [text_of(left), text_of(right), RATE, step])
    return np.frombuffer(base64.b64decode(text), "<f4")


def levels(audio: FloatArray) -> np.ndarray:
    frames = audio[: len(audio) // 1600 * 1600].reshape(-1, 1600).astype(np.float64)
    return np.asarray(10 * np.log10(np.square(frames).mean(1) + 1e-9))


def test_no_speech_of_two_channels_is_lost(modules: Page) -> None:
    said = 0.5 * clip(ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav", 4.0)
    other = 0.5 * clip(ROOT / "wavs" / "sources" / "high-pitched-female-24k.wav", 4.0)
    silence = np.zeros_like(said)
    later = np.concatenate([silence[:80], said[:-80]])
    assert np.array_equal(mixed(modules, said, said), said)
    for left, right in ((said, silence), (silence, said), (said, -said), (-said, said)):
        assert np.abs(np.abs(mixed(modules, left, right)) - np.abs(said)).max() < 1e-6
    for left, right in ((said, later), (said, -later), (said, other)):
        loudest = np.maximum(levels(left), levels(right))
        relative = (levels(mixed(modules, left, right)) - loudest)[loudest > -50]
        assert np.abs(np.diff(relative)).max() <= 6.0
        assert abs(np.median(relative)) <= 2.0


def test_the_page_and_the_service_mix_alike(modules: Page) -> None:
    said = 0.5 * clip(ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav", 4.0)
    other = 0.5 * clip(ROOT / "wavs" / "sources" / "high-pitched-female-24k.wav", 4.0)
    turn = (np.arange(len(said)) // RATE) % 2
    both = np.stack([said * (turn == 0), other * (turn == 1)], 1).astype(np.float32)
    mixdown = LiveMixdown(RATE)
    here = np.concatenate([mixdown.push(both[at : at + 320]) for at in range(0, len(both), 320)])
    there = mixed(modules, both[:, 0], both[:, 1], 320)
    loud = levels(here) > -50
    assert np.abs(levels(there) - levels(here))[loud].max() < 2.0


# ------------------------------------------------------------------ the page itself


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[RunningService], Visitor]]:
    visitors = []

    def arrive(service: RunningService) -> Visitor:
        visitors.append(Visitor(browser, service.port))
        return visitors[-1]

    yield arrive
    for visitor in visitors:
        visitor.close()


def configs_of(page: Page) -> list[dict[str, Any]]:
    """The first messages of the sessions that the page opens from now on."""
    configs: list[dict[str, Any]] = []

    def opened(socket: WebSocket) -> None:
        def sent(payload: str | bytes) -> None:
            if isinstance(payload, str) and '"config"' in payload:
                configs.append(json.loads(payload))

        socket.on("framesent", sent)

    page.on("websocket", opened)
    return configs


REMEMBERED = "JSON.parse(localStorage.getItem('fast-vc.registers') ?? '{}').default ?? 0"


def test_who_returns_to_a_microphone_is_known_until_forgotten(
    default_service: RunningService, visit: Callable[..., Visitor]
) -> None:
    visitor = visit(default_service)
    page = visitor.page
    configs = configs_of(page)

    def speak() -> None:
        page.click("#start")
        visitor.wait_for("live")
        expect(page.locator("#clock")).to_have_text(re.compile("0:0[5-9]|0:[1-9]."))
        page.click("#start")
        visitor.wait_for("idle")

    assert page.is_hidden("#register")
    speak()
    page.wait_for_selector("#register:not([hidden])")
    learned = page.evaluate(REMEMBERED)
    assert 60 < learned < 130, "a low voice"
    assert f"{learned:.0f} Hz" in visitor.text("#register")
    page.reload()
    page.wait_for_selector("#voices .voice")
    assert page.is_visible("#register")
    speak()
    assert "source_f0_hz" not in configs[0]
    assert configs[1]["source_f0_hz"] == learned
    page.click("#forget-register")
    assert page.is_hidden("#register")
    assert page.evaluate(REMEMBERED) == 0
    assert visitor.faults == []


def test_a_stereo_file_in_opposite_phase_is_measured_and_heard(
    default_service: RunningService, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    import soundfile

    said = clip(ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav", 4.0)
    soundfile.write(tmp_path / "stereo.wav", np.stack([said, -said], 1), RATE)
    visitor = visit(default_service)
    page = visitor.page
    configs = configs_of(page)
    page.check("input[value=file]", force=True)
    page.set_input_files("#file", tmp_path / "stereo.wav")
    page.click("#convert")
    page.wait_for_selector("#recordings:not([hidden])")
    heard, _ = read_audio(visitor.download("#input-download", tmp_path / "in.wav"))
    assert np.sqrt(np.square(heard).mean()) > 0.9 * np.sqrt(np.square(said).mean())
    measured = median_f0_hz([said], RATE)
    assert measured is not None
    assert abs(semitones(configs[0]["source_f0_hz"], measured)) < 0.5
    # Played as if it were spoken: the same, and nothing of it is remembered for the microphone.
    page.click("#start")
    visitor.wait_for("live")
    visitor.wait_for("idle")
    assert configs[1]["source_f0_hz"] == pytest.approx(configs[0]["source_f0_hz"])
    heard, _ = read_audio(visitor.download("#input-download", tmp_path / "live.wav"))
    assert np.sqrt(np.square(heard).mean()) > 0.7 * np.sqrt(np.square(said).mean())
    assert page.evaluate(REMEMBERED) == 0
    assert visitor.faults == []
