"""Flags of the example clients that do not go together, and the plan they make."""

import pytest
import typer

from fast_vc_service.client.options import Encoding, make_plan


@pytest.mark.parametrize("frame_ms", [2.5, 5, 10, 20, 40, 60])
def test_a_packet_may_last_as_long_as_opus_allows(frame_ms: float) -> None:
    plan = make_plan(encoding=Encoding.OPUS, frame_ms=frame_ms, chunk_ms=120)
    assert plan.options["opus_frame_duration"] == frame_ms


def test_telephone_encodings_have_one_rate() -> None:
    plan = make_plan(encoding=Encoding.MULAW, encoding_out=Encoding.ALAW, sample_rate_out=24_000)
    assert (plan.sample_rate, plan.sample_rate_out) == (8_000, 8_000)
    assert (plan.options["encoding"], plan.options["encoding_out"]) == ("MULAW", "ALAW")
    assert make_plan(encoding=Encoding.MULAW).sample_rate_out == 16_000


def test_pcm_has_no_packets() -> None:
    plan = make_plan(frame_ms=60, chunk_ms=7)
    assert "opus_frame_duration" not in plan.options


@pytest.mark.parametrize(
    ("flags", "param", "text"),
    [
        ({"frame_ms": 30, "chunk_ms": 30}, "--frame-duration", "2.5, 5, 10, 20, 40, 60; got 30"),
        ({"frame_ms": 60}, "--chunk-time", "multiple of the 60 ms of an Opus packet; got 20"),
        ({"frame_ms": 2.5, "chunk_ms": 7}, "--chunk-time", "multiple of the 2.5 ms"),
    ],
)
def test_wrong_durations_are_refused_by_the_flag_to_change(
    flags: dict[str, float], param: str, text: str
) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        make_plan(encoding=Encoding.OPUS, **flags)  # type: ignore[arg-type]
    assert refused.value.param_hint == param
    assert text in refused.value.message
