from __future__ import annotations

import numpy as np
import pytest
import torch

from fast_vc_service.models.checkpoint import load_published
from fast_vc_service.models.seedvc import content
from fast_vc_service.models.seedvc.content import ContentConfig, content_encoder, encoded

XLSR = ContentConfig("xlsr", width=32, heads=4, inner=48, layers=2)
WHISPER = ContentConfig("whisper", width=16, heads=2, inner=24, layers=1)


def audio(samples: int) -> torch.Tensor:
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(1)) * 0.1


@pytest.fixture(scope="module")
def xlsr() -> content.Xlsr:
    torch.manual_seed(0)
    encoder = content_encoder(XLSR).eval()
    assert isinstance(encoder, content.Xlsr)
    return encoder


@torch.no_grad()
def test_xlsr_loses_one_frame_and_does_not_care_how_loud_it_is(xlsr: content.Xlsr) -> None:
    features = xlsr(audio(320 * 20))
    assert features.shape == (1, 19, 32)
    louder = xlsr(3 * audio(320 * 20) + 0.2)
    assert torch.allclose(features, louder, atol=1e-3)


def test_xlsr_loads_the_lower_layers_of_a_published_file(xlsr: content.Xlsr) -> None:
    import transformers

    torch.manual_seed(1)
    whole = transformers.Wav2Vec2Model(
        transformers.Wav2Vec2Config(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=48,
            feat_extract_norm="layer",
            conv_bias=True,
            do_stable_layer_norm=True,
        )
    ).eval()
    published = {f"wav2vec2.{name}": value for name, value in whole.state_dict().items()}
    published["quantizer.codevectors"] = torch.zeros(1)
    ours = content_encoder(XLSR).eval()
    assert load_published(ours, published, content.table(XLSR)) == []
    whole.encoder.layers = whole.encoder.layers[:2]
    with torch.no_grad():
        wave = audio(4000)
        normed = (wave - wave.mean()) / torch.sqrt(wave.var(correction=0) + 1e-7)
        assert torch.allclose(ours(wave), whole(normed).last_hidden_state, atol=1e-5)


def test_whisper_hears_what_its_own_feature_extractor_makes() -> None:
    import transformers

    extractor = transformers.WhisperFeatureExtractor()
    wave = audio(50_000)
    wanted = extractor(wave[0].numpy(), sampling_rate=16_000, return_tensors="np")
    got = content.whisper_mel(wave).numpy()
    assert np.abs(got - wanted["input_features"]).max() < 1e-4


@torch.no_grad()
def test_whisper_returns_a_frame_more_than_the_clip_has_hops() -> None:
    torch.manual_seed(0)
    encoder = content_encoder(WHISPER).eval()
    assert encoder(audio(6400)).shape == (1, 21, 16)
    assert encoder(audio(480_000)).shape == (1, 1500, 16)


@torch.no_grad()
def test_long_clips_are_encoded_in_overlapping_windows(xlsr: content.Xlsr) -> None:
    heard = []

    class Listening(content.Xlsr):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            heard.append(audio)
            return torch.zeros(1, (audio.shape[1] - 400) // 320 + 1, 1)

    wave = audio(900_000)
    features = encoded(Listening(XLSR), wave)
    assert [part.shape[1] for part in heard] == [480_000, 480_000, 100_000]
    assert torch.equal(heard[1][:, :80_000], heard[0][:, -80_000:])
    assert torch.equal(heard[2], wave[:, 800_000:])
    assert features.shape[1] == 1499 + 1249 + 62
