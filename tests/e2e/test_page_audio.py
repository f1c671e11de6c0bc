"""The page's resampler and jitter buffer, in the browser but in simulated time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import launch_browser, page_beside_modules, playwright
from playwright.sync_api import Page, Playwright

__all__ = ["playwright"]


SINE_THROUGH = """
async ([rateIn, rateOut, chunk]) => {
  const { Resampler } = await import("/demo/audio/resampler.js");
  const resampler = new Resampler(rateIn, rateOut);
  const sine = (i, rate) => 0.5 * Math.sin((2 * Math.PI * 1000 * i) / rate);
  const out = [];
  for (let start = 0; start < rateIn; start += chunk) {
    const length = Math.min(chunk, rateIn - start);
    resampler.push(Float32Array.from({ length }, (_, i) => sine(start + i, rateIn)));
    out.push(...resampler.pullAll());
  }
  let worst = 0;
  for (let i = 200; i < out.length - 200; i++) {
    worst = Math.max(worst, Math.abs(out[i] - sine(i, rateOut)));
  }
  return { length: out.length, worst, sum: out.reduce((a, b) => a + b * b, 0) };
}
"""

PLAY = """
async ({ rate, blockS, firstS, blocks, arrivals, endAtS, headStartS }) => {
  const { JitterBuffer } = await import("/demo/audio/jitter-buffer.js");
  const out = 48000;
  const buffer = new JitterBuffer(rate, out, headStartS);
  const length = Math.round(blockS * rate);
  const missing = Math.round((blockS - firstS) * rate);
  const tone = (i) => 0.5 * Math.sin((2 * Math.PI * 300 * i) / rate);
  const played = [];
  const quantum = new Float32Array(128);
  let next = 0;
  const trace = [];
  for (let k = 0; (k * 128) / out < endAtS; k++) {
    const now = (k * 128) / out;
    while (next < blocks && arrivals[next] <= now) {
      const block = Float32Array.from({ length }, (_, i) => tone(next * length + i));
      buffer.add(next === 0 ? block.subarray(missing) : block, now);
      next += 1;
      if (next === blocks) buffer.end();
    }
    buffer.render(quantum, now);
    played.push(...quantum);
    if (k % 375 === 0) trace.push({ now, lagS: now - buffer.positionS, state: buffer.state });
  }
  let jump = 0;
  for (let i = 1; i < played.length; i++) {
    jump = Math.max(jump, Math.abs(played[i] - played[i - 1]));
  }
  const loud = played.filter((sample) => sample !== 0).length / out;
  return {
    underruns: buffer.underruns, skippedS: buffer.skippedS, state: buffer.state,
    positionS: buffer.positionS, jump, loud, trace,
  };
}
"""


@pytest.fixture(scope="module")
def page(playwright: Playwright) -> Iterator[Page]:
    with launch_browser(playwright) as browser, page_beside_modules(browser) as opened:
        yield opened


def play(
    page: Page,
    arrivals: list[float],
    *,
    block_s: float = 0.2,
    first_s: float | None = None,
    head_start_s: float = 0,
) -> Any:
    """Play blocks that arrive at ``arrivals``, in seconds, from a clock that never waits."""
    return page.evaluate(
        PLAY,
        {
            "rate": 24000,
            "blockS": block_s,
            "firstS": block_s if first_s is None else first_s,
            "headStartS": head_start_s,
            "blocks": len(arrivals),
            "arrivals": arrivals,
            "endAtS": arrivals[-1] + 2,
        },
    )


@pytest.mark.parametrize(
    ("rate_in", "rate_out"),
    [
        (44100, 16000),
        (48000, 16000),
        (96000, 48000),
        (24000, 44100),
        (24000, 96000),
        (48000, 48000),
    ],
)
def test_any_rate_becomes_any_other_without_seams(page: Page, rate_in: int, rate_out: int) -> None:
    ways = [page.evaluate(SINE_THROUGH, [rate_in, rate_out, chunk]) for chunk in (128, 4001)]
    for way in ways:
        assert way["worst"] < 1e-4, "-80 dB below full scale"
        assert 0 <= rate_out - way["length"] < 0.005 * rate_out, "only the look-ahead is missing"
    assert ways[0] == ways[1], "however it is cut"


def test_even_arrivals_are_played_whole_and_soon(page: Page) -> None:
    run = play(page, [1 + 0.2 * k for k in range(30)])
    assert run["underruns"] == run["skippedS"] == 0
    assert run["state"] == "ended"
    assert run["loud"] == pytest.approx(30 * 0.2, abs=0.05), "all of it, none twice"
    assert run["trace"][5]["lagS"] == pytest.approx(1.04, abs=0.02), "40 ms after the first came"
    assert run["trace"][6]["lagS"] < 1.035, "and less once the arrivals proved even"
    assert run["jump"] < 0.025, "no click"


def test_a_short_first_block_is_waited_for_longer(page: Page) -> None:
    """Output starts at the input's first sample: the delay is missing from its first block."""
    arrivals = [1 + 0.2 * k for k in range(30)]
    run = play(page, arrivals, first_s=0.13, head_start_s=0.07)
    assert run["underruns"] == 0
    assert run["loud"] == pytest.approx(30 * 0.2 - 0.07, abs=0.05)
    assert run["trace"][6]["lagS"] < 1.11


def test_uneven_arrivals_are_learnt_from(page: Page) -> None:
    late = [0.0, 0.03, 0.01, 0.09, 0.02, 0.0, 0.06, 0.01]
    arrivals = [1 + 0.2 * k + late[k % len(late)] for k in range(60)]
    run = play(page, arrivals)
    assert run["underruns"] <= 1, "the first late block may surprise it, no other"
    assert run["skippedS"] == 0
    assert run["loud"] == pytest.approx(60 * 0.2, abs=0.1)
    assert run["jump"] < 0.025


def test_a_stall_is_one_fade_out_and_one_fade_in(page: Page) -> None:
    arrivals = [1 + 0.2 * k + (0.4 if k >= 10 else 0) for k in range(60)]
    run = play(page, arrivals)
    assert run["underruns"] == 1
    assert run["loud"] == pytest.approx(60 * 0.2, abs=0.1), "nothing is lost"
    assert run["jump"] < 0.025


def test_after_a_burst_of_delay_the_lag_goes_back(page: Page) -> None:
    arrivals = [1 + 0.2 * k + (0.15 if k == 10 else 0) for k in range(150)]
    run = play(page, arrivals)
    assert run["underruns"] <= 1
    assert max(step["lagS"] for step in run["trace"] if step["now"] < 5) > 1.15
    assert run["trace"][28]["lagS"] < 1.06
    assert run["jump"] < 0.025, "no click while it hurries"


def test_far_too_much_lag_is_skipped(page: Page) -> None:
    # The line was dead for 2 s, then everything came at once and is on time again.
    arrivals = [1 + 0.2 * k if not 10 <= k < 20 else 1 + 0.2 * 20 for k in range(120)]
    run = play(page, arrivals)
    assert run["underruns"] == 1
    assert 1.0 < run["skippedS"] < 2.2
    assert run["jump"] < 0.03


def test_packets_of_a_burst_do_not_ask_for_more_than_the_burst_does(page: Page) -> None:
    arrivals = [1 + 0.2 * (k // 10) for k in range(300)]
    run = play(page, arrivals, block_s=0.02)
    assert run["underruns"] == 0
    assert run["trace"][6]["lagS"] < 1.04
