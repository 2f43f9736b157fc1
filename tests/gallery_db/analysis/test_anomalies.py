"""Anomalies: each kind is found where one was made, and none where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gallery_db.analysis.class_comparison
from gallery_db import Anomalies, GalleryError, GalleryView, find_anomalies

PEOPLE, EACH, DIMENSION = 12, 6, 64


def people(seed: int = 0, noise: float = 0.07) -> tuple[list[str], NDArray[np.float32], list[str]]:
    """Return identities, embeddings that scatter about one centre for each identity, and entry ids."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((PEOPLE, DIMENSION))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = np.repeat(centres, EACH, axis=0) + noise * generator.standard_normal((PEOPLE * EACH, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"p{number // EACH:02d}" for number in range(PEOPLE * EACH)]
    return names, vectors.astype(np.float32), [f"e{number:03d}" for number in range(PEOPLE * EACH)]


def find(
    names: list[str], vectors: NDArray[np.float32], ids: list[str], classes: list[str] | None = None, **options: Any
) -> Anomalies:
    return find_anomalies(GalleryView.from_arrays(names, vectors, ids=ids, class_names=classes), **options)


@pytest.mark.parametrize("seed", range(5))
def test_a_correct_gallery_has_no_anomalies(seed: int) -> None:
    found = find(*people(seed))
    assert not found
    assert found == Anomalies((), (), (), ())


@pytest.mark.parametrize("seed", range(5))
def test_a_mislabelled_entry_is_found(seed: int) -> None:
    names, vectors, ids = people(seed)
    names[15] = "p07"
    (found,) = find(names, vectors, ids).mislabelled
    assert (found.entry_id, found.identity, found.other, found.class_name) == ("e015", "p07", "p02", "person")
    assert names[int(found.nearest_id[1:])] == "p02"
    assert found.other_distance == pytest.approx(1 - vectors[15] @ vectors[int(found.nearest_id[1:])], abs=1e-5)
    own = [row for row, name in enumerate(names) if name == "p07" and row != 15]
    assert found.own_distance == pytest.approx(1 - (vectors[own] @ vectors[15]).max(), abs=1e-5)


@pytest.mark.parametrize("share", [1, 2, 3], ids=lambda n: f"{n} of {EACH}")
def test_one_person_under_two_names_is_found(share: int) -> None:
    names, vectors, ids = people()
    for row in range(share):
        names[5 * EACH + row] = "zed"
    found = find(names, vectors, ids)
    (pair,) = found.similar
    assert (pair.identity, pair.other, pair.entries) == ("p05", "zed", (EACH - share, share))
    means = [vectors[np.asarray(names) == name].sum(axis=0) for name in ("p05", "zed")]
    means = [mean / np.linalg.norm(mean) for mean in means]
    assert pair.distance == pytest.approx(1 - means[0] @ means[1], abs=1e-5)


def test_nearly_equal_entries_of_two_identities_are_found() -> None:
    names, vectors, ids = people()
    vectors[30] = vectors[3] + 0.001 * vectors[40]
    vectors[30] /= np.linalg.norm(vectors[30])
    found = find(names, vectors, ids)
    (pair,) = found.duplicates
    assert (pair.entry_id, pair.identity, pair.other_id, pair.other) == ("e003", "p00", "e030", "p05")
    assert pair.distance < 1e-4
    assert [entry.entry_id for entry in found.mislabelled] == ["e030"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fewer", [EACH, EACH // 2, 2], ids=lambda n: f"{EACH} and {n}")
def test_two_people_under_one_name_are_found(seed: int, fewer: int) -> None:
    names, vectors, ids = people(seed)
    means = vectors.reshape(PEOPLE, EACH, DIMENSION).mean(axis=1)
    unlike = f"p{int((means @ means[2]).argmin()):02d}"
    kept = [row for row, name in enumerate(names) if name != unlike or row % EACH < fewer]
    names, vectors, ids = [names[row] for row in kept], vectors[kept], [ids[row] for row in kept]
    second = {id_ for id_, name in zip(ids, names, strict=True) if name == unlike}
    names = ["p02" if name == unlike else name for name in names]
    found = find(names, vectors, ids)
    (mixed,) = found.mixed
    assert (mixed.identity, mixed.class_name, mixed.others) == ("p02", "person", PEOPLE - 2)
    first = {id_ for id_, name in zip(ids, names, strict=True) if name == "p02"} - second
    assert {frozenset(part) for part in mixed.parts} == {frozenset(first), frozenset(second)}
    assert len(mixed.parts[0]) >= len(mixed.parts[1])
    of = {id_: row for row, id_ in enumerate(ids)}
    one, two = (vectors[[of[id_] for id_ in part]] for part in mixed.parts)
    assert mixed.distance == pytest.approx(float(np.mean(1 - one @ two.T)), abs=1e-5)
    rest = [vectors[np.asarray(names) == name] for name in sorted(set(names) - {"p02"})]
    nearer = tuple(sum(float(np.mean(1 - part @ other.T)) < mixed.distance for other in rest) for part in (one, two))
    assert mixed.nearer == nearer
    assert not found.similar


def test_two_parts_are_mixed_only_if_other_identities_are_nearer() -> None:
    """Two clear parts, such as one person in two coats, are not enough: others must be nearer to each part."""
    names, vectors, ids = people()
    coat = np.random.default_rng(5).standard_normal(DIMENSION)
    coat *= 0.9 / np.linalg.norm(coat)
    rows = slice(2 * EACH, 2 * EACH + EACH // 2)
    vectors[rows] += coat.astype(np.float32)
    vectors[rows] /= np.linalg.norm(vectors[rows], axis=1, keepdims=True)
    apart = 1 - float(np.mean(vectors[rows] @ vectors[2 * EACH + EACH // 2 : 3 * EACH].T))
    assert apart > 0.25
    assert not find(names, vectors, ids).mixed


def test_two_similar_people_under_one_name_are_not_found() -> None:
    names, vectors, ids = people()
    vectors[18:24] = vectors[12:18] * 0.95 + vectors[18:24] * 0.3
    vectors[18:24] /= np.linalg.norm(vectors[18:24], axis=1, keepdims=True)
    names[18:24] = ["p02"] * EACH
    assert not find(names, vectors, ids).mixed


def test_a_single_wrong_entry_is_mislabelled_not_mixed() -> None:
    names, vectors, ids = people()
    names[15] = "p07"
    found = find(names, vectors, ids)
    assert len(found.mislabelled) == 1
    assert not found.mixed


@pytest.mark.parametrize(("others", "expected"), [(1, 0), (2, 1), (5, 1)], ids=str)
def test_mixed_needs_two_nearer_identities(others: int, expected: int) -> None:
    """The nearest identity alone may be the same person under another name."""
    vectors = np.repeat(np.eye(2 + others, DIMENSION, dtype=np.float32), EACH, axis=0)
    # The two people with one name are further from each other than from all others.
    vectors[: 2 * EACH, 2 + others] = np.repeat([0.5, -0.5], EACH)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = ["both"] * (2 * EACH) + [f"p{number // EACH}" for number in range(others * EACH)]
    ids = [f"e{number:03d}" for number in range(len(names))]
    found = find(names, vectors, ids)
    assert [one.nearer for one in found.mixed] == [(others, others)] * expected
    assert not find(names, vectors, ids, mixed_share=float("inf")).mixed


def test_equal_entries_are_not_mixed() -> None:
    names, vectors, ids = people()
    vectors[: 2 * EACH] = np.repeat(vectors[[0, EACH]], EACH, axis=0)
    assert not find(names, vectors, ids).mixed
    vectors[EACH // 2 : EACH] = -vectors[0]  # their mean is zero
    (mixed,) = find(names, vectors, ids).mixed
    assert mixed.identity == "p00"
    assert mixed.distance == pytest.approx(2.0)


def test_the_most_suspicious_comes_first() -> None:
    names, vectors, ids = people()
    names[15] = "p07"
    vectors[20] = vectors[50] * 0.9 + vectors[20] * 0.5
    vectors[20] /= np.linalg.norm(vectors[20])
    found = find(names, vectors, ids).mislabelled
    assert [entry.entry_id for entry in found] == ["e015", "e020"]


def test_entries_of_different_classes_are_not_compared() -> None:
    names, vectors, ids = people()
    vectors[6:12] = vectors[0:6]
    classes = ["Person" if name == "p00" else "car" if name == "p01" else "person" for name in names]
    assert not find(names, vectors, ids, classes)
    classes[6:12] = ["PERSON"] * 6
    found = find(names, vectors, ids, classes)
    assert len(found.duplicates) == 6
    assert len(found.similar) == 1


@pytest.mark.parametrize("cells", [1, 100, 5000])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    names, vectors, ids = people(noise=0.3)
    names[6:12] = ["p00"] * EACH
    names[30:36] = ["p04"] * EACH
    whole = find(names, vectors, ids, mislabelled_margin=0.0, similar_slack=2.0, duplicate_distance=0.7)
    assert whole.mixed
    assert whole.similar
    assert whole.mislabelled
    assert whole.duplicates
    monkeypatch.setattr(gallery_db.analysis.class_comparison, "_BLOCK_CELLS", cells)
    parts = find(names, vectors, ids, mislabelled_margin=0.0, similar_slack=2.0, duplicate_distance=0.7)
    assert [(m.identity, m.parts, m.nearer) for m in parts.mixed] == [
        (m.identity, m.parts, m.nearer) for m in whole.mixed
    ]
    assert [e.entry_id for e in parts.mislabelled] == [e.entry_id for e in whole.mislabelled]
    assert [(a.identity, a.other) for a in parts.similar] == [(a.identity, a.other) for a in whole.similar]
    assert [(d.entry_id, d.other_id) for d in parts.duplicates] == [(d.entry_id, d.other_id) for d in whole.duplicates]


SMALL = {"no entry": 0, "one entry": 1, "one person": EACH, "one person and an entry": EACH + 1}


@pytest.mark.parametrize("name", SMALL)
def test_small_galleries(name: str) -> None:
    names, vectors, ids = people()
    count = SMALL[name]
    assert not find(names[:count], vectors[:count], ids[:count])


def test_identities_of_one_entry_each() -> None:
    _, vectors, ids = people()
    vectors[50] = vectors[3]
    found = find(ids, vectors, ids)
    assert not found.similar  # the spread of an identity is unknown
    assert not found.mislabelled
    assert [(d.entry_id, d.other_id) for d in found.duplicates] == [("e003", "e050")]


@pytest.mark.parametrize(
    "options",
    [{"similar_slack": -1}, {"mislabelled_margin": float("nan")}, {"mixed_share": -1}, {"duplicate_distance": -0.1}],
    ids=str,
)
def test_invalid_limits(options: dict[str, float]) -> None:
    with pytest.raises(GalleryError, match="at least 0"):
        find(*people(), **options)
