"""The voice of a session, and the changes of it that wait for their block."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from fast_vc_service.contract import Voice
from fast_vc_service.engine.batching import VoiceChange
from fast_vc_service.protocol.limits import MAX_WAITING_UPDATES
from fast_vc_service.protocol.messages import Update
from fast_vc_service.protocol.voice_choice import VoiceChoice, as_found


class VoiceChanges:
    """Changes by the index of the block that they take effect with.

    Args:
        voice: The voice the session starts with.
        choice: What the client chose it by.
        pitch_shift: Semitones it starts with.
        find_voice: Looks a choice up; raises ``LookupError`` or ``ValueError``.
    """

    def __init__(
        self,
        voice: Voice,
        choice: VoiceChoice,
        pitch_shift: float,
        find_voice: Callable[[VoiceChoice], Awaitable[Voice]],
    ) -> None:
        self._voice = voice
        self._choice = choice
        self._pitch_shift = pitch_shift
        self._find_voice = find_voice
        self._by_block: dict[int, VoiceChange] = {}
        self._unanswered: deque[tuple[int, VoiceChoice, float]] = deque()

    async def find(self, update: Update) -> tuple[Voice, VoiceChoice]:
        """Return the voice that ``update`` asks for, and what clients are told it is.

        Raises:
            LookupError: There is none.
            ValueError: It cannot be used.
        """
        if update.voice is None or update.voice == self._choice:
            return self._voice, self._choice
        voice = await self._find_voice(update.voice)
        return voice, as_found(update.voice, voice.name)

    def add(self, index: int, voice: Voice, choice: VoiceChoice, pitch_shift: float | None) -> bool:
        """Change to ``voice`` and, unless None, ``pitch_shift`` with block ``index``.

        An index is not below that of an earlier call.

        Returns:
            False when so many wait for their block that the oldest will not be answered.
        """
        self._voice, self._choice = voice, choice
        if pitch_shift is not None:
            self._pitch_shift = pitch_shift
        self._by_block[index] = VoiceChange(voice, self._pitch_shift)
        self._unanswered.append((index, choice, self._pitch_shift))
        if len(self._unanswered) <= MAX_WAITING_UPDATES:
            return True
        self._unanswered.popleft()
        return False

    def take(self, index: int) -> tuple[VoiceChange | None, Sequence[tuple[VoiceChoice, float]]]:
        """Return what takes effect with block ``index``, and the updates that asked for it."""
        asked = []
        while self._unanswered and self._unanswered[0][0] <= index:
            _, choice, pitch_shift = self._unanswered.popleft()
            asked.append((choice, pitch_shift))
        return self._by_block.pop(index, None), asked
