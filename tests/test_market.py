"""The Market-1501 subset through the gallery: the figures that say that preprocessing is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.bench_market import rank_1_and_map


@pytest.mark.data
@pytest.mark.parametrize("search", ["hnsw", "exact"])
def test_osnet_through_the_gallery(data: Path, search: str) -> None:
    weights = data / "weights" / "osnet_x0_25_msmt17.onnx"
    rank_1, mean_precision, queries = rank_1_and_map(data / "reid" / "market1501-test-subset", str(weights), search)
    assert queries == 319
    assert rank_1 == pytest.approx(68.3, abs=0.3)
    assert mean_precision == pytest.approx(56.1, abs=0.3)
