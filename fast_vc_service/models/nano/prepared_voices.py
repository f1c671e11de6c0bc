"""Voices prepared for the acoustic model: each once, shared by all sessions that use it.

Preparing takes some milliseconds and a megabyte, so it is done ahead of the step that needs it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from fast_vc_service.contract import Voice
from fast_vc_service.models.nano.acoustic import Acoustic, Prepared, euler_times
from fast_vc_service.models.nano.row_pool import RowPool
from fast_vc_service.models.nano.voice import Target


@dataclass(frozen=True, kw_only=True)
class PreparedVoice(Voice):
    """A voice and the row with its tensors; the row is freed with the last reference to the voice.

    Attributes:
        target: The voice, unpacked.
        row: Of ``rows``.
        rows: The tensors of all voices.
    """

    target: Target = field(repr=False)
    row: int
    rows: RowPool[Prepared] = field(repr=False)


class PreparedVoices:
    """The voices that are in use; safe to use from many threads.

    Args:
        acoustic: Prepares them.
        steps: Euler steps of the flow.
        device: Where ``acoustic`` is.
    """

    def __init__(self, acoustic: Acoustic, steps: int, device: torch.device) -> None:
        self._acoustic = acoustic
        self._device = device
        self._times = euler_times(steps, 1, device)
        self._rows: RowPool[Prepared] = RowPool()
        # By the features themselves: whoever asks for a voice again has the same ones.
        self._alive: weakref.WeakValueDictionary[tuple[str, int], PreparedVoice]
        self._alive = weakref.WeakValueDictionary()
        self._preparing = threading.Lock()

    @property
    def voice_bytes(self) -> int:
        """Memory a voice takes, in bytes; 0 before the first."""
        return self._rows.row_bytes

    def prepare(self, voice: Voice) -> PreparedVoice:
        """Return ``voice`` prepared, as it is if it was; else that takes some milliseconds.

        Raises:
            ValueError: The voice was made by another family or is damaged.
        """
        if isinstance(voice, PreparedVoice) and voice.rows is self._rows:
            return voice
        with self._preparing:
            key = (voice.name, id(voice.features))
            prepared = self._alive.get(key)
            if prepared is None:
                prepared = self._prepare(voice)
                self._alive[key] = prepared
            return prepared

    def read(self, voices: Sequence[PreparedVoice]) -> Prepared:
        """Return the tensors of ``voices``, a row each."""
        return self._rows.read([voice.row for voice in voices])

    def _prepare(self, voice: Voice) -> PreparedVoice:
        target = Target.of(voice)
        with torch.inference_mode():
            made = self._acoustic.prepare(target.on(self._device), self._times)
        row = self._rows.open(made)
        prepared = PreparedVoice(
            voice.name, voice.family, voice.features, target=target, row=row, rows=self._rows
        )
        weakref.finalize(prepared, self._rows.close, [row]).atexit = False
        return prepared
