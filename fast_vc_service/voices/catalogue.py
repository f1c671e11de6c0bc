"""All voices a service offers: the clips of a folder and what users have added, for each user.

Who is meant by ``owner``: the name of an API key. A user sees the clips of the folder, what was
added for everybody (owner None) and what their own key has added; an own voice goes before. A
blend is looked up by its parts; the last ones are kept.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from fast_vc_service.audio.files import audio_info
from fast_vc_service.contract import Converter, Voice
from fast_vc_service.protocol.checks import is_unicode
from fast_vc_service.protocol.voice_choice import (
    Blend,
    VoiceChoice,
    named_by,
    normal_name,
    to_text,
)
from fast_vc_service.voices.blend_cache import BlendCache
from fast_vc_service.voices.clip_check import ClipCheck
from fast_vc_service.voices.clip_folder import NAME_RULE, is_voice_name
from fast_vc_service.voices.folder import UnknownVoiceError, VoiceStore, prepare_voice
from fast_vc_service.voices.making import MakerHere, VoiceMaker
from fast_vc_service.voices.uploads import CLIP, UploadedVoices, VoiceExistsError, VoiceRecord


class UnsuitableClipError(ValueError):
    """A clip makes no voice.

    Attributes:
        check: What was found out about it.
    """

    def __init__(self, check: ClipCheck) -> None:
        super().__init__("; ".join(check.problems))
        self.check = check


class TooManyVoicesError(ValueError):
    """An owner has as many voices as one may have."""


@dataclass(frozen=True)
class VoiceEntry:
    """A voice as it is listed.

    Attributes:
        name: What sessions choose it by.
        duration_s: Length of its clip.
        record: What is known of an added one; None for a clip of the folder.
        made: Whether it can be used without waiting.
    """

    name: str
    duration_s: float
    record: VoiceRecord | None
    made: bool


class VoiceCatalogue:
    """Voices for one converter; safe to use from many threads.

    Args:
        clips: The voices of the folder.
        uploads: The added ones.
        converter: Speaks with the voices.
        max_a_owner: Voices that one owner may add.
        maker: Makes the added voices; None makes them here.
    """

    def __init__(
        self,
        clips: VoiceStore,
        uploads: UploadedVoices,
        converter: Converter,
        max_a_owner: int = 50,
        maker: VoiceMaker | None = None,
    ) -> None:
        self._clips = clips
        self._uploads = uploads
        self._converter = converter
        self._maker = maker or MakerHere(converter)
        self._max_a_owner = max_a_owner
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._blends = BlendCache()
        self._made: dict[tuple[str, str | None], tuple[int, Voice]] = {}

    @property
    def default(self) -> VoiceChoice:
        """Name of the voice of those who choose none."""
        return named_by(self._clips.default)

    def names(self, owner: str | None = None) -> list[str]:
        """List what ``owner`` may choose from, sorted."""
        added = {record.name for record in self._visible(owner)}
        return sorted(added.union(self._clips.names()))

    def problems(self) -> dict[str, str]:
        """Return why clips of the folder make no voice, by file name."""
        return self._clips.problems()

    def made(self, choice: VoiceChoice, owner: str | None = None) -> Voice | None:
        """Return the voice if it was made before; reads nothing but whether it still exists.

        A voice that was removed, or removed and added anew, is not returned. A blend is made when
        its parts are.

        Raises:
            CannotBlendError: The engine has no blends.
        """
        if isinstance(choice, Blend):
            parts = choice.parts()
            if any(self.made(name, owner) is None for name, _ in parts):
                return None
            return self._blend(choice, owner)
        name = normal_name(choice)
        record = self._find(name, owner)
        if record is None:
            return self._clips.made(name)
        with self._lock:
            known = self._made.get((name, record.owner))
        return known[1] if known is not None and known[0] == self._uploads.stamp(record) else None

    def get(self, choice: VoiceChoice, owner: str | None = None, *, here: bool = False) -> Voice:
        """Return a voice or a blend; the first use takes as long as making it of its clip does.

        Args:
            choice: Which.
            owner: Who chooses.
            here: Whether a clip's voice is made in this process if it has to be made, since nobody
                is disturbed by that.

        Raises:
            UnknownVoiceError: ``owner`` has no such voice to choose from.
            CannotBlendError: The engine has no blends.
            ValueError: Found just now: its clip cannot make a voice; the message says why.
        """
        if isinstance(choice, Blend):
            return self._blend(choice, owner, here=here)
        name = normal_name(choice)
        made = self.made(name, owner)
        if made is not None:
            return made
        record = self._find(name, owner)
        if record is None:
            try:
                return self._clips.get(name, here=here)
            except UnknownVoiceError as error:
                raise UnknownVoiceError(name, self.names(owner)) from error
        kept = self._uploads.features(record, self._converter.family)
        stamp = self._uploads.stamp(record)
        clip = self._uploads.clip(record)
        voice = prepare_voice(self._maker, self._converter.family, name, clip, kept)
        self._keep(record, stamp, voice)
        return voice

    def entries(self, owner: str | None, *, everyone: bool = False) -> list[VoiceEntry]:
        """List voices: the folder's, then added ones, each by name.

        Args:
            owner: Whose list it is.
            everyone: Also what others have added, for whoever looks after the service.
        """
        records = self._uploads.records() if everyone else self._visible(owner)
        listed = [self._clip_entry(name, clip) for name, clip in self._clips.clips().items()]
        records = sorted(records, key=lambda record: (record.name, record.owner or ""))
        return listed + [self._added_entry(record) for record in records]

    def entry(self, name: str, owner: str | None) -> VoiceEntry:
        """Return what is known of one voice.

        Raises:
            UnknownVoiceError: ``owner`` has no such voice to choose from.
        """
        name = normal_name(name)
        record = self._find(name, owner)
        if record is not None:
            return self._added_entry(record)
        clip = self._clips.clips().get(name)
        if clip is None:
            raise UnknownVoiceError(name, self.names(owner))
        return self._clip_entry(name, clip)

    def sample(self, name: str, owner: str | None) -> bytes:
        """Return what is used of the reference clip of a voice, as a WAV file.

        Raises:
            UnknownVoiceError: ``owner`` has no such voice to choose from.
            AudioFileError: The clip cannot be read.
            WorkFailedError: Whoever reads clips failed.
        """
        name = normal_name(name)
        record = self._find(name, owner)
        clip = self._uploads.clip(record) if record else self._clips.clips().get(name)
        if clip is None:
            raise UnknownVoiceError(name, self.names(owner))
        return self._maker.sample(clip)

    def add(
        self,
        name: str,
        clip: Path,
        *,
        max_s: float,
        owner: str | None = None,
        description: str | None = None,
    ) -> VoiceEntry:
        """Check a clip, make a voice of it and keep it.

        Args:
            name: Of the voice.
            clip: The file, as it was sent.
            max_s: Seconds that it may last.
            owner: Whose it is.
            description: The owner's words.

        Raises:
            AudioFileError: The file cannot be read, or lasts longer.
            WorkFailedError: Whoever makes voices failed.
            VoiceExistsError: ``owner`` has a voice of that name to choose from.
            TooManyVoicesError: ``owner`` has added as many as one may.
            UnsuitableClipError: The clip makes no voice.
            ValueError: The name cannot be one, or the description or the owner is no Unicode.
            OSError: The voice cannot be written.
        """
        name = normal_name(name)
        if not is_voice_name(name):
            raise ValueError(f"expected {NAME_RULE}")
        for member, text in (("description", description), ("owner", owner)):
            if text is not None and not is_unicode(text):
                raise ValueError(f"expected {member} in Unicode, got unpaired surrogates")
        self._check_room(name, owner)
        with self._uploads.unfinished() as folder:
            made = self._maker.of_upload(name, clip, folder / CLIP, max_s=max_s)
            if made.voice is None:
                raise UnsuitableClipError(made.check)
            record = VoiceRecord(name, owner, description, round(time.time(), 3), made.check)
            with self._adding:
                self._check_room(name, owner)
                self._uploads.keep(folder, record, made.voice)
        self._keep(record, self._uploads.stamp(record), made.voice)
        return self._added_entry(record)

    def remove(self, record: VoiceRecord) -> bool:
        """Delete an added voice and all that was made of it; False when it was gone already.

        Sessions that use it keep it.
        """
        with self._lock:
            self._made.pop((record.name, record.owner), None)
        return self._uploads.remove(record)

    def added(self, name: str, owner: str | None) -> VoiceRecord | None:
        """Return the voice that exactly ``owner`` has added under ``name``, or None."""
        return self._uploads.find(normal_name(name), owner)

    def sweep(self) -> None:
        """Delete what a crash has left of added voices."""
        self._uploads.sweep()

    def _blend(self, blend: Blend, owner: str | None, *, here: bool = False) -> Voice:
        parts = [(self.get(name, owner, here=here), share) for name, share in blend.parts()]
        return self._blends.get(
            blend,
            [voice for voice, _ in parts],
            lambda: self._converter.blend_voices(to_text(blend), parts),
        )

    def _check_room(self, name: str, owner: str | None) -> None:
        if self._find(name, owner) is not None or name in self._clips.names():
            raise VoiceExistsError(
                f"there is a voice {name!r} already; remove it first or choose another name"
            )
        count = sum(record.owner == owner for record in self._uploads.records())
        if count >= self._max_a_owner:
            raise TooManyVoicesError(
                f"expected at most {self._max_a_owner} added voices; remove one first"
            )

    def _visible(self, owner: str | None) -> list[VoiceRecord]:
        return [record for record in self._uploads.records() if record.owner in {owner, None}]

    def _find(self, name: str, owner: str | None) -> VoiceRecord | None:
        return self._uploads.find(name, owner) or self._uploads.find(name, None)

    def _keep(self, record: VoiceRecord, stamp: int | None, voice: Voice) -> None:
        if stamp is not None:
            with self._lock:
                self._made[record.name, record.owner] = (stamp, voice)

    def _added_entry(self, record: VoiceRecord) -> VoiceEntry:
        with self._lock:
            made = (record.name, record.owner) in self._made
        return VoiceEntry(record.name, record.check.duration_s, record, made)

    def _clip_entry(self, name: str, clip: Path) -> VoiceEntry:
        duration_s = audio_info(clip).duration_s
        return VoiceEntry(name, round(duration_s, 3), None, self._clips.made(name) is not None)


def build_catalogue(
    converter: Converter,
    *,
    voices_dir: Path,
    default_voice: str,
    cache_dir: Path,
    data_dir: Path,
    checks_clips: bool,
    max_voices: int = 50,
    maker: VoiceMaker | None = None,
) -> VoiceCatalogue:
    """Build the catalogue of the voices for ``converter``.

    Args:
        converter: Speaks with the voices.
        voices_dir: Folder of reference clips; each is a voice.
        default_voice: Name of the voice of sessions that choose none.
        cache_dir: Where voices made of the clips of ``voices_dir`` are kept.
        data_dir: Where voices that users add are kept.
        checks_clips: See :class:`~fast_vc_service.voices.folder.VoiceStore`.
        max_voices: How many voices one owner may add.
        maker: Makes the voices; None makes them here.
    """
    clips = VoiceStore(
        voices_dir, converter, cache_dir, default_voice, checks_clips=checks_clips, maker=maker
    )
    uploads = UploadedVoices(data_dir / "voices")
    return VoiceCatalogue(clips, uploads, converter, max_voices, maker)
