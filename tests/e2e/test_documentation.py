"""What the API page shows is sent to a real service, and its answers have the shape shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from service import RunningService
from test_websocket import buzz, hear, pcm16, rest

from fast_vc_service.audio.codecs import make_encoder
from fast_vc_service.audio.files import audio_info
from fast_vc_service.protocol.schemas import schema_of
from fast_vc_service.protocol.wire import SERVER_MESSAGES
from pages import ROOT, Page

PATH = ROOT / "docs" / "api_docs" / "websocket-api-doc.md"
EXAMPLES = {name: code for name, (_, code) in Page(PATH, PATH.read_text()).examples.items()}


def same_shape(told: Any, example: str) -> bool:
    """Tell whether both are the same message; members that can be left out may differ."""
    shown = json.loads(EXAMPLES[example])
    fitting = [
        message.name
        for message in SERVER_MESSAGES
        if all(jsonschema.Draft7Validator(schema_of(message)).is_valid(m) for m in (told, shown))
    ]
    return len(fitting) == 1


def test_a_whole_session_as_documented(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        ws.send(EXAMPLES["config-full"])
        assert same_shape(hear(ws), "ready")
        audio = pcm16(buzz(24_000, rate=24_000))
        ws.send(audio[:24_000])
        ws.send(EXAMPLES["marker"])
        ws.send(EXAMPLES["update"])
        ws.send(audio[24_000:])
        ws.send(EXAMPLES["end"])
        payloads, texts, code = rest(ws)
    assert code == 1000
    assert len(b"".join(payloads)) == len(audio)
    shown = {"marker": "marker-reached", "updated": "updated", "complete": "complete"}
    assert {text["type"] for text in texts} == set(shown)
    for text in texts:
        assert same_shape(text, shown[text["type"]])


def test_opus_as_documented(passthrough: RunningService) -> None:
    encoder = make_encoder("OPUS", 48_000)
    packets = encoder.encode(buzz(48_000, rate=48_000)) + encoder.flush()
    with passthrough.connect() as ws:
        ws.send(EXAMPLES["config-opus"])
        ready = hear(ws)
        assert same_shape(ready, "ready")
        for packet in packets:
            ws.send(packet)
        ws.send(EXAMPLES["end"])
        payloads, texts, code = rest(ws)
    assert code == 1000
    assert same_shape(texts[-1], "complete")
    assert texts[-1]["stats"]["sent_samples"] == len(packets) * 960
    assert len(payloads) * 960 >= ready["opus_pre_skip_samples"] + len(packets) * 960


def test_a_blend_as_documented(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        ws.send(EXAMPLES["config-blend"])
        ready = hear(ws)
    assert ready["voice"] == json.loads(EXAMPLES["config-blend"])["voice"]
    assert same_shape(ready, "ready")


def test_the_smallest_config_and_an_end_without_audio(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        ws.send(EXAMPLES["config-minimal"])
        assert same_shape(hear(ws), "ready")
        ws.send(EXAMPLES["end"])
        payloads, texts, code = rest(ws)
    assert (payloads, code) == ([], 1000)
    assert same_shape(texts[0], "complete")


@pytest.mark.parametrize("example", ["simple-start", "simple-start-full"])
def test_the_simple_dialect_as_documented(passthrough: RunningService, example: str) -> None:
    start = json.loads(EXAMPLES[example])
    audio = buzz(16_000)
    with passthrough.connect() as ws:
        ws.send(EXAMPLES[example])
        if start.get("encoding") == "OPUS":
            encoder = make_encoder("OPUS", 16_000)
            for packet in encoder.encode(audio):
                ws.send(packet)
        else:
            ws.send(pcm16(audio))
        ws.send(EXAMPLES["simple-end"])
        payloads, texts, code = rest(ws)
    # This engine listens to no register.
    assert texts == [json.loads(EXAMPLES["simple-completed"]) | {"source_f0_hz": None}]
    assert code == 1000
    rate_out = start.get("sample_rate_out", 16_000)
    assert len(b"".join(payloads)) == pytest.approx(2 * rate_out, rel=0.03)


def test_refusals_have_the_shape_shown(passthrough: RunningService) -> None:
    wrong = {
        "error-invalid-config": {"type": "config", "sample_rate": 96_000},
        "error-unknown-voice": {"type": "config", "voice": "robot"},
    }
    for example, config in wrong.items():
        shown = json.loads(EXAMPLES[example])
        with passthrough.connect() as ws:
            ws.send(json.dumps(config))
            told = hear(ws)
        assert same_shape(told, example)
        assert told["error_code"] == shown["error_code"]
    with passthrough.connect() as ws:
        ws.send(json.dumps({"signal": "start", "stream_id": "call-4711", "voice": "robot"}))
        assert same_shape(hear(ws), "simple-failed")


def test_the_program_of_the_readme(passthrough: RunningService, tmp_path: Path) -> None:
    readme = ROOT / "README.md"
    _, program = Page(readme, readme.read_text()).examples["client"]
    assert "ws://localhost:8042/ws" in program
    (tmp_path / "program.py").write_text(program.replace("ws://localhost:8042/ws", passthrough.url))
    (tmp_path / "wavs").symlink_to(ROOT / "wavs")
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, check=True, timeout=60)
    sent = audio_info(ROOT / "wavs/sources/low-pitched-male-24k.wav")
    assert audio_info(tmp_path / "converted.wav") == sent
