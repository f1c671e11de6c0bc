"""Push to talk: the last word is heard although the input does not end."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from service import RunningService

from fast_vc_service.audio.codecs import opus_available
from fast_vc_service.client import VoiceClient
from fast_vc_service.contract import FloatArray


async def said_and_flushed(url: str, words: FloatArray, **options: Any) -> FloatArray:
    """Return the output that comes of ``words`` while the session stays open."""
    heard: list[FloatArray] = []
    async with asyncio.timeout(60), VoiceClient(url, **options) as client:
        await client.send(words)
        await client.flush()
        async for samples in client:
            heard.append(samples)
            if sum(map(len, heard)) >= len(words):
                break
    return np.concatenate(heard)[: len(words)]


def words(samples: int) -> FloatArray:
    time_s = np.arange(samples) / 16_000
    return (0.4 * np.sin(2 * np.pi * 220 * time_s)).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 319, 320, 5_000])
@pytest.mark.parametrize(
    "encoding",
    [
        "PCM",
        pytest.param(
            "OPUS",
            marks=pytest.mark.skipif(not opus_available(), reason="libopus is not installed"),
        ),
    ],
)
def test_all_that_was_said_comes_back(
    passthrough: RunningService, encoding: Any, samples: int
) -> None:
    said = words(samples)
    heard = asyncio.run(said_and_flushed(passthrough.url, said, encoding=encoding))
    assert len(heard) == samples
    if encoding == "PCM":
        np.testing.assert_allclose(heard, said, atol=2 / 32768)


def test_a_converter_with_look_ahead_gives_its_last_word_too(
    default_service: RunningService,
) -> None:
    said = words(20_000)
    assert len(asyncio.run(said_and_flushed(default_service.url, said))) == len(said)
