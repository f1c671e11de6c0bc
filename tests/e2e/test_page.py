"""The page at ``/`` in a real browser, against a real service."""

from __future__ import annotations

import base64
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import pyworld
from browser import Visitor, launch_browser, playwright
from playwright.sync_api import Browser, Playwright, expect
from scipy.signal import correlate
from service import ROOT, RunningService

from fast_vc_service.audio.files import read_audio, write_audio
from fast_vc_service.contract import FloatArray
from pages import Page

__all__ = ["playwright"]

SOURCE = ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav"
TRIES = 6
LONG_ENOUGH_S = 8.0


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech that is never quite silent, so that a gap shows as zeros."""
    samples, rate = read_audio(SOURCE)
    noise = np.random.default_rng(0).uniform(-1, 1, len(samples)) * 2e-3
    path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    write_audio(path, (samples + noise).astype(np.float32), rate)
    return path


@pytest.fixture(scope="module")
def browser(playwright: Playwright, speech: Path) -> Iterator[Browser]:
    with launch_browser(playwright, speech) as opened:
        yield opened


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[RunningService], Visitor]]:
    visitors = []

    def arrive(service: RunningService, **context: object) -> Visitor:
        visitors.append(Visitor(browser, service.port, **context))
        return visitors[-1]

    yield arrive
    for visitor in visitors:
        visitor.close()


def median_f0_hz(samples: FloatArray, rate: int) -> float:
    f0, _ = pyworld.harvest(samples.astype(np.float64), rate, f0_floor=60, f0_ceil=600)
    return float(np.median(f0[f0 > 0]))


def gaps_of(samples: FloatArray, rate: int) -> list[tuple[int, int]]:
    """Start and end of the runs of exact zeros of more than a millisecond within ``samples``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (samples == 0).view(np.int8), [0]])))
    runs = [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
    inner = [(start, end) for start, end in runs if start > 0 and end < len(samples)]
    return [(start, end) for start, end in inner if end - start > rate / 1000]


def loudness(samples: FloatArray, rate: int) -> FloatArray:
    """RMS of each 5 ms, from the first sound to the last."""
    sounding = np.flatnonzero(samples)
    window = rate // 200
    heard = samples[sounding[0] : sounding[-1] + 1]
    frames = heard[: len(heard) // window * window].reshape(-1, window)
    return np.sqrt(np.mean(np.square(frames), axis=1))


def holes_of(played: FloatArray, spoken: FloatArray, rate: int) -> list[float]:
    """Seconds into ``played`` at which it is far quieter than ``spoken`` ever is.

    The first and the last 50 ms are faded in and out.
    """
    quietest = float(loudness(spoken, rate).min())
    heard = loudness(played, rate)[10:-10]
    return [round(0.005 * (10 + at), 3) for at in np.flatnonzero(heard < quietest / 4)]


def lag_ms(early: FloatArray, late: FloatArray, rate: int) -> float:
    """How much later, up to a second, ``late`` says what ``early`` says."""
    scores = correlate(late, early, method="fft")[len(early) - 1 :]
    return float(np.argmax(scores[:rate])) / rate * 1e3


def test_a_hole_in_speech_is_found(speech: Path) -> None:
    spoken, rate = read_audio(speech)
    assert holes_of(spoken, spoken, rate) == []
    for depth in (0.0, 0.02):
        played = spoken.copy()
        played[4 * rate : 4 * rate + rate // 100] *= depth
        assert holes_of(played, spoken, rate)
        assert min(holes_of(played, spoken, rate)) == pytest.approx(4.0, abs=0.006)


# ------------------------------------------------------------- live


@pytest.mark.slow
def test_what_is_played_is_what_was_spoken_without_gaps_and_as_late_as_shown(
    passthrough: RunningService, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    """With an engine that returns its input, so that both can be laid over each other.

    What is spoken is never quite silent, so nothing that is played may be: neither zeros nor a
    hole of 5 ms, from the first sound to the stop. A busy machine may make the browser run dry: the
    page must count each such gap, and the test tries again, until there is none.
    """
    for _ in range(TRIES):
        visitor = visit(passthrough, ears=True)
        visitor.page.click("#start")
        visitor.wait_for("live")
        visitor.page.wait_for_timeout(11_000)
        shown = {part: visitor.milliseconds(f"#part-{part}") for part in ("input", "output")}
        total = visitor.milliseconds("#latency")
        # Before the recording is fetched, which keeps the page from feeding its loudspeaker.
        at_least = int(visitor.text("#underruns"))
        mic, out, rate = visitor.heard()
        visitor.page.click("#start")
        visitor.wait_for("idle")
        at_most = int(visitor.text("#underruns"))
        gaps = gaps_of(out, rate)
        assert at_least - 1 <= len(gaps) <= at_most, "each gap is counted, the last may be unheard"
        holes = holes_of(out, mic, rate)
        if not gaps and not holes:
            break
    assert gaps == []
    assert holes == []
    assert len(loudness(out, rate)) * 0.005 > LONG_ENOUGH_S
    assert visitor.faults == []

    # All of several seconds: one second of them may be a pause, which lies anywhere as well.
    recent = slice(len(out) - 6 * rate, len(out))
    measured = lag_ms(mic[recent], out[recent], rate)
    assert total - shown["input"] - shown["output"] == pytest.approx(measured, abs=30)

    own, own_rate = read_audio(visitor.download("#input-download", tmp_path / "own.wav"))
    other, other_rate = read_audio(visitor.download("#output-download", tmp_path / "other.wav"))
    assert len(other) / other_rate == pytest.approx(len(own) / own_rate, abs=1e-3)
    assert len(own) / own_rate > 8


@pytest.mark.slow
def test_the_own_voice_is_heard_on_demand_marked_and_in_its_own_pitch(
    default_service: RunningService, visit: Callable[..., Visitor]
) -> None:
    visitor = visit(default_service, ears=True)
    visitor.page.check("input[value=soprano]", force=True)
    visitor.page.check("input[value=own]", force=True)
    assert "your own voice" in visitor.text("#own-banner")
    visitor.page.click("#start")
    visitor.wait_for("live")
    visitor.page.wait_for_timeout(4_000)
    mic, own, rate = visitor.heard()
    assert median_f0_hz(own, rate) == pytest.approx(median_f0_hz(mic, rate), rel=0.1)
    visitor.page.check("input[value=converted]", force=True)
    expect(visitor.page.locator("#own-banner")).to_be_hidden()
    visitor.page.wait_for_timeout(4_000)
    mic, both, rate = visitor.heard()
    converted = both[len(own) + rate // 4 :]
    assert median_f0_hz(converted, rate) > 1.3 * median_f0_hz(mic, rate)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["PCM", "OPUS"])
def test_a_live_voice_is_changed(
    default_service: RunningService, visit: Callable[..., Visitor], tmp_path: Path, encoding: str
) -> None:
    visitor = visit(default_service, ears=True)
    visitor.page.check("input[value=soprano]", force=True)
    visitor.page.evaluate(f"document.getElementById('encoding').value = '{encoding}'")
    visitor.page.click("#start")
    visitor.wait_for("live")
    visitor.page.wait_for_timeout(6_000)
    visitor.page.click("#start")
    visitor.wait_for("idle")
    assert encoding in visitor.text("#stream").upper()
    mic, out, rate = visitor.heard()
    assert median_f0_hz(out, rate) > 1.3 * median_f0_hz(mic, rate)
    own, own_rate = read_audio(visitor.download("#input-download", tmp_path / "own.wav"))
    other, other_rate = read_audio(visitor.download("#output-download", tmp_path / "other.wav"))
    assert len(other) / other_rate == pytest.approx(len(own) / own_rate, abs=1e-3)
    assert visitor.faults == []


# ------------------------------------------------------------- a whole file


def test_a_whole_file_is_converted_to_its_own_length_in_another_pitch(
    default_service: RunningService, visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    visitor = visit(default_service)
    visitor.page.check("input[value=soprano]", force=True)
    visitor.page.check("input[value=file]", force=True)
    visitor.page.set_input_files("#file", SOURCE)
    visitor.page.click("#convert")
    visitor.page.wait_for_selector("#recordings:not([hidden])")
    converted, rate = read_audio(visitor.download("#output-download", tmp_path / "out.wav"))
    speech, source_rate = read_audio(SOURCE)
    assert len(converted) / rate == pytest.approx(len(speech) / source_rate, abs=1e-3)
    assert median_f0_hz(converted, rate) > 1.3 * median_f0_hz(speech, source_rate)
    assert visitor.faults == []


def test_the_example_of_the_readme_converts(
    passthrough: RunningService, visit: Callable[..., Visitor]
) -> None:
    readme = Page(ROOT / "README.md", (ROOT / "README.md").read_text())
    _, code = readme.examples["browser"]
    # Any script may run in this page, other than in the one that is served.
    visitor = visit(passthrough, bypass_csp=True)
    visitor.page.evaluate(
        """async ([base64, port]) => {
            globalThis.url = `ws://localhost:${port}/ws`;
            const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
            globalThis.file = new Blob([bytes]);
        }""",
        [base64.b64encode(SOURCE.read_bytes()).decode(), passthrough.port],
    )
    visitor.page.add_script_tag(
        type="module", content=code + "globalThis.converted = [samples.length, sampleRate];"
    )
    visitor.page.wait_for_function("globalThis.converted")
    length, rate = visitor.page.evaluate("converted")
    speech, source_rate = read_audio(SOURCE)
    assert length / rate == pytest.approx(len(speech) / source_rate, abs=1e-3)


# ------------------------------------------------------------- errors, as a person sees them


@pytest.mark.slow
def test_a_blocked_microphone_is_explained(
    passthrough: RunningService, playwright: Playwright
) -> None:
    with launch_browser(playwright, microphone=False) as strict:
        visitor = Visitor(strict, passthrough.port)
        visitor.page.click("#start")
        visitor.page.wait_for_selector("#notice:not([hidden])")
        assert "microphone is blocked" in visitor.text("#notice")
        assert visitor.text("#start-text") == "Start"
        visitor.close()


@pytest.mark.slow
def test_a_full_service_is_waited_for(
    launch_service: Callable[..., RunningService], visit: Callable[..., Visitor]
) -> None:
    service = launch_service(max_sessions=1, late_ms=20_000)
    service.wait_until("ready")
    with service.connect() as other:
        other.send('{"type": "config"}')
        other.recv(timeout=20)
        visitor = visit(service)
        visitor.page.click("#start")
        visitor.wait_for("reconnecting")
        assert "All places are taken" in visitor.text("#notice")
        assert "Trying again in" in visitor.text("#notice")
    visitor.page.click("#notice-retry")
    visitor.wait_for("live")
    expect(visitor.page.locator("#notice")).to_be_hidden()


@pytest.mark.slow
def test_a_lost_service_is_looked_for_until_it_is_back(
    launch_service: Callable[..., RunningService], visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    service = launch_service(late_ms=20_000)
    service.wait_until("ready")
    visitor = visit(service)
    visitor.page.click("#start")
    visitor.wait_for("live")
    visitor.page.wait_for_timeout(1_000)
    service.process.kill()
    service.process.wait()
    visitor.wait_for("reconnecting")
    assert "connection broke" in visitor.text("#notice")
    again = launch_service(port=service.port, late_ms=20_000)
    again.wait_until("ready")
    visitor.wait_for("live")
    visitor.page.wait_for_timeout(1_000)
    visitor.page.click("#start")
    visitor.wait_for("idle")
    own, own_rate = read_audio(visitor.download("#input-download", tmp_path / "own.wav"))
    other, other_rate = read_audio(visitor.download("#output-download", tmp_path / "other.wav"))
    assert len(own) / own_rate > 1.5, "what was spoken before the break is kept"
    assert len(other) / other_rate == pytest.approx(len(own) / own_rate, abs=1e-3)


@pytest.mark.slow
def test_a_service_that_stops_says_so_and_keeps_what_was_spoken(
    launch_service: Callable[..., RunningService], visit: Callable[..., Visitor]
) -> None:
    service = launch_service(late_ms=20_000, drain_s=5)
    service.wait_until("ready")
    visitor = visit(service)
    visitor.page.click("#start")
    visitor.wait_for("live")
    visitor.page.wait_for_timeout(1_000)
    service.process.send_signal(signal.SIGINT)
    visitor.wait_for("reconnecting")
    visitor.page.click("#start")
    visitor.wait_for("idle")
    expect(visitor.page.locator("#recordings")).to_be_visible()


@pytest.mark.slow
def test_plain_http_beyond_this_machine_is_explained(
    launch_service: Callable[..., RunningService], playwright: Playwright
) -> None:
    service = launch_service(allowed_hosts="voice.test")
    service.wait_until("ready")
    with launch_browser(playwright, hosts={"voice.test": "127.0.0.1"}) as opened:
        visitor = Visitor(opened, service.port, host="voice.test")
        assert "fast-vc serve --tls-self-signed" in visitor.text("#notice")
        visitor.page.click("#start")
        assert "fast-vc serve --tls-self-signed" in visitor.text("#notice")
        visitor.page.check("input[value=file]", force=True)
        visitor.page.set_input_files("#file", SOURCE)
        visitor.page.click("#convert")
        visitor.page.wait_for_selector("#recordings:not([hidden])")
        visitor.close()
