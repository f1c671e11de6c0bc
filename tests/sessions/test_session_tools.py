import io
import json
import stat
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from rich.table import Table

from fast_vc_service.client.timeline import Timeline
from fast_vc_service.commands import session as session_tools
from fast_vc_service.commands import session_list
from fast_vc_service.commands.recordings import RecordingError, find, read
from fast_vc_service.commands.session_export import export
from fast_vc_service.sessions.recorder import Recorder, RecordingWriter
from fast_vc_service.sessions.recording import find_recordings

STARTED = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)


def record(
    outputs: Path,
    session_id: str,
    started: datetime = STARTED,
    *,
    pieces: int = 10,
    realtime: bool = True,
    lead_ms: float = 0.0,
) -> str:
    writer = RecordingWriter(period_s=0.01)
    recorder = Recorder(
        outputs,
        session_id,
        started,
        16_000,
        16_000,
        realtime=realtime,
        lead_ms=lead_ms,
        writer=writer,
    )
    for index in range(pieces):
        recorder.input(np.full(320, 0.5, np.float32), 20.0 * (index + 1))
        recorder.output(np.zeros(320, np.float32), 20.0 * (index + 1))
    assert writer.close()
    return recorder.slug


def shown(table: Table) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_all_recordings_are_listed_newest_day_first(tmp_path: Path) -> None:
    assert session_list.as_text(session_list.describe(tmp_path)) == "no sessions are recorded"
    older = record(tmp_path, "older", STARTED - timedelta(days=1))
    newer = record(tmp_path, "newer")
    broken = record(tmp_path, "broken", STARTED - timedelta(days=2))
    timeline = find(tmp_path, broken).files["timeline.json"]
    timeline.write_text("{")
    listed = session_list.describe(tmp_path)
    assert [each["name"] for each in listed] == [newer, older, broken]
    assert [each["session_id"] for each in listed] == ["newer", "older", None]
    assert (listed[0]["received_s"], listed[0]["finished"]) == (0.2, True)
    lines = session_list.as_text(listed).splitlines()
    assert lines[0].startswith(newer)
    assert lines[0].endswith("2026-03-09  0.2 s")
    assert "expected a timeline" in lines[2]


def test_a_recording_is_found_by_id_by_name_and_by_their_beginnings(tmp_path: Path) -> None:
    long_id = "0f8fad5b-d9cb-469f-a165-70867728950e"
    slug = record(tmp_path, long_id)
    record(tmp_path, "another")
    for identifier in (long_id, slug, long_id[:8], slug[:-4], long_id[:32]):
        assert find(tmp_path, identifier).slug == slug


def test_an_id_of_odd_characters_is_found(tmp_path: Path) -> None:
    slug = record(tmp_path, "Anruf/Nr. 7 \N{SNOWMAN}")
    record(tmp_path, "Anruf-Nr- 8")
    assert find(tmp_path, "Anruf/Nr. 7 \N{SNOWMAN}").slug == slug
    assert find(tmp_path, "Anruf/Nr. 7").slug == slug


def test_an_exact_id_wins_over_longer_ones(tmp_path: Path) -> None:
    slug = record(tmp_path, "call")
    record(tmp_path, "call-2")
    assert find(tmp_path, "call").slug == slug


def test_an_ambiguous_id_is_an_error_that_lists_the_choice(tmp_path: Path) -> None:
    slugs = [record(tmp_path, "call", STARTED + timedelta(days=day)) for day in range(2)]
    with pytest.raises(RecordingError, match="names 2 recordings; choose one") as caught:
        find(tmp_path, "call")
    assert all(slug in str(caught.value) for slug in slugs)


@pytest.mark.parametrize("identifier", ["nobody", "", "*", "../secret", "2026"])
def test_an_id_of_nothing_is_an_error(tmp_path: Path, identifier: str) -> None:
    slug = record(tmp_path, "call")
    with pytest.raises(RecordingError, match=f"the newest are: {slug}"):
        find(tmp_path, identifier)


def test_without_outputs_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="there are none at all"):
        find(tmp_path / "none", "call")


def test_nothing_outside_the_outputs_can_be_reached(tmp_path: Path) -> None:
    slug = record(tmp_path / "elsewhere", "secret")
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "2026").symlink_to(tmp_path / "elsewhere" / "2026")
    day = outputs / "2025" / "01" / "01"
    day.mkdir(parents=True)
    hidden = tmp_path / "elsewhere" / "2026" / "03" / "09" / f"{slug}_input.wav"
    (day / hidden.name).symlink_to(hidden)
    for identifier in (slug, "secret", str(hidden), f"../elsewhere/2026/03/09/{slug}"):
        with pytest.raises(RecordingError, match="there are none at all"):
            find(outputs, identifier)


@pytest.mark.parametrize("as_folder", [False, True])
def test_an_export_holds_audio_timeline_and_statistics(tmp_path: Path, as_folder: bool) -> None:
    outputs = tmp_path / "outputs"
    slug = record(outputs, "call")
    made = export(outputs, "call", tmp_path, as_folder=as_folder)
    folder = made
    if not as_folder:
        assert made.name == f"{slug}.zip"
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        folder = tmp_path / "unpacked"
        zipfile.ZipFile(made).extractall(folder)
    assert {path.name for path in folder.iterdir()} == {
        "input.wav",
        "output.wav",
        "timeline.json",
        "statistics.json",
    }
    assert soundfile.info(folder / "input.wav").frames == 3200
    assert len(Timeline.load(folder / "timeline.json").entries) == 20
    figures = json.loads((folder / "statistics.json").read_text())
    assert figures["timeline_summary"]["total_send_events"] == 10


