"""The AsyncAPI document is well formed, and says what the API page and the code say."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import jsonschema
import pytest

from fast_vc_service.protocol.opening import Start
from fast_vc_service.protocol.schemas import schema_of
from fast_vc_service.protocol.wire import CLIENT_MESSAGES, SERVER_MESSAGES
from fast_vc_service.server.websocket.asyncapi import describe
from fast_vc_service.server.websocket.dialects.first_message import FirstMessageError, parse_first
from pages import ROOT, Page

PATH = ROOT / "docs" / "api_docs" / "websocket-api-doc.md"
EXAMPLES = {
    name: json.loads(code) for name, (_, code) in Page(PATH, PATH.read_text()).examples.items()
}
MESSAGES = {
    "config-minimal": "config",
    "config-full": "config",
    "config-opus": "config",
    "config-blend": "config",
    "marker": "marker",
    "update": "update",
    "end": "end",
    "simple-start": "simpleStart",
    "simple-start-full": "simpleStart",
    "simple-end": "simpleEnd",
    "ready": "ready",
    "marker-reached": "markerReached",
    "updated": "updated",
    "warning": "warning",
    "going-away": "goingAway",
    "complete": "complete",
    "error-invalid-config": "error",
    "error-unknown-voice": "error",
    "error-busy": "error",
    "simple-completed": "simpleCompleted",
    "simple-failed": "simpleFailed",
}
CLIENT = {message.name for message in CLIENT_MESSAGES}
SCHEMAS = {message.name: schema_of(message) for message in (*CLIENT_MESSAGES, *SERVER_MESSAGES)}


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        found = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return found + [ref for value in part.values() for ref in references(value)]
    return [ref for value in part for ref in references(value)] if isinstance(part, list) else []


def test_it_is_an_asyncapi_document() -> None:
    document = describe()
    json.dumps(document, allow_nan=False)
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])
    for reference in references(document):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    channel = document["channels"]["session"]
    assert channel["address"] == "/ws"
    used = set()
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert operation["channel"] == {"$ref": "#/channels/session"}
        used |= {message["$ref"].rsplit("/", 1)[1] for message in operation["messages"]}
    assert used == set(channel["messages"]) == set(document["components"]["messages"])
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)


def test_every_example_of_the_page_fits_its_message_and_no_other_kind() -> None:
    assert set(MESSAGES) == set(EXAMPLES)
    # What has no example is at least in the table of all messages.
    assert set(MESSAGES.values()) <= set(SCHEMAS)
    for name, kind in MESSAGES.items():
        fitting = [
            other
            for other, schema in SCHEMAS.items()
            if jsonschema.Draft7Validator(schema).is_valid(EXAMPLES[name])
            and (other in CLIENT) == (kind in CLIENT)
        ]
        assert fitting == [kind], name


def test_the_first_messages_have_the_fields_and_defaults_of_the_code() -> None:
    start = Start()
    own = {field.name for field in fields(Start)}
    assert set(SCHEMAS["config"]["properties"]) == own | {"type"}
    for schema in (SCHEMAS["config"], SCHEMAS["simpleStart"]):
        for name, property_ in schema["properties"].items():
            field = {"sample_bit": "bit_depth"}.get(name, name)
            if "default" in property_ and field in own:
                assert getattr(start, field) == property_["default"], name


@pytest.mark.parametrize(
    ("field", "right", "wrong"),
    [
        ("sample_rate", 48_000, 96_000),
        ("bit_depth", 24, 20),
        ("channels", 1, 2),
        ("pitch_shift", -24, 25),
        ("bitrate_out", 6_000, 1),
        ("voice", "alto", ""),
        ("session_id", "x" * 128, "x" * 129),
        ("opus_frame_duration", 2.5, 1),
        ("seed", 2**63 - 1, 2**63),
        ("record", False, "no"),
    ],
)
def test_schema_and_server_agree_on_what_is_right(field: str, right: Any, wrong: Any) -> None:
    good, bad = {"type": "config", field: right}, {"type": "config", field: wrong}
    jsonschema.validate(good, SCHEMAS["config"])
    parse_first(json.dumps(good))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, SCHEMAS["config"])
    with pytest.raises(FirstMessageError):
        parse_first(json.dumps(bad))


def test_error_codes_come_with_their_close_codes() -> None:
    assert "AUTH_FAILED 4401" in SCHEMAS["error"]["properties"]["error_code"]["description"]
