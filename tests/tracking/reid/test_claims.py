"""Stamps from other machines: believed with consent or after a comparison; else the export is a model of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.reid import make_onnx

from gallery_db.model import EmbeddingModel
from tracking.reid.cache import weights_sha256
from tracking.reid.loader import load_embedder
from tracking.reid.model_description import weights_identity
from tracking.reid.stamp import Stamp, read_stamp, write_stamp

ORIGINAL = "osnet_x0_25_original.onnx"


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, EmbeddingModel]:
    """An export of another machine, the folder where the original would be, and the original's model."""
    away, models = tmp_path / "away", tmp_path / "models"
    away.mkdir()
    models.mkdir()
    original = make_onnx(away / ORIGINAL)
    export = away / "export.onnx"
    export.write_bytes(original.read_bytes())
    with load_embedder(original, device="cpu", threads=1) as embedder:
        model, preprocessing = embedder.model, embedder.preprocessing
    with monkeypatch.context() as machine:
        machine.setenv("GTRACK_STATE_DIR", str(tmp_path / "another state"))
        write_stamp(
            export, Stamp(ORIGINAL, model.sha256, True, 1.0, model.dimension, preprocessing, "fp32", "0.1", None)
        )
        assert weights_identity(export) == model.sha256
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GTRACK_CACHE_DIR", str(tmp_path / "cache"))  # which remembers where the original was
    assert read_stamp(export) is not None
    return export, models, model


def _sha256_of(export: Path, models: Path, notices: list[str], *, trust: bool = False) -> str:
    with load_embedder(
        export, models_dir=models, device="cpu", threads=1, trust_weights=trust, notify=notices.append
    ) as embedder:
        return embedder.model.sha256


def test_a_stamp_of_another_machine_is_not_believed(
    foreign: tuple[Path, Path, EmbeddingModel], notices: list[str]
) -> None:
    export, models, model = foreign
    assert _sha256_of(export, models, notices) == weights_sha256(export) != model.sha256
    assert "a model of its own" in notices[0]
    assert "`trust_weights=True`" in notices[0]
    assert f"place '{ORIGINAL}' in {models}" in notices[0]


def test_a_person_can_say_that_it_is_believed(foreign: tuple[Path, Path, EmbeddingModel], notices: list[str]) -> None:
    export, models, model = foreign
    assert _sha256_of(export, models, notices, trust=True) == model.sha256
    assert _sha256_of(export, models, notices) == model.sha256, "once is enough"
    assert notices == []


def test_the_same_embeddings_as_the_original_are_enough(
    foreign: tuple[Path, Path, EmbeddingModel], notices: list[str]
) -> None:
    export, models, model = foreign
    (export.parent / ORIGINAL).rename(models / ORIGINAL)
    assert _sha256_of(export, models, notices) == model.sha256
    assert "gives the same embeddings" in notices[0]
    (models / ORIGINAL).unlink()
    assert _sha256_of(export, models, notices) == model.sha256, "it was remembered"
    assert len(notices) == 1


def test_other_embeddings_than_the_original_are_not(
    foreign: tuple[Path, Path, EmbeddingModel], notices: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    export, models, model = foreign
    stamp = read_stamp(export)
    assert stamp is not None
    (export.parent / ORIGINAL).rename(models / ORIGINAL)
    other = make_onnx(models.parent / "other.onnx", bias=0.9)
    with monkeypatch.context() as machine:
        machine.setenv("GTRACK_STATE_DIR", str(tmp_path / "another state"))
        write_stamp(other, replace(stamp, sealed=False))
    assert _sha256_of(other, models, notices) == weights_sha256(other) != model.sha256
    assert "its embeddings differ" in notices[0]


def test_a_seal_is_of_one_stamp(
    foreign: tuple[Path, Path, EmbeddingModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seal of this machine cannot be moved to another model."""
    export, models, _ = foreign
    stamp = read_stamp(export)
    assert stamp is not None
    one, other = make_onnx(models / "one.onnx"), make_onnx(models / "other.onnx", bias=0.9)
    write_stamp(one, stamp)
    written = read_stamp(one)
    assert written is not None
    assert written.own
    data = one.read_bytes()
    seal = json.loads(data[data.rfind(b'{"version"') :])["machine"]
    monkeypatch.setattr("tracking.reid.stamp.seal", lambda purpose, content: seal)
    write_stamp(other, stamp)
    moved = read_stamp(other)
    assert moved is not None
    assert moved.sealed
    assert not moved.own
    assert weights_identity(other) == weights_sha256(other)
