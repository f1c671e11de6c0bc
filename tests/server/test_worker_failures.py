"""What a client is told when the worker fails that was to read its file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fake_service import REFERENCES, FakeService, catalogue, passthrough_work, scratch_folder
from speech import speech_file
from starlette.testclient import TestClient
from test_voice_routes import refused

from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.process.worker.pool import WorkerPool, never
from fast_vc_service.process.worker.work import Failure, Result, Work, WorkFailedError
from fast_vc_service.server.http.application import create_http_app
from fast_vc_service.server.http.jobs.decoding import FileDecoder
from fast_vc_service.voices.folder import VoiceStore
from fast_vc_service.voices.making import MakerElsewhere, Recipe

TOLD = {
    Failure.CRASHED: (415, "UNSUPPORTED_AUDIO"),
    Failure.TOO_LONG: (413, "TOO_LARGE"),
    Failure.TOO_MUCH_MEMORY: (413, "TOO_LARGE"),
    Failure.UNAVAILABLE: (503, "BUSY"),
}


class Failing(WorkerPool):
    """Fails at all work."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("failing")
        self.failure = failure

    def submit(self, work: Work[Result], stopped: Callable[[], bool] = never) -> Future[Result]:
        future: Future[Result] = Future()
        future.set_exception(WorkFailedError(self.failure, "on purpose"))
        return future


def failing(folder: Path, failure: Failure) -> TestClient:
    workers = Failing(failure)
    voices = catalogue(folder, maker=MakerElsewhere(workers, Recipe("passthrough", None, "x")))
    service = FakeService(
        voices, passthrough_work(voices), decoder=FileDecoder(workers, scratch_folder())
    )
    return TestClient(create_http_app(service), "http://localhost:8042", client=("127.0.0.1", 5))


@pytest.mark.parametrize("failure", Failure)
def test_a_failure_is_one_clear_error(tmp_path: Path, failure: Failure) -> None:
    client = failing(tmp_path, failure)
    file = {"file": ("talk.wav", speech_file())}
    answers: list[Any] = [
        client.post("/convert", files=file),
        client.post(
            "/voices",
            data={"name": "anna", "consent": "true"},
            files={"clip": ("anna.wav", speech_file())},
        ),
    ]
    for answer in answers:
        details = refused(answer, *TOLD[failure])
        assert ("retry_after_s" in details) == (failure is Failure.UNAVAILABLE)
    assert client.get("/voices").status_code == 200
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(Failure.CRASHED, ValueError), (Failure.TOO_MUCH_MEMORY, WorkFailedError)],
)
def test_a_clip_of_the_folder_is_given_up_only_for_what_it_is_to_blame_for(
    failure: Failure, expected: type[Exception]
) -> None:
    maker = MakerElsewhere(Failing(failure), Recipe("passthrough", None, "x"))
    store = VoiceStore(REFERENCES, PassthroughConverter(), None, "alto", maker=maker)
    with pytest.raises(expected):
        store.get("alto")
    assert ("alto" in store.names()) == (expected is WorkFailedError)
    assert store.get("bass", here=True).name == "bass"
