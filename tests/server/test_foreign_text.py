"""Text from clients that cannot be told to others is refused wherever a text is taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_service import FakeService, catalogue, passthrough_work
from speech import speech_file
from starlette.testclient import TestClient

from fast_vc_service.protocol.json_text import MessageError, load_object
from fast_vc_service.protocol.voice_choice import BlendError, choose, from_text
from fast_vc_service.protocol.wire import CONFIG, UPDATE, read
from fast_vc_service.server.http.application import create_http_app
from fast_vc_service.voices.uploads import RECORD

BOUNDARY = "----x"
SURROGATE = "+2AA-"
"""Half a pair in UTF-7, which JSON escapes as ``\\ud800``."""


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    voices = catalogue(tmp_path)
    app = create_http_app(FakeService(voices, passthrough_work(voices)))
    return TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1))


def body(**texts: bytes) -> bytes:
    """A form with a clip and ``texts`` as bytes."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + text
        for name, text in texts.items()
    ]
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="clip"; filename="a.wav"\r\n'
        "\r\n".encode()
        + speech_file()
    )
    return b"\r\n".join(parts) + f"\r\n--{BOUNDARY}--\r\n".encode()


def post(client: TestClient, charset: str | None, **texts: bytes) -> int:
    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    if charset is not None:
        content_type += f"; charset={charset}"
    answer = client.post("/voices", content=body(**texts), headers={"content-type": content_type})
    return answer.status_code


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "latin-1", "utf-8-sig", "nonsense", '""'])
def test_forms_in_another_charset_are_refused(client: TestClient, charset: str) -> None:
    texts = {"name": b"anna", "consent": b"true", "description": SURROGATE.encode()}
    assert post(client, charset, **texts) == 415
    assert client.get("/voices").status_code == 200


@pytest.mark.parametrize("charset", [None, "utf-8", "UTF-8", '"utf8"'])
def test_forms_in_unicode_are_taken(client: TestClient, charset: str | None) -> None:
    texts = {"name": "Ännä".encode(), "consent": b"true", "description": "голос 🎤".encode()}
    assert post(client, charset, **texts) == 201
    told = client.get("/voices").json()["voices"]
    assert "голос 🎤" in [voice["description"] for voice in told]


@pytest.mark.parametrize("field", ["name", "consent", "description"])
@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", "é".encode("latin-1")])
def test_texts_that_are_no_utf8_are_refused(client: TestClient, field: str, text: bytes) -> None:
    texts = {"name": b"anna", "consent": b"true"} | {field: text}
    assert post(client, None, **texts) == 400
    assert client.get("/voices").status_code == 200


def test_voices_and_blends_with_half_a_pair_are_refused() -> None:
    for voice in ("\ud800", {"\ud800": 1.0}, {"alto": 0.5, "x\udfff": 0.5}):
        for message, kind in ((CONFIG, "config"), (UPDATE, "update")):
            with pytest.raises(MessageError):
                read(message, load_object(json.dumps({"type": kind, "voice": voice})))
    with pytest.raises(BlendError):
        choose({"\ud800": 1})
    with pytest.raises(BlendError):
        from_text('{"\\ud800": 1}')


@pytest.mark.parametrize("described", ["\ud800", 17, ["x"], {"x": 1}])
def test_a_record_that_cannot_be_told_is_left_out_of_the_list(
    client: TestClient, tmp_path: Path, described: object
) -> None:
    assert post(client, None, name=b"anna", consent=b"true", description=b"hers") == 201
    (record,) = tmp_path.rglob(RECORD)
    content = json.loads(record.read_text()) | {"description": described}
    record.write_text(json.dumps(content))
    record.touch()
    again = FakeService(catalogue(tmp_path), passthrough_work(catalogue(tmp_path)))
    listed = TestClient(create_http_app(again), base_url="http://localhost").get("/voices")
    assert listed.status_code == 200
    assert "anna" not in [voice["name"] for voice in listed.json()["voices"]]
