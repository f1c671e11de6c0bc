"""A telephone call over a real socket: G.711 in frames of 160 bytes, in both dialects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import numpy as np
import pytest
from service import ROOT, RunningService
from test_websocket import rest

from fast_vc_service.audio.codecs import make_decoder, make_encoder
from fast_vc_service.audio.g711 import Law
from pages import Page

FRAME_BYTES, CALL_S, SHORT_CALL_S = 160, 20, 4


def call(law: Law, seconds: int = CALL_S) -> tuple[np.ndarray, list[bytes]]:
    """A call's samples at 8 kHz, and the payloads of its packets."""
    time_s = np.arange(seconds * 8_000) / 8_000
    samples = (0.4 * np.sin(2 * np.pi * (300 + 20 * time_s) * time_s)).astype(np.float32)
    (sent,) = make_encoder(law, 8_000).encode(samples)
    frames = [sent[begin : begin + FRAME_BYTES] for begin in range(0, len(sent), FRAME_BYTES)]
    return samples, frames


def same_call(law: Law, samples: np.ndarray, payload: bytes) -> bool:
    """Whether the payload is that call, coded twice."""
    heard = make_decoder(law, 8_000).decode(payload)
    middle = slice(4_000, -4_000)
    error = np.sqrt(np.mean(np.square(heard[middle] - samples[middle])))
    return len(heard) == len(samples) and bool(error < 0.02)


@pytest.mark.parametrize(
    ("first", "law", "seconds"),
    [
        ("config", "MULAW", CALL_S),
        ("config", "ALAW", CALL_S),
        ("start", "MULAW", CALL_S),
        # This dialect is always paced.
        ("start", "ALAW", SHORT_CALL_S),
    ],
)
def test_a_call_comes_back_whole(
    passthrough: RunningService, first: str, law: Law, seconds: int
) -> None:
    samples, frames = call(law, seconds)
    opening: dict[str, object] = {"signal": "start"}
    if first == "config":
        opening = {"type": "config", "realtime": False}
    ending = {"type": "end"} if first == "config" else {"signal": "end"}
    with passthrough.connect() as ws:
        ws.send(json.dumps(opening | {"encoding": law, "encoding_out": law.lower()}))
        if first == "config":
            ready = json.loads(ws.recv(timeout=20))
            assert (ready["encoding_out"], ready["sample_rate_out"]) == (law, 8_000)
        for frame in frames:
            ws.send(frame)
        ws.send(json.dumps(ending))
        payloads, texts, code = rest(ws)
    assert (len(texts), code) == (1, 1000)
    assert same_call(law, samples, b"".join(payloads))


def test_the_program_of_the_page(passthrough: RunningService) -> None:
    page = ROOT / "docs/telephony.md"
    _, program = Page(page, page.read_text()).examples["call"]
    named: dict[str, object] = {}
    exec(program, named)
    samples, frames = call("MULAW", SHORT_CALL_S)

    async def packets() -> AsyncIterator[bytes]:
        for frame in frames:
            yield frame

    heard: list[bytes] = []
    convert_call = named["convert_call"]
    assert callable(convert_call)
    asyncio.run(convert_call(packets(), heard.append, url=passthrough.url))
    assert same_call("MULAW", samples, b"".join(heard))
