"""What the HTTP routes need of a service, without sessions and without a network."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from speech import ROOT

from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.process.scratch import ScratchFolder
from fast_vc_service.process.worker.pool import never
from fast_vc_service.process.worker.work import Result, Work
from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.server.auth import KeyEntry, KeyRing
from fast_vc_service.server.http.jobs.decoding import FileDecoder
from fast_vc_service.server.http.jobs.models import FileLimits
from fast_vc_service.server.http.jobs.store import JobStore
from fast_vc_service.server.http.jobs.work import FileWork
from fast_vc_service.server.http.voice_models import ClipLimits
from fast_vc_service.server.measurements import Measurements
from fast_vc_service.server.metrics import Metrics
from fast_vc_service.sessions.report import PerformanceReport
from fast_vc_service.voices.catalogue import VoiceCatalogue
from fast_vc_service.voices.folder import VoiceStore
from fast_vc_service.voices.making import VoiceMaker
from fast_vc_service.voices.uploads import UploadedVoices

REFERENCES = ROOT / "wavs/references"
ALICE, BOB, ADMIN = "alice-secret", "bob-secret", "admin-secret"


def some_keys() -> KeyRing:
    return KeyRing(
        [KeyEntry("alice", ALICE), KeyEntry("bob", BOB), KeyEntry("root", ADMIN, admin=True)],
        failure_delay_s=0,
    )


def catalogue(
    folder: Path, max_a_owner: int = 2, maker: VoiceMaker | None = None
) -> VoiceCatalogue:
    converter = PassthroughConverter()
    clips = VoiceStore(REFERENCES, converter, None, "ref-24k")
    return VoiceCatalogue(clips, UploadedVoices(folder), converter, max_a_owner, maker)


def scratch_folder() -> ScratchFolder:
    return ScratchFolder(Path(tempfile.gettempdir(), "fast-vc-tests"))


class NoWorkers:
    """Does the work of worker processes here and now."""

    def submit(self, work: Work[Result], stopped: Callable[[], bool] = never) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(work.run())
        except Exception as error:
            future.set_exception(error)
        return future


def file_decoder() -> FileDecoder:
    return FileDecoder(NoWorkers(), scratch_folder())


def passthrough_work(voices: VoiceCatalogue) -> FileWork:
    return FileWork(
        lambda: PassthroughConverter(block_ms=1000), voices.get, file_decoder(), workers=1
    )


@dataclass
class FakeService:
    voices: VoiceCatalogue
    work: FileWork
    keys: KeyRing = field(default_factory=KeyRing)
    clip_limits: ClipLimits = field(
        default_factory=lambda: ClipLimits(max_clip_bytes=2_000_000, max_clip_s=40.0)
    )
    file_limits: FileLimits = field(
        default_factory=lambda: FileLimits(max_file_bytes=4_000_000, max_file_s=100.0)
    )
    job_retention_s: float = 3600.0
    jobs: JobStore | None = None
    decoder: FileDecoder = field(default_factory=file_decoder)
    scratch: ScratchFolder = field(default_factory=scratch_folder)
    state: ServiceState = "ready"
    engine_name: str = "world"
    can_blend: bool = True
    live_sessions: int = 3
    capacity: int = 24
    warnings: list[str] = field(default_factory=list)
    started_at: float = field(default_factory=lambda: time.time() - 60)
    observer: Measurements = field(
        default_factory=lambda: Measurements(Metrics(), PerformanceReport())
    )

    def device_memory(self) -> dict[str, tuple[int, int, int]]:
        """None: it runs on the CPU."""
        return {}
