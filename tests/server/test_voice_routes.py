from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fake_service import (
    ADMIN,
    ALICE,
    BOB,
    REFERENCES,
    FakeService,
    catalogue,
    passthrough_work,
    some_keys,
)
from speech import as_file, speech, speech_file
from starlette.testclient import TestClient

from fast_vc_service.server.http.application import create_http_app
from fast_vc_service.voices.catalogue import VoiceCatalogue

SHIPPED = sorted(path.stem for path in REFERENCES.iterdir())


@pytest.fixture
def voices(tmp_path: Path) -> VoiceCatalogue:
    return catalogue(tmp_path / "data")


Connect = Callable[..., TestClient]


@pytest.fixture
def connect(voices: VoiceCatalogue) -> Connect:
    work = passthrough_work(voices)
    locked = create_http_app(FakeService(voices, work, some_keys()))
    open_ = create_http_app(FakeService(voices, work))

    def made(key: str | None = None, host: str = "127.0.0.1", **headers: str) -> TestClient:
        told = {**({"authorization": f"Bearer {key}"} if key else {}), **headers}
        return TestClient(
            locked if key else open_,
            base_url="http://localhost:8042",
            client=(host, 50_000),
            headers=told,
            raise_server_exceptions=False,
        )

    return made


def add(client: TestClient, clip: bytes | None = None, **fields: Any) -> Any:
    texts = {"name": "anna", "consent": "true", **fields}
    files = {"clip": ("anna.wav", speech_file() if clip is None else clip)}
    return client.post("/voices", data=texts, files=files)


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json().get("error_code")) == (status, code), answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "error_code", "message", "details"}
    return body["details"]


def test_the_folder_is_listed_and_heard(connect: Connect) -> None:
    client = connect()
    listed = client.get("/voices").json()
    assert listed["default"] == "ref-24k"
    assert [voice["name"] for voice in listed["voices"]] == SHIPPED
    assert {voice["source"] for voice in listed["voices"]} == {"folder"}
    alto = client.get("/voices/alto").json()
    assert alto == {**listed["voices"][0], "check": None}
    sample, rate = soundfile.read(io.BytesIO(client.get("/voices/alto/sample").content))
    clip, clip_rate = soundfile.read(REFERENCES / "alto.wav")
    assert rate == clip_rate
    np.testing.assert_allclose(sample, clip, atol=1e-4)


def test_an_uploaded_voice_is_usable_at_once_and_after_a_restart(
    connect: Connect, voices: VoiceCatalogue, tmp_path: Path
) -> None:
    answer = add(connect(), description="  Reads news ")
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == "/voices/anna"
    told = answer.json()
    assert told["check"]["problems"] == []
    assert told["check"]["speech_s"] > 3
    assert (told["source"], told["shared"], told["ready"]) == ("uploaded", True, True)
    assert told["description"] == "Reads news"
    assert connect().get("/voices/anna").json() == told
    assert voices.made("anna") is not None
    again = catalogue(tmp_path / "data")
    assert again.get("anna").name == "anna"
    assert "anna" in again.names()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_formats_are_known_by_their_content(connect: Connect, kind: str) -> None:
    answer = add(connect(), speech_file(kind=kind))
    assert answer.status_code == 201, answer.text
    assert answer.json()["duration_s"] == pytest.approx(6.0, abs=0.1)


def test_a_voice_belongs_to_the_key_that_made_it(connect: Connect) -> None:
    alice, bob, admin = connect(ALICE), connect(BOB), connect(ADMIN)
    assert add(alice).json()["owner"] == "alice"
    assert bob.get("/voices").json()["voices"][-1]["name"] == SHIPPED[-1]
    for path in ("/voices/anna", "/voices/anna/sample"):
        details = refused(bob.get(path), 404, "UNKNOWN_VOICE")
        assert "anna" not in details["available"]
        assert alice.get(path).status_code == 200
    refused(bob.delete("/voices/anna"), 404, "UNKNOWN_VOICE")
    assert add(bob, speech_file("references/bass")).status_code == 201
    listed = admin.get("/voices").json()["voices"]
    assert [(v["name"], v["owner"]) for v in listed[-2:]] == [("anna", "alice"), ("anna", "bob")]
    assert admin.delete("/voices/anna", params={"owner": "bob"}).status_code == 204
    assert alice.delete("/voices/anna").status_code == 204
    refused(alice.get("/voices/anna"), 404, "UNKNOWN_VOICE")


