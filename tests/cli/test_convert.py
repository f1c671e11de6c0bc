from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fast_vc_service.cli import main
from fast_vc_service.commands import one_file
from fast_vc_service.commands.convert import run
from fast_vc_service.commands.one_file import Request
from fast_vc_service.commands.source_files import find_files
from fast_vc_service.errors import ConversionError
from fast_vc_service.settings import Settings

ROOT = Path(__file__).parents[2]
REFERENCES = ROOT / "wavs/references"

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        engine="passthrough", voices_dir=REFERENCES, models_dir=tmp_path / "checkpoints"
    )


@pytest.fixture
def sing(tmp_path: Path) -> Callable[..., Path]:
    def made(name: str, rate: int = 16_000, seconds: float = 1.3, channels: int = 1) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        time_s = np.arange(round(rate * seconds)) / rate
        tone = 0.4 * np.sin(2 * math.pi * 440 * time_s)
        soundfile.write(path, np.stack([tone] * channels, axis=1), rate)
        return path

    return made


def converted(settings: Settings, request: Request, capsys: Capture) -> dict[str, Any]:
    status = run(settings, request, as_json=True)
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert status == (1 if told["failed"] else 0)
    return told


@pytest.mark.parametrize("rate", [4000, 8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("seconds", [0.01, 1.2345])
def test_output_is_as_long_as_the_input_and_in_its_place(
    settings: Settings,
    sing: Callable[..., Path],
    tmp_path: Path,
    capsys: Capture,
    rate: int,
    seconds: float,
) -> None:
    source = sing("a.wav", rate, seconds)
    request = Request([source], tmp_path / "out")
    (result,) = converted(settings, request, capsys)["files"]
    heard, _ = soundfile.read(source)
    said, said_rate = soundfile.read(result["output"])
    assert (said_rate, len(said)) == (rate, len(heard))
    assert result["duration_s"] == len(heard) / rate
    assert result["real_time_factor"] > 0
    middle = slice(len(heard) // 10, -len(heard) // 10 or None)
    if seconds > 1:
        assert np.abs(said - heard)[middle].max() < 0.01


@pytest.mark.parametrize("wanted", [8000, 24_000, 44_100, 96_000])
def test_the_output_has_the_rate_that_is_asked_for(
    settings: Settings, sing: Callable[..., Path], tmp_path: Path, capsys: Capture, wanted: int
) -> None:
    source = sing("a.wav", 16_000, 1.2345)
    request = Request([source], tmp_path / "out", sample_rate=wanted)
    (result,) = converted(settings, request, capsys)["files"]
    info = soundfile.info(result["output"])
    assert (info.samplerate, result["sample_rate"]) == (wanted, wanted)
    assert info.frames == int(soundfile.info(source).frames * wanted / 16_000 + 0.5)


def test_long_input_is_exact_too(
    settings: Settings, sing: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    source = sing("long.flac", 44_100, 65.4321)
    (result,) = converted(settings, Request([source], tmp_path / "out"), capsys)["files"]
    assert soundfile.info(result["output"]).frames == soundfile.info(source).frames


@pytest.mark.parametrize("file_format", ["wav", "flac", "ogg"])
def test_formats(
    settings: Settings,
    sing: Callable[..., Path],
    tmp_path: Path,
    capsys: Capture,
    file_format: Any,
) -> None:
    source = sing("a.wav", 22_050)
    request = Request([source], tmp_path / "out", file_format)
    (result,) = converted(settings, request, capsys)["files"]
    info = soundfile.info(result["output"])
    assert Path(result["output"]).suffix == f".{file_format}"
    assert (info.format.lower(), info.frames) == (file_format, soundfile.info(source).frames)


def test_a_broken_file_is_reported_and_the_others_are_converted(
    settings: Settings, sing: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    broken = tmp_path / "in" / "broken.wav"
    good = [sing("a.wav"), sing("z.wav", channels=2)]
    broken.write_bytes(b"RIFF no audio")
    missing = tmp_path / "in" / "missing.wav"
    status = run(settings, Request([good[0], broken, missing, good[1]], tmp_path / "out"))
    out, err = capsys.readouterr()
    assert status == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.wav", "z.wav"]
    assert str(broken) in err
    assert str(missing) in err
    lines = out.splitlines()
    assert lines[0].startswith(f"{good[0]} -> {tmp_path / 'out' / 'a.wav'}: 1.30 s at 16000 Hz")
    assert "RTF" in lines[0]
    assert "mixed" not in lines[0]
    assert "2 channels mixed to mono" in lines[1]
    assert lines[-1] == "2 of 4 files converted"


def test_a_failing_conversion_leaves_nothing_behind(
    settings: Settings,
    sing: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(one_file, "convert_blocks", fail)
    with pytest.raises(KeyboardInterrupt):
        run(settings, Request([sing("a.wav")], tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_files_in_parallel_are_the_files_one_by_one(
    settings: Settings, sing: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    for number in range(6):
        sing(f"{number}.wav", seconds=1.0 + number / 10)
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF no audio")
    one = converted(settings, Request([tmp_path / "in"], tmp_path / "one"), capsys)
    report = tmp_path / "report.json"
    many = converted(
        settings, Request([tmp_path / "in"], tmp_path / "many", parallel=4, report=report), capsys
    )
    assert (one["converted"], many["converted"], many["failed"]) == (6, 6, 1)
    assert [file["source"] for file in one["files"]] == [file["source"] for file in many["files"]]
    assert json.loads(report.read_text()) == many
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes()


def test_a_run_is_resumed(
    settings: Settings, sing: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    sources = [sing(f"{name}.wav") for name in "abc"]
    out = tmp_path / "out"

    def skipped(**more: Any) -> list[str]:
        request = Request(sources, out, resume=True, **more)
        told = converted(settings, request, capsys)
        return [Path(file["source"]).stem for file in told["files"] if file["skipped"]]

    assert converted(settings, Request(sources[:2], out, resume=True), capsys)["converted"] == 2
    assert skipped() == ["a", "b"]
    assert skipped() == ["a", "b", "c"]
    (out / "a.wav").unlink()
    sing("b.wav", seconds=2.0)
    assert skipped() == ["c"]
    assert skipped(pitch_shift=1.0) == []
    assert soundfile.info(out / "b.wav").duration == 2.0


def test_folders_keep_their_shape_and_names_never_collide(
    sing: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("a.wav", "a.flac", "sub/b.WAV", "sub/c.d.ogg"):
        sing(name)
    (tmp_path / "in" / "README.md").touch()
    folder = tmp_path / "in"
    found = list(find_files([folder, folder / "a.wav"]))
    assert [path.relative_to(folder).as_posix() for path, _ in found] == [
        "a.flac",
        "a.wav",
        "sub/b.WAV",
        "sub/c.d.ogg",
        "a.wav",
    ]
    assert [place.as_posix() for _, place in found] == [
        "a",
        "a-2",
        "sub/b",
        "sub/c.d",
        "a-3",
    ]


def test_a_folder_leaves_out_what_is_hidden_or_its_own_output(
    settings: Settings, sing: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    for name in ("a.wav", ".hidden.wav", ".trash/b.wav"):
        sing(name)
    (tmp_path / "in" / "notes.txt").touch()
    request = Request([tmp_path / "in"], tmp_path / "in" / "out")
    for _ in range(2):
        assert run(settings, request) == 0
        told = capsys.readouterr()
        assert [path.name for path in (tmp_path / "in" / "out").rglob("*")] == ["a.wav"]
        assert "notes.txt: not taken: its suffix" in told.err
        assert ".hidden.wav: not taken: it is hidden" in told.err
    assert "out/a.wav: not taken: it lies in the output folder" in told.err


def test_a_float_file_above_full_scale_is_scaled_and_that_is_said(
    settings: Settings, tmp_path: Path, capsys: Capture
) -> None:
    source = tmp_path / "loud.wav"
    time = np.arange(16_000) / 16_000
    soundfile.write(source, 2.0 * np.sin(2 * np.pi * 300 * time), 16_000, subtype="FLOAT")
    assert run(settings, Request([source], tmp_path / "out")) == 0
    assert "scaled from a peak of 2.00 to 1" in capsys.readouterr().out
    said, _ = soundfile.read(tmp_path / "out" / "loud.wav")
    assert np.std(said) == pytest.approx(0.5**0.5, rel=0.02)


def test_an_empty_folder_is_a_failure(settings: Settings, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    told = converted(settings, Request([tmp_path / "empty"], tmp_path / "out"), capsys)
    assert "expected audio files in it, got none" in told["files"][0]["error"]


def test_a_source_is_never_overwritten(
    settings: Settings, sing: Callable[..., Path], capsys: Capture
) -> None:
    source = sing("a.wav")
    before = source.read_bytes()
    told = converted(settings, Request([source], source.parent), capsys)
    assert "choose another --output-dir" in told["files"][0]["error"]
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("voice", "reference", "expected"),
    [
        ("tenr", None, "unknown voice 'tenr'; available: alto"),
        (None, Path("/none.wav"), "/none.wav: no such file"),
    ],
)
def test_a_missing_voice_is_one_line(
    settings: Settings,
    sing: Callable[..., Path],
    tmp_path: Path,
    voice: str | None,
    reference: Path | None,
    expected: str,
) -> None:
    request = Request([sing("a.wav")], tmp_path / "out", voice=voice, reference=reference)
    with pytest.raises(ConversionError) as caught:
        run(settings, request)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_a_silent_reference_makes_no_voice(
    settings: Settings, sing: Callable[..., Path], tmp_path: Path
) -> None:
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(32_000), 16_000)
    world = settings.model_copy(update={"engine": "world"})
    request = Request([sing("a.wav")], tmp_path / "out", reference=silence)
    with pytest.raises(ConversionError):
        run(world, request)


@pytest.mark.parametrize("by_clip", [False, True])
def test_speech_is_converted_to_another_voice(
    settings: Settings, tmp_path: Path, capsys: Capture, by_clip: bool
) -> None:
    speech, rate = soundfile.read(ROOT / "wavs/sources/low-pitched-male-24k.wav", frames=50_000)
    source = tmp_path / "clip.wav"
    soundfile.write(source, speech, rate)
    world = settings.model_copy(update={"engine": "world"})
    chosen = {"reference": REFERENCES / "soprano.wav"} if by_clip else {"voice": "soprano"}
    told = converted(world, Request([source], tmp_path / "out", **chosen), capsys)  # type: ignore[arg-type]
    assert (told["engine"], told["voice"]) == ("world", "soprano")
    said, said_rate = soundfile.read(told["files"][0]["output"])
    assert (said_rate, len(said)) == (rate, len(speech))
    assert np.abs(said).max() > 0.05
    # Nothing of the speaker is left in it, but it is loud where the speaker is.
    assert np.corrcoef(said, speech)[0, 1] < 0.5

    def envelope(audio: Any) -> Any:
        return np.abs(audio[: len(audio) // 480 * 480]).reshape(-1, 480).mean(axis=1)

    assert np.corrcoef(envelope(said), envelope(speech))[0, 1] > 0.7


def command(monkeypatch: pytest.MonkeyPatch, home: Path, *arguments: object) -> int:
    monkeypatch.setenv("FAST_VC_HOME", str(home))
    monkeypatch.setenv("FAST_VC_VOICES_DIR", str(REFERENCES))
    monkeypatch.setenv("FAST_VC_ENGINE", "passthrough")
    monkeypatch.setattr(sys, "argv", ["fast-vc", "convert", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code))


def test_the_command_takes_files_behind_and_beside_the_flag(
    sing: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a.wav", "b.wav", "c.wav")
    a, b, c = (sing(name, seconds=0.1) for name in names)
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, tmp_path, "--source-wav-path", a, b, "--source-wav-path", c) == 0
    assert sorted(p.name for p in (tmp_path / "outputs/file_vc").iterdir()) == sorted(names)
    assert command(monkeypatch, tmp_path, a, "--output-dir", "here", "--format", "flac") == 0
    assert (tmp_path / "here" / "a.flac").is_file()


def test_the_command_refuses_in_one_line(
    sing: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    source = sing("a.wav")
    assert command(monkeypatch, tmp_path, source, "--voice", "nobody") == 1
    assert capsys.readouterr().err.startswith("fast-vc: unknown voice 'nobody'")
    assert command(monkeypatch, tmp_path, source, "--engine", "wrld") == 2
    both = ("--voice", "alto", "--reference-wav-path", source)
    assert command(monkeypatch, tmp_path, source, *both) == 2
    assert command(monkeypatch, tmp_path) == 1
    assert "low-pitched-male-24k.wav: no such file" in capsys.readouterr().err


def test_names_that_cannot_be_printed_cost_a_batch_nothing(
    settings: Settings, sing: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    names = [b"a\xff.wav", b"a\xfe.wav", b"long" * 62 + b".wav", b"\x1b[2J.wav"]
    folder = sing("fine.wav").parent
    content = (folder / "fine.wav").read_bytes()
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    Path(os.fsdecode(os.fsencode(folder) + b"/broken\xff.wav")).write_bytes(b"RIFF no audio")
    assert run(settings, Request([folder], tmp_path / "out", file_format="flac")) == 1
    out, err = capsys.readouterr()
    *lines, last = out.splitlines()
    assert last == "5 of 6 files converted"
    assert out.replace("\n", "").isprintable()
    assert r"broken\xff.wav" in err
    for line in lines:
        written = line.partition(" -> ")[2].partition(": ")[0]
        assert len(soundfile.read(written)[0]), "it opens by the name that is shown"
    assert len({line.partition(" -> ")[0] for line in lines}) == 5


def test_a_second_interrupt_ends_at_once_without_a_traceback(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    source = root / "wavs" / "sources" / "telephone-male-8k.wav"
    program = [sys.executable, str(Path(__file__).with_name("stuck_fast_vc.py"))]
    with subprocess.Popen(
        [
            *program,
            "convert",
            "--engine",
            "passthrough",
            "--output-dir",
            str(tmp_path / "out"),
            str(source),
        ],
        env={
            **os.environ,
            "FAST_VC_HOME": str(tmp_path),
            "FAST_VC_VOICES_DIR": str(root / "wavs" / "references"),
            "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # Whatever goes wrong, nobody waits for it for ever.
        late = threading.Timer(60, process.kill)
        late.start()
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGINT)
        said = ""
        while "Ctrl-C again" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT, said
        late.cancel()
        assert "Traceback" not in said + process.stderr.read()
