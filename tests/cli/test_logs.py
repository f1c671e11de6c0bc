from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loguru import logger
from pydantic import SecretStr

from fast_vc_service.commands import serve
from fast_vc_service.process.logs import configure, scrub
from fast_vc_service.settings import Settings
from fast_vc_service.settings.model import ApiKey
from waiting import spend

SECRET = "correct-horse-battery"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield tmp_path / "logs" / "service.log"
    logger.remove()
    root.handlers[:], root.level = before


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line_goes_to_stderr_and_to_the_file(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(level="INFO", file=file)
    logger.info("warm after {} s", 3)
    logger.debug("not this")
    (line,) = file.read_text().splitlines()
    assert "INFO" in line
    assert "[-]" in line
    assert line.endswith("warm after 3 s")
    assert capsys.readouterr().err.splitlines() == [line]


def test_every_line_carries_its_session(file: Path) -> None:
    configure(level="INFO", file=file, as_json=True)
    logger.info("outside")
    with logger.contextualize(session_id="abc"):
        logger.info("inside")
        logging.getLogger("uvicorn.error").warning("from %s", "a library")
    lines = lines_of(file)
    assert [line["session_id"] for line in lines] == ["-", "abc", "abc"]
    assert lines[2]["logger"] == "uvicorn.error"
    assert lines[2]["message"] == "from a library"
    assert lines[2]["level"] == "WARNING"


def test_libraries_do_not_log_the_frames_they_carry(file: Path) -> None:
    configure(level="DEBUG", file=file)
    logging.getLogger("websockets.server").debug('< TEXT \'{"api_key": "x"}\'')
    logger.debug("ours")
    assert len(file.read_text().splitlines()) == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_neither_keys_nor_audio_reach_a_log(file: Path, as_json: bool) -> None:
    configure(level="DEBUG", file=file, as_json=as_json, secrets=[SECRET])
    audio = np.full(400, 0.123456, np.float32)

    def fail(payload: bytes, samples: Any) -> None:
        raise ValueError(f"{SECRET} {payload!r} {samples!r}")

    logger.info("key {} and header Authorization: Bearer {}", SECRET, "token-value")
    logger.info("config {}", {"api_key": "other-key", "audio": b"\x01\x02'quoted"})
    logger.info("samples {!r}", audio)
    try:
        fail(b"\x07\x08", audio)
    except ValueError:
        logger.exception("failed")
    text = file.read_text()
    assert "failed" in text
    assert "ValueError" in text
    for hidden in (SECRET, "token-value", "other-key", "\\x01", "\\x07", "0.123456"):
        assert hidden not in text


def test_text_of_a_client_forges_no_line(file: Path) -> None:
    configure(level="INFO", file=file)
    with logger.contextualize(session_id="a\n2026 INFO"):
        logger.info("marker {}", "x\n2026-01-01 ERROR forged\x1b[31m")
    assert len(file.read_text().splitlines()) == 1
    assert "\x1b" not in file.read_text()


def test_braces_and_tags_are_plain_text(file: Path) -> None:
    configure(level="INFO", file=file)
    logger.info("{}", "{unknown} <red>{0}</red>")
    assert "{unknown} <red>{0}</red>" in file.read_text()


def test_an_overlong_message_is_cut(file: Path) -> None:
    configure(level="INFO", file=file)
    logger.info("x" * 100_000)
    assert len(file.read_text()) < 5000


def test_files_rotate(file: Path) -> None:
    configure(level="INFO", file=file, rotation_mb=1)
    for _ in range(300):
        logger.info("x" * 3900)
    assert len(list(file.parent.iterdir())) == 2


def test_all_files_together_are_bounded(file: Path) -> None:
    file.parent.mkdir(parents=True)
    earlier = file.parent / "service.2020-01-01_00-00-00_000000.log"
    earlier.write_text("x" * 3_000_000)
    other = file.parent / "another.log"
    other.write_text("not ours")
    configure(level="INFO", file=file, rotation_mb=50, total_mb=5)
    most = 0
    for number in range(4000):
        logger.info("{} {}", number, "x" * 3900)
        if number % 100 == 0:
            most = max(most, sum(path.stat().st_size for path in file.parent.glob("service*")))
    assert 4_000_000 < most < 6_000_000
    assert not earlier.exists()
    assert other.exists()
    assert "3999 x" in file.read_text()


@pytest.mark.slow
def test_a_flood_of_a_minute_stays_within_the_bound(file: Path) -> None:
    """The short form is the test before."""
    configure(level="INFO", file=file, rotation_mb=50, total_mb=5)
    ends = time.monotonic() + 60.0

    def flood() -> int:
        lines = 0
        while time.monotonic() < ends:
            logger.info("{} {}", lines, "x" * 1000)
            lines += 1
        return lines

    most = 0
    with ThreadPoolExecutor(4) as threads:
        flooding = [threads.submit(flood) for _ in range(4)]
        while not all(each.done() for each in flooding):
            most = max(most, on_disk(file.parent))
            spend(0.05)
    assert sum(each.result() for each in flooding) > 20_000, "several times the bound"
    assert 4_000_000 < most < 6_000_000
    assert on_disk(file.parent) < 6_000_000


def on_disk(folder: Path) -> int:
    """Bytes of all files; one may go between being listed and being looked at."""
    sizes = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /ws?api_key=abc&x=1", "GET /ws?api_key=***&x=1"),
        ('{"api_key": "abc", "voice": "alto"}', '{"api_key": "***", "voice": "alto"}'),
        ("authorization: bearer abc.def", "authorization: bearer ***"),
        ("password='hunter2'", "password='***'"),
        ("block of 200 ms, step 12.1 ms", "block of 200 ms, step 12.1 ms"),
    ],
)
def test_scrubbing(text: str, expected: str) -> None:
    assert scrub(text) == expected


def test_short_keys_are_warned_of_by_name_alone(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [
        ApiKey(name="short", key=SecretStr("fifteen-letters")),
        ApiKey(name="long", key=SecretStr("sixteen-letters-")),
        ApiKey(name="digest", key=SecretStr("sha256:" + "0" * 64)),
    ]
    settings = Settings(api_keys=tuple(keys), logs_dir=tmp_path)
    serve.start_logs(settings, file)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    assert "api_keys: short can be guessed" in line
    assert "fifteen" not in line


def test_the_keys_of_our_own_examples_are_long() -> None:
    root = Path(__file__).parents[2]
    places = [root / ".env.example", *root.glob("*.md"), *root.glob("docs/**/*.md")]
    places += [*root.glob("deploy/*"), *root.glob("fast_vc_service/profiles/*.yaml")]
    shown = [
        (path.name, key)
        for path in places
        if path.is_file()
        for key in re.findall(r"""["']?key["']?: ["']([^"']+)["']""", path.read_text("utf-8"))
    ]
    assert ".env.example" in {name for name, _ in shown}
    assert [each for each in shown if len(each[1]) < serve.LONG_KEY_CHARS] == []
