"""The worker processes of a service: one for clips and voices, one for files to be converted.

Two, so that the decoding of an hour of audio never stands before the voice of a session.
"""

from __future__ import annotations

from dataclasses import dataclass

from fast_vc_service.process.worker.pool import OnFailure, WorkerPool


@dataclass(frozen=True)
class Workers:
    """Who works on what strangers have sent.

    Attributes:
        voices: Checks clips and makes voices.
        files: Reads files that are to be converted.
    """

    voices: WorkerPool
    files: WorkerPool

    @classmethod
    def watched(cls, on_failure: OnFailure) -> Workers:
        """Return workers that start when there is work; ``on_failure`` is told of each failure."""
        return cls(
            WorkerPool("voice", on_failure=on_failure), WorkerPool("file", on_failure=on_failure)
        )

    def close(self) -> None:
        """End them."""
        self.voices.close()
        self.files.close()