def test_an_admins_voice_is_for_everybody_and_the_admins_to_remove(connect: Connect) -> None:
    assert add(connect(ADMIN), name="house").json()["owner"] is None
    seen = connect(BOB).get("/voices/house").json()
    assert (seen["shared"], seen["removable"]) == (True, False)
    refused(connect(BOB).delete("/voices/house"), 403, "FORBIDDEN")
    refused(connect(BOB).delete("/voices/house", params={"owner": "x"}), 403, "FORBIDDEN")
    refused(add(connect(BOB), name="house"), 409, "VOICE_EXISTS")
    assert connect(ADMIN).delete("/voices/house").status_code == 204


def test_without_keys_only_this_machine_uploads_and_removes(connect: Connect) -> None:
    assert add(connect()).status_code == 201
    for far in (connect(host="192.0.2.7"), connect(**{"x-forwarded-for": "192.0.2.7"})):
        assert far.get("/voices").json()["can_upload"] is False
        assert far.get("/voices/anna").json()["removable"] is False
        refused(add(far, name="other"), 403, "FORBIDDEN")
        refused(far.delete("/voices/anna"), 403, "FORBIDDEN")
    assert connect().get("/voices").json()["can_upload"] is True
    assert connect().get("/voices").json()["can_blend"] is True
    assert connect().delete("/voices/anna").status_code == 204


def test_a_clip_of_the_folder_is_not_removed(connect: Connect) -> None:
    refused(connect().delete("/voices/alto"), 403, "FORBIDDEN")
    refused(connect(ADMIN).delete("/voices/alto"), 403, "FORBIDDEN")
    assert (REFERENCES / "alto.wav").exists()


def test_names_and_fields_are_checked(connect: Connect) -> None:
    client = connect()
    for name in ("", "../etc/passwd", "a/b", ".hidden", "x" * 65, "a\x00b", "-"):
        assert refused(add(client, name=name), 400, "INVALID_REQUEST")["field"] == "name"
    assert add(client, name="Zoë 2").status_code == 201
    refused(add(client, name="Zoe\u0308 2"), 409, "VOICE_EXISTS")
    refused(add(client, name="alto"), 409, "VOICE_EXISTS")
    details = refused(add(client, name="b", description="x" * 501), 400, "INVALID_REQUEST")
    assert details["field"] == "description"
    for consent in ("", "false", "yes"):
        refused(add(client, name="b", consent=consent), 400, "CONSENT_REQUIRED")
    refused(add(client, name="b", path="/etc"), 400, "INVALID_REQUEST")
    no_clip = client.post("/voices", data={"name": "b", "consent": "true"}, files={"x": b""})
    refused(no_clip, 400, "INVALID_REQUEST")
    refused(client.post("/voices", json={"name": "b"}), 415, "INVALID_REQUEST")
    form = {"content-type": "multipart/form-data"}
    refused(client.post("/voices", content=b"x", headers=form), 400, "INVALID_REQUEST")
    broken = {"content-type": "multipart/form-data; boundary=x"}
    refused(client.post("/voices", content=b"no form", headers=broken), 400, "INVALID_REQUEST")


def test_a_key_has_a_limit_of_voices(connect: Connect) -> None:
    assert add(connect(ALICE), name="a").status_code == 201
    assert add(connect(ALICE), name="b").status_code == 201
    refused(add(connect(ALICE), name="c"), 429, "TOO_MANY_VOICES")
    assert add(connect(BOB), name="c").status_code == 201


