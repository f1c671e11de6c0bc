from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import LAYERS, WIDTH, tone, toy_teacher
from training import packing
from training.phone_information import NONE, phone_information
from training.units import Units
from training.whisper import TeacherError, listen, load_encoder, log_mel, read_ctranslate2


@pytest.fixture
def model(teacher: Path) -> Path:
    return teacher / "tools/whisper-base/model.bin"


def test_the_file_is_read_as_it_was_written(model: Path) -> None:
    stored, written = read_ctranslate2(model), toy_teacher()
    assert stored.keys() == written.keys()
    assert all(np.array_equal(stored[name], written[name]) for name in written)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"training\.data tools"):
        read_ctranslate2(tmp_path / "missing")
    (tmp_path / "short").write_bytes(b"\x06\0\0\0")
    with pytest.raises(TeacherError, match="not a file of CTranslate2"):
        read_ctranslate2(tmp_path / "short")


def test_a_layer_too_many_is_refused(model: Path) -> None:
    with pytest.raises(TeacherError, match="layer_2"):
        load_encoder(model, LAYERS + 1)


def test_a_frame_stands_for_20_ms_and_the_level_does_not_matter(model: Path) -> None:
    encoder = load_encoder(model, LAYERS)
    speech = tone(150, 1.3)
    heard = listen(encoder, speech)
    assert heard.shape == (65, WIDTH)
    assert torch.allclose(listen(encoder, speech * np.float32(0.1)), heard, atol=1e-3)


def test_the_spectrum_of_a_tone_peaks_in_its_band() -> None:
    low, high = (log_mel(torch.sin(torch.arange(16_000) * (f0 / 2546.5))) for f0 in (300.0, 3000.0))
    assert low.shape == (80, 100)
    assert low.mean(1).argmax() < high.mean(1).argmax()


def test_features_are_computed_once_for_all_clean_speech(root: Path, teacher: Path) -> None:
    from training.teacher import main

    packing.run(root, "real", 1)
    packing.run(root, "synthetic", 1)
    main(["--root", str(root)])
    for kind in ("real", "synthetic"):
        for path in (root / "features" / kind).glob("*.npz"):
            shard, made = np.load(path), np.load(root / "teacher" / kind / path.name)
            assert made["projected"].shape == (len(shard["audio"]) // 480, 96)
            assert made["projected"].any(1).all()
    before = (root / "teacher/real/shard-0000.npz").stat().st_mtime_ns
    main(["--root", str(root)])
    assert (root / "teacher/real/shard-0000.npz").stat().st_mtime_ns == before


def test_units_that_say_little_of_phones_are_refused(
    root: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.teacher import PNMI_LEAST, main

    (root / "teacher/pnmi.json").write_text(json.dumps({"pnmi": PNMI_LEAST - 0.01}))
    with pytest.raises(SystemExit, match="below"):
        main(["--root", str(root)])
    assert "PNMI 0.64" in capsys.readouterr().out


def test_mutual_information_is_one_for_the_phones_themselves_and_none_for_chance() -> None:
    rng = np.random.default_rng(0)
    phones = rng.integers(0, 10, 20_000)
    assert phone_information(phones, 3 * phones) == pytest.approx(1.0)
    assert phone_information(phones, rng.integers(0, 10, 20_000)) < 0.01
    phones[:5000] = NONE
    assert phone_information(phones, phones.clip(min=0)) == pytest.approx(1.0)


def test_units_and_content_of_frames(teacher: Path) -> None:
    known = Units.load()
    frames = known.centroids[[3, 7]]
    assert known.nearest(frames).tolist() == [3, 7]
    assert known.content(frames).shape == (2, 96)
    assert known.project(torch.zeros(5, WIDTH)).shape == (5, 96)


def test_without_words_there_is_nothing_to_measure_by(root: Path, teacher: Path) -> None:
    from training.teacher import measure

    encoder = load_encoder(root / "tools/whisper-base/model.bin", LAYERS)
    with pytest.raises(TeacherError, match=r"training\.data real"):
        measure(root, encoder, Units.load())