def test_an_exported_folder_is_private(tmp_path: Path) -> None:
    record(tmp_path / "outputs", "call")
    made = export(tmp_path / "outputs", "call", tmp_path, as_folder=True)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()} == {0o600}


@pytest.mark.parametrize("as_folder", [False, True])
def test_an_export_overwrites_nothing(tmp_path: Path, as_folder: bool) -> None:
    record(tmp_path / "outputs", "call")
    export(tmp_path / "outputs", "call", tmp_path, as_folder=as_folder)
    with pytest.raises(RecordingError, match="remove it first"):
        export(tmp_path / "outputs", "call", tmp_path, as_folder=as_folder)


def test_an_export_needs_a_folder_to_go_to(tmp_path: Path) -> None:
    record(tmp_path, "call")
    with pytest.raises(RecordingError, match="expected an existing folder"):
        export(tmp_path, "call", tmp_path / "none")


def unfinished(outputs: Path) -> Path:
    """Turn the only recording into what a killed process leaves; return its timeline."""
    (recording,) = find_recordings(outputs)
    document = recording.files["timeline.json"]
    content = json.loads(document.read_text())
    entries = content.pop("entries")
    del content["cut"]
    lines = document.with_suffix(".jsonl")
    text = "\n".join(json.dumps(line) for line in [content, *entries])
    lines.write_text(text + '\n{"timestamp": 17')
    document.unlink()
    return lines


def test_a_killed_recording_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    record(tmp_path, "call")
    unfinished(tmp_path)
    conversation = read(find(tmp_path, "call"))
    assert not conversation.finished
    assert len(conversation.timeline.entries) == 20
    assert "its process died" in shown(session_tools.show(tmp_path, "call"))
    exported = export(tmp_path, "call", tmp_path, as_folder=True)
    assert len(Timeline.load(exported / "timeline.json").entries) == 20


@pytest.mark.parametrize("content", ["", "not json\n", '{"a": 1}', "[]", '{"entries": [{"x": 1}]}'])
def test_a_damaged_timeline_is_an_error_that_names_the_file(tmp_path: Path, content: str) -> None:
    record(tmp_path, "call")
    (recording,) = find_recordings(tmp_path)
    recording.files["timeline.json"].write_text(content)
    with pytest.raises(RecordingError, match=r"_timeline\.json: expected a timeline"):
        session_tools.show(tmp_path, "call")


def test_a_recording_without_a_timeline_is_an_error(tmp_path: Path) -> None:
    record(tmp_path, "call")
    (recording,) = find_recordings(tmp_path)
    recording.files["timeline.json"].unlink()
    with pytest.raises(RecordingError, match="only audio is left"):
        session_tools.stats(tmp_path, "call")


def test_the_listing_tells_every_event(tmp_path: Path) -> None:
    record(tmp_path, "[bold]call")
    table = session_tools.show(tmp_path, "[bold]call")
    assert table.row_count == 20
    text = shown(table)
    assert "[bold]call" in text
    assert "20 events" in text
    assert text.count("-> input") == 10
    assert text.count("<- output") == 10


def test_a_long_listing_is_shortened_and_says_so(tmp_path: Path) -> None:
    record(tmp_path, "call", pieces=10)
    table = session_tools.show(tmp_path, "call", limit=5)
    assert table.row_count == 5
    assert "20 events, the first 5 shown" in shown(table)
    assert session_tools.show(tmp_path, "call", limit=None).row_count == 20


def test_statistics_hold_latency_of_the_servers_own(tmp_path: Path) -> None:
    record(tmp_path, "call")
    session = session_tools.stats(tmp_path, "call")
    latency = session.figures["chunk_latency_stats"]
    assert 0 <= latency["min_ms"] <= latency["p99_ms"] < 60_000
    assert len(session.histograms["latency of output, ms"]) == 10
    assert len(session.histograms["time between input messages, ms"]) == 9


def test_the_lead_of_untrimmed_output_is_no_latency(tmp_path: Path) -> None:
    record(tmp_path, "call", lead_ms=40.0)
    session = session_tools.stats(tmp_path, "call")
    assert len(session.histograms["latency of output, ms"]) == 8


def test_an_upload_has_no_latency(tmp_path: Path) -> None:
    record(tmp_path, "call", realtime=False)
    session = session_tools.stats(tmp_path, "call")
    assert session.figures["chunk_latency_stats"]["mean_ms"] is None
    assert session.histograms["latency of output, ms"] == []


def test_histograms_are_drawn_as_text_and_as_png(tmp_path: Path) -> None:
    record(tmp_path, "call")
    session = session_tools.stats(tmp_path, "call")
    text = session_tools.histograms_as_text(session)
    assert "latency of output, ms (10 values)" in text
    assert "#" * 40 in text
    picture = tmp_path / "histograms.png"
    session_tools.plot_histograms(session, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_session_without_audio_has_empty_statistics(tmp_path: Path) -> None:
    record(tmp_path, "call", pieces=0)
    session = session_tools.stats(tmp_path, "call")
    assert session.figures["timeline_summary"]["total_send_events"] == 0
    assert session_tools.histograms_as_text(session).count("(no values)") == 3
    assert "0 events" in shown(session_tools.show(tmp_path, "call"))
    session_tools.plot_histograms(session, tmp_path / "empty.png")
