"""The Market-1501 subset searched in a gallery: its scores show that preprocessing is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracking.evaluation import evaluate_reid
from tracking.identification.gallery_source import EmbedderOptions


@pytest.mark.data
def test_osnet_through_the_gallery(data: Path) -> None:
    weights = data / "weights" / "osnet_x0_25_msmt17.onnx"
    report = evaluate_reid(
        data / "reid" / "market1501-test-subset",
        EmbedderOptions(weights=weights),
        searches=("hnsw", "exact", "reranked", "adapted"),
    )
    assert (report.entries, report.identities, report.cameras, report.distractors) == (854, 100, 6, 0)
    for search in ("hnsw", "exact"):
        scores = report.scores[search]
        assert scores.queries == 319
        assert 100 * scores.ranks[1] == pytest.approx(68.3, abs=0.3)
        assert 100 * scores.mean_ap == pytest.approx(56.1, abs=0.3)
    assert report.scores["hnsw"].ranks[1] == pytest.approx(report.scores["exact"].ranks[1], abs=0.001)
    assert report.scores["hnsw"].mean_ap == pytest.approx(report.scores["exact"].mean_ap, abs=0.001)
    assert report.index_recall == pytest.approx(1.0, abs=0.001)
    assert 100 * report.scores["reranked"].mean_ap == pytest.approx(65.2, abs=0.3)
    assert 100 * report.scores["adapted"].ranks[1] == pytest.approx(68.0, abs=0.3)
