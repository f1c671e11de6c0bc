"""The life of a connection: its table, both sides in any order, and places that never leak."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from live_connection import Line, LiveService
from loguru import logger

from fast_vc_service.server import admission
from fast_vc_service.server.service import Recording
from fast_vc_service.server.websocket.life import (
    FROM_OUTSIDE,
    TABLE,
    Event,
    IllegalEventError,
    Life,
    State,
)

BLOCK = 640


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_pair_of_state_and_event_is_decided(state: State, event: Event) -> None:
    life = Life()
    life.state = state
    after = TABLE[event].get(state)
    if after is None:
        assert event not in FROM_OUTSIDE, "what comes from outside is never illegal"
        with pytest.raises(IllegalEventError):
            life.on(event)
        assert life.state is state
    else:
        assert life.on(event) is (after is not state)
        assert life.state is after


def test_no_event_leads_out_of_the_end_or_back_to_input() -> None:
    over = {State.FINISHING, State.CLOSING, State.STUCK, State.CLOSED}
    for event, row in TABLE.items():
        assert row.get(State.CLOSED, State.CLOSED) is State.CLOSED, event
        assert all(row[state] in over for state in over & row.keys()), event
        assert State.CLOSED in TABLE[Event.GONE].values()


@pytest.fixture
def line() -> Iterator[Line]:
    loop = asyncio.new_event_loop()
    line = Line(LiveService(), loop)
    yield line
    if not line.task.done():
        line.wind_up()
    loop.close()


def test_a_session_from_its_first_message_to_its_last(line: Line) -> None:
    line.say(type="config", realtime=False)
    assert line.texts()[0]["type"] == "ready"
    line.send_audio(bytes(4 * BLOCK))
    line.say(type="end")
    while line.convert():
        pass
    assert line.texts()[-1]["type"] == "complete"
    assert line.close_code == 1000
    assert line.task.done()
    assert line.service.engine.live == 0


def test_a_paced_upload_at_the_drain_deadline_keeps_what_was_taken(line: Line) -> None:
    line.say(type="config", realtime=False)
    line.send_audio(bytes(100 * 2 * BLOCK))
    line.wind_up()
    error = line.texts()[-1]
    assert (error["error_code"], line.close_code) == ("GOING_AWAY", 1012)
    audio = b"".join(message for message in line.heard if isinstance(message, bytes))
    assert 0 < len(audio) < 100 * 2 * BLOCK
    assert len(audio) / 32 == error["details"]["received_ms"]


@pytest.mark.parametrize("fault", ["state", "recorder", "session", "ready", "drain"])
def test_a_place_is_given_back_when_the_session_does_not_come_to_be(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = LiveService(recording=Recording(True, tmp_path))

    def fails(*_arguments: Any, **_named: Any) -> Any:
        raise RuntimeError("on purpose")

    loop = asyncio.new_event_loop()
    line = Line(service, loop)
    if fault == "state":
        service.engine.new_state = fails
    elif fault == "recorder":
        monkeypatch.setattr(admission, "Recorder", fails)
    elif fault == "session":
        monkeypatch.setattr(admission, "Session", fails)
    elif fault == "ready":
        line.fail_sending = OSError
    else:

        def drain() -> None:
            service.state = "draining"

        service.engine.new_state = drain
    line.say(type="config")
    if fault == "recorder":
        # A recording only informs: without one the session is as good.
        assert line.texts()[0]["recording"] is False
    else:
        assert len(service.engine.slots) == 1
        assert line.task.done()
        codes = {"state": 1011, "session": 1011, "ready": None, "drain": 4429}
        assert line.close_code == codes[fault]
        assert service.engine.live == 0
        assert service.connections == set()
    if not line.task.done():
        line.wind_up()
    assert service.engine.live == 0
    loop.close()


class BothSides(RuleBasedStateMachine):
    """A client, a clock, a drain and a model, each at any time."""

    @initialize(
        first=st.sampled_from(
            [
                {"type": "config", "realtime": False},
                {"type": "config"},
                {"signal": "start", "stream_id": "me"},
                None,
            ]
        )
    )
    def connect(self, first: dict[str, Any] | None) -> None:
        self.faults: list[str] = []
        self.sink = logger.add(self.faults.append, level="ERROR", format="{message}\n{exception}")
        self.loop = asyncio.new_event_loop()
        self.line = Line(LiveService(), self.loop)
        self.model_lost = False
        if first is not None:
            self.line.say(**first)

    @rule(
        text=st.sampled_from(
            [
                '{"type": "marker", "id": 1}',
                '{"type": "update", "voice": "loud"}',
                '{"type": "update", "voice": "nobody"}',
                '{"type": "update", "pitch_shift": 3}',
                '{"type": "config", "channels": 2}',
                "no JSON",
                "{}",
            ]
        )
    )
    def say_something(self, text: str) -> None:
        self.line.write(text)

    @rule(blocks=st.sampled_from([0, 1, 2, 5, 40]), odd=st.booleans())
    def speak(self, blocks: int, odd: bool) -> None:
        self.line.send_audio(bytes(2 * BLOCK * blocks + odd))

    @rule(on=st.booleans())
    def read(self, on: bool) -> None:
        self.line.read(on=on)

    @rule(silenced=st.sampled_from([None, None, None, "late", "failed"]))
    def convert(self, silenced: str | None) -> None:
        self.line.convert(silenced=silenced)

    @rule(
        how=st.sampled_from(
            ["end", "simple end", "hang up", "too much", "unread", "idle", "drain", "model"]
        )
    )
    def end_it(self, how: str) -> None:
        line = self.line
        if how.endswith("end"):
            line.write('{"signal": "end"}' if "simple" in how else '{"type": "end"}')
        elif how == "hang up":
            line.hang_up()
        elif how == "too much":
            line.send_audio(bytes(line.service.limits.max_message_bytes + 1))
        elif how in {"unread", "idle"}:
            line.pass_time({"unread": 11.0, "idle": 200.0}[how])
        elif how == "drain":
            for connection in list(line.service.connections):
                connection.finish()
            line.settle()
        else:
            self.model_lost = line.convert(silenced="lost") or self.model_lost

    @rule()
    def tell_of_the_drain(self) -> None:
        for connection in self.line.service.connections:
            connection.go_away(30)
        self.line.settle()

    @precondition(lambda self: hasattr(self, "line"))
    @invariant()
    def nothing_is_our_fault(self) -> None:
        assert self.faults == []
        assert self.line.close_code != 1011 or self.model_lost
        assert not self.line.task.done() or self.line.service.engine.live == 0

    def teardown(self) -> None:
        if not hasattr(self, "line"):
            return
        try:
            self.line.wind_up()
            self.nothing_is_our_fault()
            assert self.line.service.engine.live == 0
        finally:
            logger.remove(self.sink)
            self.loop.close()


TestBothSides = BothSides.TestCase
TestBothSides.settings = settings(
    max_examples=200, stateful_step_count=25, deadline=None, print_blob=True
)
