from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast_vc_service.models.hub import RECORD, Hub, HubError, model_named
from fast_vc_service.models.presets import PublishedFile, PublishedModel
from tests.models.fake_hub import COMMIT, FakeHub, fake_hub

WEIGHTS, CONFIG = bytes(range(256)) * 4000, b"{}"
MODEL = PublishedModel(
    "toy",
    "two files",
    {
        "dit": PublishedFile("someone/toy", "weights/dit.pth", 1, "MIT"),
        "config": PublishedFile("someone/toy", "config.json", 1, "MIT"),
    },
)


@pytest.fixture
def server() -> Iterator[FakeHub]:
    files = {"someone/toy/weights/dit.pth": WEIGHTS, "someone/toy/config.json": CONFIG}
    with fake_hub(files) as hub:
        yield hub


def hub_at(tmp_path: Path, endpoint: str | None) -> Hub:
    return Hub(tmp_path, tmp_path / "hf", endpoint)


def test_a_model_is_downloaded_once_and_recorded(tmp_path: Path, server: FakeHub) -> None:
    hub = hub_at(tmp_path, server.url)
    with pytest.raises(HubError, match="fast-vc models download toy"):
        hub.paths(MODEL.files, [MODEL])
    paths = hub.download(MODEL)
    assert paths["dit"].read_bytes() == WEIGHTS
    record = json.loads((tmp_path / RECORD).read_text())["someone/toy/weights/dit.pth"]
    assert record == {
        "revision": COMMIT,
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "bytes": len(WEIGHTS),
    }
    asked = len(server.asked)
    assert hub_at(tmp_path, server.url).download(MODEL) == paths
    assert hub_at(tmp_path, None).paths(MODEL.files, [MODEL]) == paths
    assert len(server.asked) == asked


def test_a_lost_file_is_fetched_again_from_the_recorded_commit(
    tmp_path: Path, server: FakeHub
) -> None:
    hub = hub_at(tmp_path, server.url)
    found = hub.download(MODEL)["dit"]
    found.resolve().unlink()
    found.unlink()
    hub.download(MODEL)
    assert server.asked[-1][1] == f"/someone/toy/resolve/{COMMIT}/weights/dit.pth"


def test_an_interrupted_download_goes_on(
    tmp_path: Path, server: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What came of an unfinished piece is dropped, and a piece is larger than this file.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)
    server.cut_after = 300_000
    path = hub_at(tmp_path, server.url).download(MODEL)["dit"]
    assert path.read_bytes() == WEIGHTS
    ranges = [asked for _, path, asked in server.asked if "dit.pth" in path and asked]
    assert ranges
    assert int(ranges[-1].removeprefix("bytes=").split("-")[0]) > 0


def test_without_a_network_the_error_says_which_files_and_where(tmp_path: Path) -> None:
    with pytest.raises(HubError) as raised:
        hub_at(tmp_path, "http://127.0.0.1:9").download(MODEL)
    message = str(raised.value)
    assert "someone/toy/weights/dit.pth cannot be downloaded" in message
    assert f"someone/toy/config.json (about 1 MB) as {tmp_path}/someone/toy/config.json" in message


def test_offline_mode_asks_nobody(
    tmp_path: Path, server: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="cannot be downloaded"):
        hub_at(tmp_path, server.url).download(MODEL)
    assert not server.asked


def test_a_file_put_there_by_hand_is_used(tmp_path: Path) -> None:
    for file in MODEL.files.values():
        place = tmp_path / file.key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"mine")
    hub = hub_at(tmp_path, None)
    assert hub.paths(MODEL.files, [MODEL])["dit"] == tmp_path / "someone/toy/weights/dit.pth"
    assert [state.problem for state in hub.states(MODEL, verify=True)] == [None, None]


def test_a_damaged_download_is_deleted(tmp_path: Path, server: FakeHub) -> None:
    server.lie_about_hash = True
    with pytest.raises(HubError, match="came damaged"):
        hub_at(tmp_path, server.url).download(MODEL)
    assert hub_at(tmp_path, None).find(MODEL.files["dit"]) is None


def test_a_file_that_changed_since_is_found_out(tmp_path: Path, server: FakeHub) -> None:
    hub = hub_at(tmp_path, server.url)
    hub.download(MODEL)["config"].resolve().write_bytes(b"[]")
    states = hub.states(MODEL, verify=True)
    assert states[0].problem is None
    assert states[1].problem is not None
    assert "is not the file it should be" in states[1].problem


def test_a_pinned_hash_is_compared(tmp_path: Path, server: FakeHub) -> None:
    pinned = PublishedFile("someone/toy", "config.json", 1, "MIT", sha256="0" * 64)
    model = PublishedModel("pinned", "one file", {"config": pinned})
    with pytest.raises(HubError, match="expected 0000000000000000"):
        hub_at(tmp_path, server.url).download(model)


def test_an_unknown_model_is_told_with_those_there_are() -> None:
    with pytest.raises(HubError, match="seedvc-tiny, seedvc-small, seedvc-base"):
        model_named("huge")
