"""Conversations that need company or time: a full service, a session too long, a drain."""

from __future__ import annotations

import signal
from typing import Any

from tests.compatibility.scripts import Script, speech
from tests.compatibility.services import ALICE, BOB, CAROL
from tests.compatibility.wire import Listener, converse, send, shown
from tests.e2e.service import RunningService

STANDARD = {"type": "config", "session_id": "company"}
SIMPLE = {"signal": "start", "stream_id": "company"}


def refusals_for_want_of_room(service: RunningService) -> dict[str, Any]:
    """Return what is said to those for whom there is no room: a key's own, and the service's."""
    with service.connect() as first, service.connect() as second:
        talk(first, {**STANDARD, "api_key": BOB})
        bobs_second = converse(service, Script([{**STANDARD, "api_key": BOB}]))
        talk(second, {**STANDARD, "api_key": ALICE})
        carols = {
            "no-room": converse(service, Script([{**STANDARD, "api_key": CAROL}])),
            "simple-no-room": converse(service, Script([{**SIMPLE, "api_key": CAROL}])),
        }
    return {"no-room-for-a-key": bobs_second, **carols}


def too_long_a_session(service: RunningService) -> dict[str, Any]:
    """Return how a session ends that never pauses and lasts longer than one may."""
    script = Script([{**STANDARD, "api_key": ALICE}], audio_is_certain=False)
    with service.connect() as ws:
        listener = Listener(ws)
        send(ws, script.steps[0])
        listener.hear()
        while not listener.closed:
            send(ws, b"\0" * 640)
            listener.listen_for(0.05)
    return {"too-long": {"client": shown(script), **listener.transcript(script)}}


def drain(service: RunningService) -> dict[str, Any]:
    """Return what sessions hear when the service stops and their time runs out."""
    audio = speech(0.4, 16_000)
    standard = Script([{**STANDARD, "api_key": ALICE}, audio])
    simple = Script([{**SIMPLE, "api_key": CAROL}, audio])
    with service.connect() as one, service.connect() as other:
        listener = talk(one, standard.steps[0])
        send(one, audio)
        listener.hear_audio()
        second = Listener(other)
        for step in simple.steps:
            send(other, step)
        second.hear_audio()
        service.process.send_signal(signal.SIGINT)
        for each in (listener, second):
            each.listen_to_the_end()
    return {
        "going-away": {"client": shown(standard), **listener.transcript(standard)},
        "simple-going-away": {"client": shown(simple), **second.transcript(simple)},
    }


def talk(ws: Any, config: dict[str, Any]) -> Listener:
    """Begin a session and wait for its ``ready``."""
    listener = Listener(ws)
    send(ws, config)
    listener.hear()
    return listener
