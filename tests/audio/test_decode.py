"""A file of a stranger, decoded into one of ours: the same samples to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fast_vc_service.audio.files import AudioFileError, iter_audio
from fast_vc_service.audio.untrusted import TooLongError, decode, examine

RATE, SECONDS = 22_050, 3


@pytest.mark.parametrize(
    ("kind", "subtype", "channels", "gain"),
    [("WAV", "PCM_16", 2, 0.5), ("WAV", "FLOAT", 1, 3.0), ("MP3", None, 1, 0.5)],
)
def test_what_is_decoded_is_what_is_read(
    tmp_path: Path, kind: str, subtype: str | None, channels: int, gain: float
) -> None:
    noise = np.random.default_rng(1).uniform(-gain, gain, (SECONDS * RATE, channels))
    source, target = tmp_path / "source", tmp_path / "decoded.wav"
    soundfile.write(source, noise, RATE, format=kind, subtype=subtype)
    info = decode(source, target, max_s=60.0)
    assert info == examine(source, max_s=60.0)
    assert (info.sample_rate, info.channels) == (RATE, channels)
    read, decoded = (list(iter_audio(path)) for path in (source, target))
    assert [len(block) for block in read] == [len(block) for block in decoded]
    np.testing.assert_array_equal(np.concatenate(read), np.concatenate(decoded))
    with pytest.raises(TooLongError):
        decode(source, target, max_s=SECONDS - 1.0)


def test_what_is_no_audio_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(AudioFileError):
        decode(tmp_path / "source", tmp_path / "decoded.wav", max_s=60.0)
    assert not (tmp_path / "decoded.wav").exists()
