"""Chromium with a microphone that plays a file, and ears that hear what the page plays."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright, Request, Route, expect, sync_playwright

from fast_vc_service.contract import FloatArray

PATIENCE_MS = 60_000
WEB = Path(__file__).parents[2] / "fast_vc_service" / "web"
"""Nothing here takes long on an idle machine; on a busy one a page may load for a minute."""

expect.set_options(timeout=PATIENCE_MS)

TAP_WORKLET = """
const SIZE = 8192;
class Tap extends AudioWorkletProcessor {
  pair = [new Float32Array(SIZE), new Float32Array(SIZE)];
  filled = 0;
  process(inputs) {
    for (const [side, input] of inputs.entries()) {
      this.pair[side].set(input[0] ?? new Float32Array(128), this.filled);
    }
    this.filled += 128;
    if (this.filled === SIZE) {
      this.port.postMessage(this.pair);
      this.filled = 0;
    }
    return true;
  }
}
registerProcessor("tap", Tap);
"""

TAP = """
((TAP_WORKLET) => {
  const { connect } = AudioNode.prototype;
  const { addModule } = AudioWorklet.prototype;
  window.heard = { mic: [], out: [], rate: 0 };
  let tap = null;
  const tapOf = (context) => {
    if (tap?.context === context) return tap;
    tap = new AudioWorkletNode(context, "tap", { numberOfInputs: 2 });
    window.heard = { mic: [], out: [], rate: context.sampleRate };
    const { mic, out } = window.heard;
    tap.port.onmessage = ({ data }) => { mic.push(data[0]); out.push(data[1]); };
    connect.call(tap, context.destination);
    return tap;
  };
  AudioWorklet.prototype.addModule = function (...rest) {
    const source = new Blob([TAP_WORKLET], { type: "text/javascript" });
    const address = URL.createObjectURL(source);
    return Promise.all([addModule.call(this, address), addModule.apply(this, rest)]);
  };
  AudioNode.prototype.connect = function (to, ...rest) {
    if (this instanceof MediaStreamAudioSourceNode) connect.call(this, tapOf(this.context), 0, 0);
    if (to instanceof AudioDestinationNode) connect.call(this, tapOf(this.context), 0, 1);
    return connect.call(this, to, ...rest);
  };
  window.heardAsText = async () => {
    const { mic, out } = window.heard;
    const bytes = new Uint8Array(await new Blob([...mic, ...out]).arrayBuffer());
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) {
      text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    }
    return btoa(text);
  };
})"""


def chromium_path() -> str:
    """Where Chromium is; the test is skipped where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium: apt-get install -y chromium, or name one in CHROMIUM")
    return found


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """One a module: while it is open, nothing else in this thread may run an event loop."""
    chromium_path()
    with sync_playwright() as started:
        yield started


@contextmanager
def launch_browser(
    playwright: Playwright,
    speech: Path | None = None,
    *,
    microphone: bool = True,
    devices: int = 1,
    hosts: dict[str, str] | None = None,
) -> Iterator[Browser]:
    """Chromium whose microphone plays ``speech`` again and again, or is refused to every page.

    There are ``devices`` microphones and as many loudspeakers. ``hosts`` are names that it finds at
    other addresses.
    """
    flags = [
        f"--use-fake-device-for-media-stream=device-count={devices}",
        "--disable-gpu",
    ]
    if speech is not None:
        flags.append(f"--use-file-for-fake-audio-capture={speech}")
    rules = ", ".join(f"MAP {name} {address}" for name, address in (hosts or {}).items())
    if rules:
        flags.append(f"--host-resolver-rules={rules}")
    if microphone:
        flags.append("--use-fake-ui-for-media-stream")
    browser = playwright.chromium.launch(
        executable_path=chromium_path(), args=flags, timeout=PATIENCE_MS
    )
    yield browser
    browser.close()


class Visitor:
    """A person at the page; with ``ears``, all that is played can be had from :meth:`heard`.

    ``script`` is run before the page's own; ``arrived`` is what the page at ``path`` shows first.

    Attributes:
        page: The page itself.
        asked: All its requests so far.
        faults: What went wrong in it: exceptions, and anything the console calls an error.
    """

    def __init__(
        self,
        browser: Browser,
        port: int,
        *,
        host: str = "localhost",
        path: str = "/",
        ears: bool = False,
        script: str = "",
        arrived: str = "#voices .voice",
        **context: Any,
    ) -> None:
        # The ears are a script that the page's own policy would refuse.
        self._context = browser.new_context(
            bypass_csp=context.pop("bypass_csp", ears),
            locale=context.pop("locale", "en-US"),
            viewport={"width": 1280, "height": 900},
            **context,
        )
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.faults: list[str] = []
        self.asked: list[Request] = []
        self.page.on("request", self._keep)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._note)
        if ears:
            self.page.add_init_script(f"{TAP}({json.dumps(TAP_WORKLET)});")
        if script:
            self.page.add_init_script(script)
        self.page.goto(f"http://{host}:{port}{path}")
        self.page.wait_for_selector(arrived)

    def wait_for(self, state: str) -> None:
        """Wait until the page is in ``state``: idle, live, reconnecting, …"""
        self.page.wait_for_selector(f'body[data-state="{state}"]')

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def milliseconds(self, selector: str) -> float:
        """The number that the element shows."""
        return float(self.text(selector).removesuffix("ms"))

    def heard(self) -> tuple[FloatArray, FloatArray, int]:
        """What came from the microphone and what went to the loudspeaker, and their rate."""
        text, rate = self.page.evaluate("heardAsText().then((text) => [text, heard.rate])")
        mic, out = np.frombuffer(base64.b64decode(text), np.float32).reshape(2, -1)
        return mic, out, rate

    def download(self, selector: str, target: Path) -> Path:
        """Click a link and keep what comes."""
        with self.page.expect_download() as coming:
            self.page.click(selector)
        coming.value.save_as(target)
        return target

    def close(self) -> None:
        self._context.close()

    def _keep(self, request: Request) -> None:
        self.asked.append(request)

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(message.text)


@contextmanager
def page_beside_modules(browser: Browser) -> Iterator[Page]:
    """An empty page that may import the modules of the demo; no service is needed for them."""

    def answer(route: Route) -> None:
        path = route.request.url.split("/demo/")
        if len(path) == 2:
            route.fulfill(path=WEB / path[1], content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.route("**/*", answer)
    page.goto("http://localhost/")
    yield page
    page.close()
