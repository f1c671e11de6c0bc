import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.raw_sessions import RawClients, answering_chunk, frame, frames
from fast_vc_service.loadtest.client_report import ClientReport
from fast_vc_service.loadtest.schedule import Schedule
from fast_vc_service.loadtest.statistics import pooled_statistics


def server_frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 2**16:
        length = bytes([126]) + size.to_bytes(2, "big")
    else:
        length = bytes([127]) + size.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + length + payload


@given(
    messages=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300)), max_size=8),
    cut=st.integers(0, 2000),
)
def test_frames_are_taken_whole_wherever_the_stream_is_cut(
    messages: list[tuple[int, bytes]], cut: int
) -> None:
    stream = b"".join(server_frame(*message) for message in messages)
    buffer = bytearray(stream[:cut])
    found = frames(buffer)
    buffer += stream[cut:]
    assert found + frames(buffer) == messages
    assert not buffer


def test_a_long_frame_is_parsed() -> None:
    payload = bytes(70_000)
    assert frames(bytearray(server_frame(2, payload))) == [(2, payload)]


@pytest.mark.parametrize(
    ("block_ms", "delay_ms", "marked", "answering"),
    [
        (20.0, 0.0, 10, 10),  # echo: with the chunk itself
        (20.0, 20.0, 10, 11),  # passthrough: a block later
        (200.0, 64.0, 0, 9),  # the block that holds the sample
        (200.0, 64.0, 7, 19),  # 140 + 64 ms lies in the second block
        (20.0, 24.0, 10, 11),
    ],
)
def test_a_marker_waits_for_the_block_that_holds_its_sample(
    block_ms: float, delay_ms: float, marked: int, answering: int
) -> None:
    ready = {"block_ms": block_ms, "delay_ms": delay_ms}
    assert answering_chunk(marked, ready) == answering


async def echo(connection: ServerConnection) -> None:
    await connection.recv()
    await connection.send(json.dumps({"type": "ready", "block_ms": 20.0, "delay_ms": 0.0}))
    marker = ""
    async for message in connection:
        if isinstance(message, bytes):
            await connection.send(message)
            if marker:
                await connection.send(marker)
                marker = ""
        elif json.loads(message)["type"] == "marker":
            marker = message
        else:
            stats = {
                "silenced_ms": 0.0,
                "real_time_factor": dict.fromkeys(("mean", "min", "max", "p95"), 0.25),
            }
            await connection.send(json.dumps({"type": "complete", "stats": stats}))
            return


def run_clients(count: int, handler: Any, **settings: Any) -> list[ClientReport]:
    async def run() -> list[ClientReport]:
        async with serve(handler, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            clients = RawClients([f"ws://127.0.0.1:{port}/ws"], **settings)
            begin = lambda: Schedule(time.monotonic() + 0.1, 0.02 / count)  # noqa: E731
            return await clients.run_sessions(range(1, count + 1), begin)

    return asyncio.run(run())


def test_the_load_speaks_the_protocol_and_counts_its_markers() -> None:
    reports = run_clients(3, echo, warm_up_s=0.2, seconds=0.4)
    assert [report.number for report in reports] == [1, 2, 3]
    assert all(report.success for report in reports)
    # 20 chunks count, a marker before every tenth.
    assert [len(report.chunks) for report in reports] == [2, 2, 2]
    assert [len(report.send_delays_ms) for report in reports] == [30, 30, 30]
    figures = pooled_statistics(reports)
    assert figures["silenced_ms"] == 0
    assert figures["real_time_factor"]["worst_p95"] == 0.25
    chunk = reports[0].chunks[0]
    assert chunk.mouth_to_ear_ms == pytest.approx(chunk.latency_ms + 20)


def test_a_refused_session_says_why() -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(
            json.dumps({"type": "error", "error_code": "BUSY", "message": "full"})
        )

    reports = run_clients(2, refuse, warm_up_s=0.0, seconds=0.1)
    assert [report.error["message"] for report in reports if report.error] == ["BUSY: full"] * 2


def test_a_clients_frame_is_what_a_server_expects() -> None:
    assert frame(2, b"ab") == b"\x82\x82\0\0\0\0ab"
    assert frame(1, bytes(200))[:8] == b"\x81\xfe\x00\xc8\0\0\0\0"
