from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import load, tables
from benchmarks.peer import Call
from benchmarks.raw_sessions import RawClients
from benchmarks.results import save
from fast_vc_service.models.passthrough.converter import PassthroughConverter


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 8, 13, 40, 100])
def test_the_climb_finds_what_fits_within_an_eighth(limit: int) -> None:
    asked: list[int] = []

    def level(sessions: int) -> dict[str, Any]:
        asked.append(sessions)
        return {"fits": sessions <= limit}

    levels = load.climb(level, most=512)
    found = load.carried(levels)
    assert found <= limit < found + max(1, found // 8) + 1
    assert len(asked) == len(set(asked)), "nothing is measured twice"
    assert load.MEMORY_SESSIONS in asked
    assert [each["sessions"] for each in levels] == sorted(asked)


def test_the_climb_ends_at_the_most_that_is_asked_for() -> None:
    levels = load.climb(lambda _sessions: {"fits": True}, most=20)
    assert [each["sessions"] for each in levels] == [1, 2, 4, 8, 16]


def test_sessions_are_spread_evenly_over_servers() -> None:
    clients = RawClients([f"ws://{number}" for number in range(3)], warm_up_s=1.0, seconds=1.0)
    count = Counter(clients.url_of(number) for number in range(1, 11))
    assert sorted(count.values()) == [3, 3, 4]


def test_the_peer_converts_what_it_hears_and_answers_markers_in_place() -> None:
    converter = PassthroughConverter()
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def talk() -> None:
        call = Call(converter, converter.make_voice("v", np.ones(1, np.float32), 16_000), send)
        for start in range(0, len(pcm), 640):
            if start == 1280:
                call.mark("here")
            await call.hear(pcm[start : start + 640])
        await call.end()

    pcm = (1000 * np.sin(np.arange(1600) / 7)).astype("<i2").tobytes()
    asyncio.run(talk())
    audio = b"".join(message["bytes"] for message in sent if "bytes" in message)
    assert audio == pcm
    texts = [message.get("text") for message in sent]
    place = texts.index(json.dumps({"type": "marker", "id": "here"}))
    before = b"".join(message.get("bytes", b"") for message in sent[:place])
    assert 1280 < len(before) <= 1280 + 640
    complete = json.loads(next(text for text in texts if text and "complete" in text))
    assert complete["stats"]["real_time_factor"]["p95"] > 0


def test_a_load_makes_a_table(tmp_path: Path) -> None:
    figures = {
        "fits": True,
        "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
        "rtf_p95": 0.5,
        "server_cores": 0.7,
        "client_cores": 0.1,
        "silenced_ms": 0.0,
        "memory_pss_mb": 400.0,
    }
    systems = [
        {"system": "service", "carried": 8, "levels": [{"sessions": 8, **figures}]},
        {"system": "peer, W = 1", "carried": 0, "levels": [{"sessions": 1, "failed": "it"}]},
    ]
    path = save(
        "load-nano", tmp_path, engine="nano", block_ms=80.0, memory_sessions=8, systems=systems
    )
    table = tables.of_result(path)
    assert "| service | 8 | 1.0 / 2.0 / 3.0 | 0.50 | 0.70 | 0.10 | 0 | 3.0 | 400 |" in table
    assert "| peer, W = 1 | 0 | — | — | — | — | — | — | — |" in table
    load.plot(80.0, systems, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
