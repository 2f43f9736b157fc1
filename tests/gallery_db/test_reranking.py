"""`gallery_db.reranking`: the order equals the paper's, computed with sets, and helps where neighbours are shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.gallery import DIMENSION, entries_named, model_named, unit_vectors

from gallery_db import Gallery, GalleryError
from gallery_db.reranking import rerank_candidates


def reranked_with_sets(probe: NDArray[np.float32], candidates: NDArray[np.float32]) -> list[int]:
    """Zhong et al. (2017), equations 2 to 12, word for word."""
    vectors = np.concatenate([probe[None], candidates]).astype(np.float64)
    distances = 2.0 - 2.0 * vectors @ vectors.T
    distances /= distances.max(axis=1, keepdims=True)
    everyone = range(len(vectors))

    def nearest(one: int, k: int) -> list[int]:
        return sorted(everyone, key=lambda other: float(distances[one, other]))[:k]

    def reciprocal(one: int, k: int) -> set[int]:
        return {other for other in nearest(one, k + 1) if one in nearest(other, k + 1)}

    features = np.zeros_like(distances)
    for one in everyone:
        expanded = reciprocal(one, 20)
        for other in reciprocal(one, 20):
            half = reciprocal(other, 10)
            if len(half & reciprocal(one, 20)) > 2 / 3 * len(half):
                expanded |= half
        for other in expanded:
            features[one, other] = np.exp(-distances[one, other])
        features[one] /= features[one].sum()
    features = np.stack([features[nearest(one, 6)].mean(axis=0) for one in everyone])
    jaccard = [1 - np.minimum(features[0], row).sum() / np.maximum(features[0], row).sum() for row in features[1:]]
    return np.argsort(0.7 * np.array(jaccard) + 0.3 * distances[0, 1:]).tolist()


@pytest.mark.parametrize("count", [1, 5, 21, 60])
def test_the_order_is_that_of_the_paper(count: int) -> None:
    vectors = unit_vectors(count + 1, seed=count)
    assert rerank_candidates(vectors[0], vectors[1:]).tolist() == reranked_with_sets(vectors[0], vectors[1:])


def test_shared_neighbours_come_before_a_nearer_stranger(tmp_path: Path) -> None:
    """A chain of 30 pictures from the probe away; the stranger is nearer than most, with a crowd of his own."""
    rng = np.random.default_rng(3)
    centre, away = np.eye(DIMENSION, dtype=np.float32)[:2]

    def crowd(middle: NDArray[np.float32], count: int, spread: float) -> NDArray[np.float32]:
        found = middle + spread * rng.standard_normal((count, DIMENSION))
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    own, others = crowd(centre, 30, 0.16), crowd(centre + 1.1 * away, 30, 0.05)
    probe = crowd(centre + 0.15 * away, 1, 0.0)[0]
    entries = entries_named(60, per_identity=30)
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.add(entries, np.concatenate([own, others]))
        (plain,) = gallery.query(probe, top_k=30)
        (reranked,) = gallery.query(probe, top_k=30, rerank=True)
        assert gallery.query(probe, top_k=60, rerank=True)[0][:30] == reranked
        assert {match.entry.id for match in gallery.query(probe, top_k=60, rerank=True)[0]} == {e.id for e in entries}
        assert gallery.query(probe, where={"identity": "nobody"}, rerank=True) == [[]]
        with pytest.raises(GalleryError, match="Re-ranking searches exactly"):
            gallery.query(probe, search="hnsw", rerank=True)
    own_name = entries[0].identity
    assert sum(match.entry.identity == own_name for match in plain) < 30
    assert [match.entry.identity for match in reranked] == [own_name] * 30
    distance_of = {match.entry.id: match.distance for match in plain}
    assert all(match.distance == distance_of.get(match.entry.id, match.distance) for match in reranked)


def test_neighbours_are_found_in_the_space_of_the_collection(tmp_path: Path) -> None:
    vectors = unit_vectors(120, seed=5) + 3 * np.eye(DIMENSION, dtype=np.float32)[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.add(entries_named(120, per_identity=4), vectors)
        assert gallery.adapt() is not None
        view = gallery.view()
        probe = view.adapt(vectors[7])[0]
        rows = view.nearest(probe, 120)[0][0]
        expected = [view.entry_ids[row] for row in rows[rerank_candidates(probe, view.embeddings[rows])]]
        assert [match.entry.id for match in gallery.query(vectors[7], top_k=120, rerank=True)[0]] == expected
