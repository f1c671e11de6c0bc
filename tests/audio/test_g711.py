"""G.711 against the tables of the recommendation, and against libsndfile."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from fast_vc_service.audio.codecs import make_decoder, make_encoder
from fast_vc_service.audio.g711 import Law

LAWS: tuple[Law, ...] = ("MULAW", "ALAW")
SUBTYPES = {"MULAW": "ULAW", "ALAW": "ALAW"}
EVERY_BYTE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32_768, 32_768).astype(np.int16)

# ITU-T Rec. G.711, tables 1a and 2a: the character signal of a positive value, its decision value
# x(n) and its quantized value y(n), at the ends of segments.
TABLE_1A = {0xAA: (3968, 4032), 0xA5: (2048, 2112), 0xB5: (1024, 1056), 0x85: (512, 528)}
TABLE_1A |= {0x95: (256, 264), 0xE5: (128, 132), 0xF5: (64, 66), 0xC5: (32, 33), 0xD5: (0, 1)}
TABLE_2A = {0x80: (7903, 8031), 0x8F: (4063, 4191), 0x9F: (2015, 2079), 0xAF: (991, 1023)}
TABLE_2A |= {0xBF: (479, 495), 0xCF: (223, 231), 0xDF: (95, 99), 0xEF: (31, 33), 0xFF: (0, 0)}


def decoded(law: Law, payload: bytes) -> np.ndarray:
    samples = make_decoder(law, 8_000).decode(payload) * 2.0**15
    assert np.array_equal(samples, np.rint(samples))
    return samples.astype(np.int32)


def encoded(law: Law, samples: np.ndarray) -> bytes:
    return b"".join(make_encoder(law, 8_000).encode((samples / 2.0**15).astype(np.float32)))


@pytest.mark.parametrize(("law", "table", "step"), [("ALAW", TABLE_1A, 8), ("MULAW", TABLE_2A, 4)])
def test_the_tables_of_the_recommendation(
    law: Law, table: dict[int, tuple[int, int]], step: int
) -> None:
    for character, (decision, quantized) in table.items():
        assert decoded(law, bytes([character]))[0] == step * quantized
        assert decoded(law, bytes([character ^ 0x80]))[0] == -step * quantized
        # What lies just above the decision value is coded so, and what lies below it is not.
        assert encoded(law, np.array([step * decision])) == bytes([character])
        if decision:
            assert encoded(law, np.array([step * decision - 1])) != bytes([character])


@pytest.mark.parametrize("law", LAWS)
def test_every_byte_is_read_as_libsndfile_reads_it(law: Law) -> None:
    theirs, _ = soundfile.read(
        io.BytesIO(EVERY_BYTE), samplerate=8_000, channels=1, format="RAW", subtype=SUBTYPES[law],
        dtype="int16",
    )  # fmt: skip
    assert np.array_equal(decoded(law, EVERY_BYTE), theirs)


@pytest.mark.parametrize("law", LAWS)
def test_every_sample_is_coded_as_libsndfile_codes_it(law: Law) -> None:
    sent = encoded(law, EVERY_SAMPLE)
    file = io.BytesIO()
    soundfile.write(file, EVERY_SAMPLE, 8_000, format="RAW", subtype=SUBTYPES[law])
    other = EVERY_SAMPLE[np.frombuffer(sent, np.uint8) != np.frombuffer(file.getvalue(), np.uint8)]
    # The recommendation leaves open which way a negative decision value itself is coded.
    assert len(other) <= 127
    assert (other < 0).all()
    assert (other % 16 == 0).all()
    # What was coded once is coded alike again; mu-law has two zeros.
    again = encoded(law, decoded(law, EVERY_BYTE))
    assert again == (EVERY_BYTE.replace(b"\x7f", b"\xff") if law == "MULAW" else EVERY_BYTE)


@pytest.mark.parametrize("law", LAWS)
def test_any_chunking_and_full_scale(law: Law) -> None:
    rng = np.random.default_rng(1)
    samples = rng.uniform(-1.5, 1.5, 400).astype(np.float32)
    encoder = make_encoder(law, 8_000)
    whole = b"".join(encoder.encode(samples))
    assert b"".join(b"".join(encoder.encode(part)) for part in np.split(samples, 10)) == whole
    assert encoder.encode(samples[:0]) == []
    decoder = make_decoder(law, 8_000)
    assert np.abs(decoder.decode(whole)).max() <= 1
    assert len(decoder.decode(b"")) == len(decoder.conceal()) == decoder.pending_bytes() == 0
    assert np.abs(decoder.decode(whole) - samples.clip(-1, 1)).max() < 0.04


def test_another_rate_or_law_is_refused() -> None:
    with pytest.raises(ValueError, match="8000 Hz for G"):
        make_decoder("MULAW", 16_000)
    with pytest.raises(ValueError, match="one of PCM, OPUS, MULAW, ALAW, got 'GSM'"):
        make_encoder("GSM", 8_000)  # type: ignore[arg-type]