def hostile() -> dict[str, tuple[bytes, int, str]]:
    whole = speech_file()
    flac = speech_file(kind="FLAC")
    # The 36 bits of a FLAC header that say how many samples follow, all ones.
    liar = flac[:21] + bytes([flac[21] | 0x0F]) + b"\xff" * 4 + flac[26:]
    silence = np.zeros(16_000 * 60, np.int16)
    return {
        "empty": (b"", 415, "UNSUPPORTED_AUDIO"),
        "zip": (b"PK\x03\x04" + bytes(1000), 415, "UNSUPPORTED_AUDIO"),
        "gzip": (b"\x1f\x8b\x08" + bytes(1000), 415, "UNSUPPORTED_AUDIO"),
        "text named wav": (b"#!/bin/sh\nrm -rf /\n" * 50, 415, "UNSUPPORTED_AUDIO"),
        "aiff": (as_file(*speech(), kind="AIFF"), 415, "UNSUPPORTED_AUDIO"),
        "only a header": (whole[:44], 415, "UNSUPPORTED_AUDIO"),
        "wrong header": (b"fLaC" + whole[4:], 415, "UNSUPPORTED_AUDIO"),
        "random behind a header": (flac[:42] + bytes(range(256)) * 40, 415, "UNSUPPORTED_AUDIO"),
        "a minute of silence in a few bytes": (
            as_file(silence, 16_000, "FLAC"),
            413,
            "TOO_LARGE",
        ),
        "a header that lies": (liar, 413, "TOO_LARGE"),
        "too many bytes": (whole[:44] + bytes(2_200_000), 413, "TOO_LARGE"),
        "a few bytes too many": (whole[:44] + bytes(2_000_000), 413, "TOO_LARGE"),
        "odd rate": (as_file(np.zeros(9_000, np.int16), 1_000), 415, "UNSUPPORTED_AUDIO"),
        "32 channels": (as_file(np.zeros((9_000, 32), np.int16), 8_000), 415, "UNSUPPORTED_AUDIO"),
        "silence": (as_file(np.zeros(80_000, np.int16), 16_000), 422, "UNSUITABLE_CLIP"),
        "too short": (as_file(speech()[0][:8_000], speech()[1]), 422, "UNSUITABLE_CLIP"),
        "a tone": (
            as_file(0.5 * np.sin(np.arange(80_000) * 0.2), 16_000),
            422,
            "UNSUITABLE_CLIP",
        ),
        "not finite": (
            as_file(np.full(80_000, np.nan), 16_000, subtype="FLOAT"),
            422,
            "UNSUITABLE_CLIP",
        ),
    }


@pytest.mark.parametrize("what", hostile())
def test_hostile_files_are_refused_and_leave_nothing(
    connect: Connect, tmp_path: Path, what: str
) -> None:
    content, status, code = hostile()[what]
    answer = add(connect(), content)
    refused(answer, status, code)
    assert str(tmp_path) not in answer.text
    assert "/tmp" not in answer.text
    data = tmp_path / "data"
    assert not data.exists() or list(data.iterdir()) == []
    assert connect().get("/voices").json()["voices"][-1]["source"] == "folder"


def test_two_people_in_one_clip_are_doubted(connect: Connect) -> None:
    one, rate = speech("references/alto", 6.0)
    other, other_rate = speech("references/bass", 6.0)
    assert rate == other_rate
    told = add(connect(), as_file(np.concatenate([one, other]), rate)).json()
    assert any("more than one person" in doubt for doubt in told["check"]["doubts"])
    alone = add(connect(), name="one").json()
    assert not any("more than one" in doubt for doubt in alone["check"]["doubts"])


def test_tokens_stand_for_a_key_for_a_while(connect: Connect) -> None:
    refused(connect().post("/tokens"), 409, "NO_KEYS")
    answer = connect(ALICE).post("/tokens")
    assert answer.status_code == 201
    made = answer.json()
    assert made["expires_at"] == pytest.approx(time.time() + made["expires_in_s"], abs=5)
    by_token = connect(made["token"])
    assert add(by_token).json()["owner"] == "alice"
    assert connect(ALICE).get("/voices/anna").status_code == 200
    refused(by_token.post("/tokens"), 403, "FORBIDDEN")
    refused(connect(made["token"] + "x").get("/voices"), 401, "AUTH_FAILED")


def test_an_admins_token_has_no_admins_rights(connect: Connect) -> None:
    add(connect(ALICE))
    token = connect(ADMIN).post("/tokens").json()["token"]
    listed = connect(token).get("/voices").json()["voices"]
    assert "anna" not in [voice["name"] for voice in listed]
    refused(connect(token).delete("/voices/anna", params={"owner": "alice"}), 403, "FORBIDDEN")
