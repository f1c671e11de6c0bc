"""The HTTP routes for programs without an event loop: the same calls, driven from a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from fast_vc_service.client.records import BrowserToken, Job, VoiceInfo
from fast_vc_service.client.service import DEFAULT_SERVICE_URL, POLL_S, ServiceClient, ended
from fast_vc_service.client.sync import LoopThread
from fast_vc_service.protocol.voice_choice import JsonVoice

Result = TypeVar("Result")


class SyncServiceClient:
    """The HTTP routes of one service, without ``async``.

    ::

        with SyncServiceClient("http://localhost:8042") as service:
            service.add_voice("anna", "anna.wav", consent=True)
            service.convert_file("talk.mp3", "talk-anna.wav", voice="anna")

    Arguments, results and errors are those of :class:`ServiceClient`.
    """

    def __init__(self, url: str = DEFAULT_SERVICE_URL, **options: Any) -> None:
        self._service = ServiceClient(url, **options)
        self._loop = LoopThread()

    def __enter__(self) -> Self:
        """Nothing is sent before the first call."""
        self._loop.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        try:
            self._loop.run(self._service.__aexit__(kind, error, trace))
        finally:
            self._loop.__exit__(kind, error, trace)

    def voices(self) -> list[VoiceInfo]:
        """List the voices that the caller may use."""
        return self._run(self._service.voices())

    def voice(self, name: str) -> VoiceInfo:
        """Tell what is known of a voice."""
        return self._run(self._service.voice(name))

    def add_voice(
        self, name: str, clip: str | Path, *, consent: bool, description: str | None = None
    ) -> VoiceInfo:
        """Make a voice of a clip; it belongs to the caller's key."""
        return self._run(
            self._service.add_voice(name, clip, consent=consent, description=description)
        )

    def remove_voice(self, name: str, *, owner: str | None = None) -> None:
        """Remove an uploaded voice; ``owner`` is for admins: the key it belongs to."""
        self._run(self._service.remove_voice(name, owner=owner))

    def voice_sample(self, name: str) -> bytes:
        """Return the clip that a voice was made of: a WAV file of at most 30 s."""
        return self._run(self._service.voice_sample(name))

    def convert_file(
        self,
        source: str | Path,
        output: str | Path,
        *,
        voice: JsonVoice | None = None,
        pitch_shift: float = 0.0,
    ) -> None:
        """Convert a file; the result has its rate and its duration."""
        self._run(self._service.convert_file(source, output, voice=voice, pitch_shift=pitch_shift))

    def submit_job(
        self,
        source: str | Path,
        *,
        voice: JsonVoice | None = None,
        pitch_shift: float = 0.0,
        file_format: str = "wav",
    ) -> Job:
        """Have a long file converted when its turn comes."""
        return self._run(
            self._service.submit_job(
                source, voice=voice, pitch_shift=pitch_shift, file_format=file_format
            )
        )

    def jobs(self) -> list[Job]:
        """List the caller's jobs, the newest first."""
        return self._run(self._service.jobs())

    def job(self, job_id: str) -> Job:
        """Tell how far a job is."""
        return self._run(self._service.job(job_id))

    def wait_for_job(
        self,
        job_id: str,
        on_progress: Callable[[Job], None] = lambda _job: None,
        *,
        every_s: float = POLL_S,
    ) -> Job:
        """Wait until a job is done; ``on_progress`` is called here, not in another thread."""
        while True:
            job = self.job(job_id)
            on_progress(job)
            if job.is_over:
                return ended(job)
            time.sleep(every_s)

    def job_result(self, job_id: str, output: str | Path) -> None:
        """Write the converted file of a job that is done; it appears once it is whole."""
        self._run(self._service.job_result(job_id, output))

    def cancel_job(self, job_id: str) -> None:
        """Stop a job if it runs, and remove it with its files."""
        self._run(self._service.cancel_job(job_id))

    def browser_token(self) -> BrowserToken:
        """Make a token that a browser presents instead of the key, for a short time."""
        return self._run(self._service.browser_token())

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        result: Result = self._loop.run(work)
        return result
