import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.talkers import answering_chunk, frame, frames, run_sessions


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
            stats = {"silenced_ms": 0.0, "real_time_factor": {"p95": 0.25}}
            await connection.send(json.dumps({"type": "complete", "stats": stats}))
            return


def test_the_load_speaks_the_protocol_and_counts_its_markers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def run() -> dict[str, Any]:
        async with serve(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"ws://127.0.0.1:{port}/ws"
            return await run_sessions([url], 3, warm_up_s=0.2, seconds=0.4)

    result = asyncio.run(run())
    assert capsys.readouterr().out.startswith("started ")
    # 20 chunks count, a marker before every tenth.
    assert len(result["latencies_ms"]) == 3 * 2
    assert result["received_bytes"] == 3 * 30 * 640
    assert result["silenced_ms"] == 0
    assert result["rtf_p95"] == 0.25


def test_a_clients_frame_is_what_a_server_expects() -> None:
    assert frame(2, b"ab") == b"\x82\x82\0\0\0\0ab"
    assert frame(1, bytes(200))[:8] == b"\x81\xfe\x00\xc8\0\0\0\0"
