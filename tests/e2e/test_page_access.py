"""What a person does at the page beside talking: sign in, add a voice, change devices."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Visitor, launch_browser, playwright
from playwright.sync_api import Browser, Playwright, expect
from service import ROOT, RunningService

from fast_vc_service.audio.files import read_audio
from tests.e2e.test_page import median_f0_hz

__all__ = ["playwright"]

pytestmark = pytest.mark.slow

KEY = "a key of one's own"
KEYS = json.dumps([{"name": "me", "key": KEY}])
SOURCE = ROOT / "wavs/sources/low-pitched-male-24k.wav"
KEEP_STREAMS = """
const { getUserMedia } = MediaDevices.prototype;
window.streams = [];
MediaDevices.prototype.getUserMedia = async function (wanted) {
  const stream = await getUserMedia.call(this, wanted);
  window.streams.push(stream);
  return stream;
};
"""


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with launch_browser(playwright, devices=3) as opened:
        yield opened


@pytest.fixture
def world(launch_service: Callable[..., RunningService]) -> RunningService:
    service = launch_service("--engine", "world", late_ms=20_000, max_sessions=4)
    service.wait_until("ready")
    return service


def convert(visitor: Visitor, target: Path) -> float:
    """Convert a file in the page, and return the median F0 of the result."""
    visitor.page.check("input[value=file]", force=True)
    visitor.page.set_input_files("#file", SOURCE)
    visitor.page.click("#convert")
    visitor.page.wait_for_selector("#recordings:not([hidden])")
    return median_f0_hz(*read_audio(visitor.download("#output-download", target)))


def test_a_key_is_asked_for_and_only_its_token_goes_on(
    launch_service: Callable[..., RunningService], browser: Browser, tmp_path: Path
) -> None:
    service = launch_service(api_keys=KEYS, auth_failure_delay_ms=10, late_ms=20_000)
    service.wait_until("ready")
    visitor = Visitor(browser, service.port, arrived="#key-dialog[open]")
    page = visitor.page
    sent: list[tuple[str, str | None]] = []
    page.on(
        "request",
        lambda request: sent.append((request.url, request.headers.get("authorization"))),
    )
    frames: list[str | bytes] = []

    def note(frame: str | bytes) -> None:
        frames.append(frame)

    page.on("websocket", lambda socket: socket.on("framesent", note))
    assert "asks for a key" in visitor.text("#key-title")
    page.fill("#key", "some other key")
    page.click("#key-dialog button[type=submit]")
    expect(page.locator("#key-error")).to_have_text("That key is not known here.")
    expect(page.locator("#key-dialog")).to_be_visible()
    page.fill("#key", KEY)
    page.press("#key", "Enter")
    page.wait_for_selector("#voices .voice")
    expect(page.locator("#key-dialog")).to_be_hidden()
    expect(page.locator("#sign-out")).to_be_visible()
    visitor.page.click("#start")
    visitor.wait_for("live")
    visitor.page.click("#start")
    visitor.wait_for("idle")
    with_key = [url for url, header in sent if header == f"Bearer {KEY}"]
    assert with_key
    assert all(url.endswith("/tokens") for url in with_key)
    assert any(url.endswith("/voices") and "fvt_" in (header or "") for url, header in sent)
    config = json.loads(next(frame for frame in frames if isinstance(frame, str)))
    assert config["api_key"].startswith("fvt_")
    assert KEY not in json.dumps(config)
    visitor.page.click("#sign-out")
    page.wait_for_selector("#key-dialog[open]")
    visitor.close()


def test_the_token_in_the_address_stands_for_this_machine_and_leaves_the_address(
    launch_service: Callable[..., RunningService], browser: Browser
) -> None:
    # With a proxy before it nobody is local by the address of a socket.
    service = launch_service(allowed_hosts="localhost", late_ms=20_000)
    service.wait_until("ready")
    stranger = Visitor(browser, service.port)
    expect(stranger.page.locator("#add-voice")).to_be_hidden()
    stranger.close()
    token_file = service.home / "temp" / f"fast_vc_service_port_{service.port}.token"
    token = token_file.read_text().strip()
    visitor = Visitor(browser, service.port, path=f"/?x=1#token={token}")
    page = visitor.page
    frames: list[str | bytes] = []

    def note(frame: str | bytes) -> None:
        frames.append(frame)

    page.on("websocket", lambda socket: socket.on("framesent", note))

    assert page.url == f"http://localhost:{service.port}/?x=1"
    assert page.evaluate("location.hash") == ""
    expect(page.locator("#add-voice")).to_be_visible()
    page.reload()
    page.wait_for_selector("#voices .voice")
    expect(page.locator("#add-voice")).to_be_visible()
    page.click("#start")
    visitor.wait_for("live")
    page.click("#start")
    visitor.wait_for("idle")

    voices = [each for each in visitor.asked if each.url.endswith("/voices")]
    assert len(voices) > 1
    assert all(each.headers["authorization"] == f"Bearer {token}" for each in voices)
    assert not any(token in each.url for each in visitor.asked if "#" not in each.url)
    assert not any(token in each.headers.get("referer", "") for each in visitor.asked)
    assert not any(token in frame for frame in frames if isinstance(frame, str))
    page.go_back()
    assert token not in page.url, "it is not in the history of the tab"
    visitor.close()


def test_a_voice_is_uploaded_in_the_page_and_spoken_with(
    world: RunningService, browser: Browser, tmp_path: Path
) -> None:
    visitor = Visitor(browser, world.port)
    page = visitor.page
    page.click("#add-voice")
    page.fill("#voice-name", "anna")
    page.set_input_files("#voice-clip", {"name": "x.wav", "mimeType": "audio/wav", "buffer": b"x"})
    page.click("#voice-submit")
    assert not page.evaluate(
        "document.getElementById('voice-dialog').querySelector('form').checkValidity()"
    ), "no voice without consent"
    page.check("#voice-consent")
    page.click("#voice-submit")
    expect(page.locator("#voice-error")).to_contain_text("file cannot be used")
    page.set_input_files("#voice-clip", ROOT / "wavs/references/soprano.wav")
    page.click("#voice-submit")
    expect(page.locator("#voice-dialog")).to_be_hidden()
    expect(page.locator("input[name=voice][value=anna]")).to_be_checked()
    assert world.get("/voices/anna")[1]["source"] == "uploaded"
    speaker = median_f0_hz(*read_audio(SOURCE))
    assert convert(visitor, tmp_path / "out.wav") > 1.3 * speaker
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("button[aria-label='Remove anna']")
    expect(page.locator("input[name=voice][value=anna]")).to_have_count(0)
    assert world.get("/voices/anna")[0] == 404
    visitor.close()


def test_a_blend_is_chosen_in_the_page_and_changed_while_talking(
    world: RunningService, browser: Browser, tmp_path: Path
) -> None:
    visitor = Visitor(browser, world.port)
    page = visitor.page
    sent: list[dict[str, object]] = []

    def note(frame: str | bytes) -> None:
        if isinstance(frame, str):
            sent.append(json.loads(frame))

    page.on("websocket", lambda socket: socket.on("framesent", note))
    page.check("input[name=voice][value=bass]", force=True)
    low = convert(visitor, tmp_path / "bass.wav")
    expect(page.locator("#blend-share-field")).to_be_hidden()
    expect(page.locator("#blend-voice option[value=bass]")).to_have_count(0)
    page.select_option("#blend-voice", "soprano")
    page.fill("#blend-share", "60")
    between = convert(visitor, tmp_path / "blend.wav")
    page.check("input[name=voice][value=soprano]", force=True)
    expect(page.locator("#blend-voice")).to_have_value("")
    high = convert(visitor, tmp_path / "soprano.wav")
    voices = [each["voice"] for each in sent if each["type"] == "config"]
    assert voices == ["bass", {"bass": 0.4, "soprano": 0.6}, "soprano"]
    assert 1.15 * low < between < high / 1.15
    page.check("input[value=microphone]", force=True)
    page.click("#start")
    visitor.wait_for("live")
    page.select_option("#blend-voice", "bass")
    expect(page.locator("#output-name")).to_have_text("soprano 40 % + bass 60 %")
    page.click("#start")
    visitor.wait_for("idle")
    updates = [each["voice"] for each in sent if each["type"] == "update"]
    assert updates == [{"soprano": 0.4, "bass": 0.6}]
    assert visitor.faults == []
    visitor.close()


def test_devices_are_chosen_before_and_changed_while_talking(
    launch_service: Callable[..., RunningService], browser: Browser
) -> None:
    service = launch_service(late_ms=20_000)
    service.wait_until("ready")
    visitor = Visitor(browser, service.port, script=KEEP_STREAMS)
    page = visitor.page
    expect(page.locator("#microphone option")).to_have_count(3)  # one of the three is the default
    first, second = (
        page.locator("#microphone option").nth(index).get_attribute("value") for index in (1, 2)
    )
    assert first != second

    def live() -> list[str]:
        """The devices that are listened to now."""
        found: list[str] = page.evaluate(
            """() => streams.flatMap((stream) => stream.getTracks())
                .filter((track) => track.readyState === "live")
                .map((track) => track.getSettings().deviceId)"""
        )
        return found

    page.select_option("#microphone", first)
    page.click("#start")
    visitor.wait_for("live")
    assert live() == [first]
    spoken = "() => Number(document.getElementById('clock').textContent.split(':')[1])"
    page.select_option("#microphone", second)
    page.wait_for_function("() => streams.length === 2")
    assert live() == [second], "the one before is let go"
    before = page.evaluate(spoken)
    page.wait_for_function(f"(before) => ({spoken})() > before + 1", arg=before)
    page.locator("details summary").click()
    loudspeakers = page.locator("#loudspeaker option")
    assert loudspeakers.count() > 1
    page.select_option("#loudspeaker", loudspeakers.last.get_attribute("value"))
    page.evaluate(
        """() => {
            document.getElementById("microphone").add(new Option("gone", "no such device"));
        }"""
    )
    page.select_option("#microphone", "no such device")
    expect(page.locator("#notice")).to_contain_text("not there any more")
    assert live() == [second], "the one before goes on"
    visitor.page.click("#start")
    visitor.wait_for("idle")
    assert live() == []
    assert visitor.faults == []
    visitor.close()
