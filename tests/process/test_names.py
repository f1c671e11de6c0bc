"""Names of files that no terminal can print, or that are too long."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.commands.source_files import find_files
from fast_vc_service.process.names import one_line, shown, writable
from fast_vc_service.process.streams import print_anything

NAMES = st.binary(min_size=1, max_size=12).map(os.fsdecode)


@pytest.mark.parametrize(
    ("name", "as_shown"),
    [
        ("talk 1.wav", "talk 1.wav"),
        ("说.wav", "说.wav"),
        (os.fsdecode(b"a\xff.wav"), r"$'a\xff.wav'"),
        ("a\\xff.wav", "a\\xff.wav"),
        ("a\x1b[31m'.wav", r"$'a\x1b[31m\'.wav'"),
        ("$'a'", r"$'$\'a\''"),
    ],
)
def test_a_name_is_shown_as_a_shell_would_take_it(name: str, as_shown: str) -> None:
    assert shown(name) == as_shown
    assert shown(Path(name)) == as_shown


@given(NAMES, NAMES)
def test_two_names_are_never_shown_alike(one: str, other: str) -> None:
    assert (shown(one) == shown(other)) == (one == other)
    assert shown(one).isprintable()


@given(st.one_of(NAMES, st.text(min_size=1, max_size=400)))
def test_what_is_written_can_be_printed_and_is_short(stem: str) -> None:
    try:
        made = writable(stem)
    except UnicodeEncodeError:
        return  # no name of a file: half a surrogate pair that stands for no byte
    assert made.isprintable()
    assert len(made.encode()) <= 200
    assert "/" not in made


def test_a_description_cannot_command_a_terminal() -> None:
    assert one_line("warm\x1b]0;title\x07\nand low") == "warm\ufffd]0;title\ufffd\ufffdand low"


def test_outputs_of_bad_and_long_names_are_told_apart(tmp_path: Path) -> None:
    names = [b"a\xff.wav", b"a\xfe.wav", b"n" * 251 + b".wav", b"n" * 250 + b"m.wav", b"e\x1b.wav"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    places = [place for _, place in find_files([tmp_path])]
    assert len(set(places)) == len(names)
    for place in places:
        assert str(place).isprintable()
        (tmp_path / f"{place}.flac").touch()


def test_a_terminal_that_lacks_a_letter_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    print_anything()
    sys.stdout.write("说 \udcff\n")
    sys.stdout.flush()
    assert written.getvalue() == b"\\u8bf4 \\udcff\n"
