"""Opus in and out: exact lengths, delay, concealment, hostile packets, no libopus."""

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.audio.codecs import (
    CorruptAudioError,
    make_decoder,
    make_encoder,
    opus_available,
)
from fast_vc_service.audio.opus import (
    FRAME_DURATIONS_MS,
    OpusDecoder,
    _library,
)
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.limits import BITRATES, OPUS_RATES_HZ

pytestmark = pytest.mark.skipif(not opus_available(), reason="libopus is not installed")


def vowel(rate: int, seconds: float, f0_hz: float = 140.0) -> FloatArray:
    time = np.arange(round(rate * seconds)) / rate
    glide = f0_hz * time + 20 * np.sin(2 * np.pi * 2 * time) / (4 * np.pi)
    voice = sum(np.sin(2 * np.pi * k * glide) / k for k in range(1, 15))
    return (0.25 * voice * (1 + 0.5 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def decode_all(decoder: OpusDecoder, packets: list[bytes]) -> FloatArray:
    return np.concatenate([decoder.decode(packet) for packet in packets])


@pytest.mark.parametrize("rate", OPUS_RATES_HZ)
def test_round_trip_is_aligned_and_exactly_as_long(rate: int) -> None:
    x = vowel(rate, 1.0)[: rate - 7]
    encoder = make_encoder("OPUS", rate)
    packets = encoder.encode(x[:1001]) + encoder.encode(x[1001:]) + encoder.flush()
    decoder = OpusDecoder(rate)
    decoded = decode_all(decoder, packets)
    assert {len(decoder.decode(packet)) for packet in packets} == {rate // 50}
    y = decoded[encoder.pre_skip_samples :][: len(x)]
    assert len(y) == len(x)
    inner = slice(rate // 10, -rate // 10)
    lags = range(-rate // 200, rate // 200 + 1)
    match = [float(x[inner] @ np.roll(y, -lag)[inner]) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= rate // 4000  # a quarter of a millisecond
    assert np.corrcoef(x[inner], y[inner])[0, 1] > 0.75  # VoIP mode filters the lowest harmonics


@given(
    rate=st.sampled_from(OPUS_RATES_HZ),
    frame_ms=st.sampled_from(FRAME_DURATIONS_MS),
    pushes=st.lists(st.integers(0, 3000), max_size=5),
)
def test_flush_emits_all_and_not_a_packet_more(
    rate: int, frame_ms: float, pushes: list[int]
) -> None:
    encoder = make_encoder("OPUS", rate, frame_ms=frame_ms)
    packets = [packet for n in pushes for packet in encoder.encode(np.zeros(n, np.float32))]
    packets += encoder.flush()
    total, frame = sum(pushes), encoder.packet_samples
    assert len(packets) == (-(-(total + encoder.pre_skip_samples) // frame) if total else 0)
    assert encoder.flush() == []
    with pytest.raises(RuntimeError, match="after flush"):
        encoder.encode(np.zeros(1, np.float32))


@pytest.mark.parametrize("frame_ms", FRAME_DURATIONS_MS)
def test_a_packet_lasts_as_long_as_asked_for_at_any_bit_rate(frame_ms: float) -> None:
    x = vowel(48000, 0.5)
    for bitrate in BITRATES:
        encoder = make_encoder("OPUS", 48000, bitrate, frame_ms)
        packets = encoder.encode(x) + encoder.flush()
        decoder = make_decoder("OPUS", 48000)
        assert {len(decoder.decode(packet)) for packet in packets} == {int(48 * frame_ms)}


def test_chunking_makes_no_difference_to_the_packets() -> None:
    x = vowel(16000, 0.5)
    whole, cut = make_encoder("OPUS", 16000), make_encoder("OPUS", 16000)
    expected = whole.encode(x) + whole.flush()
    got = [packet for start in range(0, len(x), 77) for packet in cut.encode(x[start : start + 77])]
    assert got + cut.flush() == expected


def test_bit_rate_is_kept() -> None:
    x = vowel(48000, 2.0)
    sizes = {}
    for bitrate in (12_000, 32_000, 96_000):
        packets = make_encoder("OPUS", 48000, bitrate).encode(x)
        sizes[bitrate] = sum(map(len, packets)) * 8 / 2.0
        assert sizes[bitrate] == pytest.approx(bitrate, rel=0.35)


def test_wild_input_is_encoded_as_finite_audio() -> None:
    wild = np.full(960, np.nan, np.float32)
    wild[1::2] = np.inf
    wild[2::5] = -3e38
    packets = make_encoder("OPUS", 16000).encode(wild)
    assert np.isfinite(decode_all(OpusDecoder(16000), packets)).all()


@pytest.mark.parametrize("packet_rate", [8000, 48000])
@pytest.mark.parametrize("rate", OPUS_RATES_HZ)
def test_decodes_at_the_session_rate_whatever_the_packet(packet_rate: int, rate: int) -> None:
    x = vowel(packet_rate, 0.5)
    packets = make_encoder("OPUS", packet_rate).encode(x)
    decoded = decode_all(OpusDecoder(rate), packets)
    assert len(decoded) == len(packets) * rate // 50
    power = np.mean(np.square(decoded[rate // 5 :])) / np.mean(np.square(x[packet_rate // 5 :]))
    assert 0.5 < power < 2


def stereo_packets(left: FloatArray, right: FloatArray, rate: int = 48_000) -> list[bytes]:
    """Packets of 20 ms with two channels, as music players and browsers send them."""
    api = _library()
    state = api.encoder.create_state(rate, 2, api.opuslib.APPLICATION_AUDIO)
    api.encoder.encoder_ctl(state, api.ctl.set_bitrate, 128_000)
    packet = ctypes.create_string_buffer(1275)
    step = rate // 50
    both = np.stack([left, right], 1).astype(np.float32)
    packets = []
    for start in range(0, len(both) - step + 1, step):
        frame = np.ascontiguousarray(both[start : start + step])
        pointer = frame.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        size = api.encoder.libopus_encode_float(state, pointer, step, packet, 1275)
        packets.append(packet.raw[:size])
    api.encoder.destroy(state)
    assert any(packet[0] & 0x04 for packet in packets)
    return packets


SYLLABLES = vowel(48_000, 2.0) * (np.arange(96_000) % 24_000 < 14_400)


def level_db(audio: FloatArray) -> float:
    return float(10 * np.log10(np.square(audio).mean() + 1e-12))


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize(
    ("left", "right"), [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (1.0, -1.0), (0.5, -1.0), (1.0, 0.1)]
)
def test_speech_in_stereo_packets_is_as_loud_as_in_the_louder_channel(
    left: float, right: float, rate: int
) -> None:
    packets = stereo_packets(left * SYLLABLES, right * SYLLABLES)
    decoded = decode_all(OpusDecoder(rate), packets)
    assert len(decoded) == 2 * rate
    assert level_db(decoded) == pytest.approx(level_db(SYLLABLES), abs=1.0)
    # From the first syllable on.
    first = decoded[: rate // 4]
    assert level_db(first) == pytest.approx(level_db(SYLLABLES[:12_000]), abs=1.0)


def test_channels_that_change_in_mid_stream_leave_no_gap() -> None:
    """Mono, then stereo in opposite phase, then mono again, with a packet lost in between."""
    mono = make_encoder("OPUS", 48_000, 96_000).encode(SYLLABLES)
    stereo = stereo_packets(SYLLABLES, -SYLLABLES)
    decoder = OpusDecoder(48_000)
    decoded = [decoder.decode(packet) for packet in (mono + stereo)]
    decoded.append(decoder.conceal())
    decoded += [decoder.decode(packet) for packet in mono]
    out = np.concatenate(decoded)
    assert len(out) == 3 * 96_000 + 960
    for start in (0, 96_000, 192_960):
        said = out[start : start + 96_000]
        assert level_db(said) == pytest.approx(level_db(SYLLABLES), abs=1.0)
    # No click where the decoder changes: nothing is steeper than in the speech.
    steepest = np.abs(np.diff(decode_all(OpusDecoder(48_000), mono))).max()
    assert np.abs(np.diff(out[95_000:97_000])).max() < 1.2 * steepest


def test_a_broken_stereo_packet_leaves_a_mono_stream_as_it_is() -> None:
    packets = make_encoder("OPUS", 48_000).encode(SYLLABLES)
    broken = bytes([packets[0][0] | 0x04 | 0x03, 0x3F]) + b"\xff"
    whole, hurt = OpusDecoder(48_000), OpusDecoder(48_000)
    for packet in packets[:10]:
        assert np.array_equal(whole.decode(packet), hurt.decode(packet))
    with pytest.raises(CorruptAudioError):
        hurt.decode(broken)
    assert np.array_equal(whole.conceal(), hurt.conceal())
    assert np.array_equal(whole.decode(packets[11]), hurt.decode(packets[11]))


@pytest.mark.parametrize("rate", OPUS_RATES_HZ)
def test_concealment_lasts_as_long_as_the_last_packet_and_fades(rate: int) -> None:
    decoder = OpusDecoder(rate)
    spoken = decode_all(decoder, make_encoder("OPUS", rate).encode(vowel(rate, 0.5)))[-rate // 50 :]
    lost = [decoder.conceal() for _ in range(20)]
    assert {len(piece) for piece in lost} == {rate // 50}
    assert np.isfinite(lost).all()
    powers = [float(np.mean(np.square(piece))) for piece in lost]
    assert powers[0] > 0.1 * np.mean(np.square(spoken))
    assert powers[-1] < 0.05 * powers[0]


def test_a_packet_lost_before_any_came_is_silence_of_the_expected_length() -> None:
    assert len(make_decoder("OPUS", 16000, frame_ms=40).conceal()) == 640
    assert len(make_decoder("OPUS", 16000, frame_ms=0).conceal()) == 40
    assert len(make_decoder("OPUS", 16000, frame_ms=10**9).conceal()) == 1920
    assert not make_decoder("OPUS", 48000).conceal().any()


# A table-of-contents byte says coding, bandwidth and duration; code 3 then counts frames.
SILK_60_MS_THREE_FRAMES = bytes([0b00011_0_11, 3, 0, 0, 0])
SILK_20_MS_ONE_BYTE = bytes([0b00001_0_00])


@pytest.mark.parametrize(
    "packet",
    [b"", SILK_60_MS_THREE_FRAMES, bytes([0b11111_0_11, 63]) + bytes(63), b"OggS" + bytes(40)],
    ids=["empty", "180 ms", "63 frames", "an Ogg page"],
)
def test_packets_that_are_none_are_corrupt(packet: bytes) -> None:
    decoder = OpusDecoder(16000)
    with pytest.raises(CorruptAudioError, match="expected"):
        decoder.decode(packet)
    assert len(decoder.conceal()) == 320


def test_a_packet_of_nothing_but_its_header_is_a_pause() -> None:
    assert len(OpusDecoder(16000).decode(SILK_20_MS_ONE_BYTE)) == 320


@pytest.mark.parametrize("rate", OPUS_RATES_HZ)
def test_hostile_packets_never_crash_and_never_last_longer_than_120_ms(rate: int) -> None:
    rng = np.random.default_rng(rate)
    good = make_encoder("OPUS", rate).encode(vowel(rate, 0.1))
    decoder = OpusDecoder(rate)
    buffer = decoder._mono._pcm
    refused = 0
    for turn in range(600):
        packet = rng.bytes(int(rng.integers(1, 3000 if turn % 5 == 0 else 80)))
        try:
            decoded = decoder.decode(packet)
        except CorruptAudioError:
            refused += 1
            decoded = decoder.conceal()
        assert 0 < len(decoded) <= rate * 0.12
        assert np.isfinite(decoded).all()
        assert np.abs(decoded).max() <= 1
    assert 0 < refused < 600
    assert decoder._mono._pcm is buffer
    assert len(decode_all(decoder, good)) == len(good) * rate // 50


@pytest.mark.parametrize("size", [1276, 5000, 1 << 20])
def test_oversized_packets_are_refused_or_bounded(size: int) -> None:
    decoder = OpusDecoder(48000)
    for first in range(256):
        try:
            assert len(decoder.decode(bytes([first]) + bytes(size - 1))) <= 5760
        except CorruptAudioError:
            assert len(decoder.conceal()) <= 5760


def test_handles_are_freed() -> None:
    api = _library()
    freed: list[object] = []
    destroy = api.decoder.destroy
    api.decoder.destroy = lambda state: (freed.append(state), destroy(state))
    try:
        decoder = OpusDecoder(16000)
        state = decoder._mono._state
        del decoder
        gc.collect()
    finally:
        api.decoder.destroy = destroy
    assert freed == [state]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="8000, 12000, 16000, 24000, 48000 Hz, got 44100"):
        make_decoder("OPUS", 44100)
    with pytest.raises(ValueError, match="got 22050"):
        make_encoder("OPUS", 22050)
    for bitrate in (0, 600_000):
        with pytest.raises(ValueError, match=r"6000\.\.510000"):
            make_encoder("OPUS", 16000, bitrate)


def test_without_libopus_pcm_works_and_opus_names_the_package() -> None:
    code = """
import ctypes.util
ctypes.util.find_library = lambda name: None
from fast_vc_service.audio.codecs import *
assert not opus_available()
assert len(make_decoder("PCM", 16000).decode(bytes(4))) == 2
for make in (make_decoder, make_encoder):
    try:
        make("OPUS", 16000)
    except OpusUnavailableError as error:
        assert "apt install libopus0" in str(error) and "brew install opus" in str(error), error
    else:
        raise SystemExit("Opus without libopus?")
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=root, timeout=60)


def test_the_binding_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, fast_vc_service.audio.codecs; sys.exit('opuslib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
