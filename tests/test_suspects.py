"""What looks wrong in a gallery: found where it was put, and nothing where nothing is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gallery_db.suspects
from gallery_db import GalleryError, GalleryView, Suspects, find_suspects

PEOPLE, EACH, DIMENSION = 12, 6, 64


def people(seed: int = 0, noise: float = 0.07) -> tuple[list[str], NDArray[np.float32], list[str]]:
    """Names, embeddings that scatter about a centre for each, and ids."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((PEOPLE, DIMENSION))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = np.repeat(centres, EACH, axis=0) + noise * generator.standard_normal((PEOPLE * EACH, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"p{number // EACH:02d}" for number in range(PEOPLE * EACH)]
    return names, vectors.astype(np.float32), [f"e{number:03d}" for number in range(PEOPLE * EACH)]


def suspects(
    names: list[str], vectors: NDArray[np.float32], ids: list[str], classes: list[str] | None = None, **options: Any
) -> Suspects:
    return find_suspects(GalleryView.from_arrays(names, vectors, ids=ids, class_names=classes), **options)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_where_nothing_is_wrong(seed: int) -> None:
    found = suspects(*people(seed))
    assert not found
    assert found == Suspects((), (), ())


@pytest.mark.parametrize("seed", range(5))
def test_a_mislabelled_entry_is_found(seed: int) -> None:
    names, vectors, ids = people(seed)
    names[15] = "p07"
    (found,) = suspects(names, vectors, ids).misplaced
    assert (found.entry_id, found.identity, found.other, found.class_name) == ("e015", "p07", "p02", "person")
    assert names[int(found.nearest_id[1:])] == "p02"
    assert found.other_distance == pytest.approx(1 - vectors[15] @ vectors[int(found.nearest_id[1:])], abs=1e-5)
    own = [row for row, name in enumerate(names) if name == "p07" and row != 15]
    assert found.own_distance == pytest.approx(1 - (vectors[own] @ vectors[15]).max(), abs=1e-5)


@pytest.mark.parametrize("share", [1, 2, 3], ids=lambda n: f"{n} of {EACH}")
def test_two_names_of_one_person_are_found(share: int) -> None:
    names, vectors, ids = people()
    for row in range(share):
        names[5 * EACH + row] = "zed"
    found = suspects(names, vectors, ids)
    (pair,) = found.alike
    assert (pair.identity, pair.other, pair.entries) == ("p05", "zed", (EACH - share, share))
    means = [vectors[np.asarray(names) == name].sum(axis=0) for name in ("p05", "zed")]
    means = [mean / np.linalg.norm(mean) for mean in means]
    assert pair.distance == pytest.approx(1 - means[0] @ means[1], abs=1e-5)


def test_nearly_the_same_picture_at_two_people_is_found() -> None:
    names, vectors, ids = people()
    vectors[30] = vectors[3] + 0.001 * vectors[40]
    vectors[30] /= np.linalg.norm(vectors[30])
    found = suspects(names, vectors, ids)
    (pair,) = found.duplicates
    assert (pair.entry_id, pair.identity, pair.other_id, pair.other) == ("e003", "p00", "e030", "p05")
    assert pair.distance < 1e-4
    assert [entry.entry_id for entry in found.misplaced] == ["e030"]


def test_the_worst_comes_first() -> None:
    names, vectors, ids = people()
    names[15] = "p07"
    vectors[20] = vectors[50] * 0.9 + vectors[20] * 0.5
    vectors[20] /= np.linalg.norm(vectors[20])
    found = suspects(names, vectors, ids).misplaced
    assert [entry.entry_id for entry in found] == ["e015", "e020"]


def test_classes_are_never_compared() -> None:
    names, vectors, ids = people()
    vectors[6:12] = vectors[0:6]
    classes = ["Person" if name == "p00" else "car" if name == "p01" else "person" for name in names]
    assert not suspects(names, vectors, ids, classes)
    classes[6:12] = ["PERSON"] * 6
    found = suspects(names, vectors, ids, classes)
    assert len(found.duplicates) == 6
    assert len(found.alike) == 1


@pytest.mark.parametrize("cells", [1, 100, 5000])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    names, vectors, ids = people(noise=0.3)
    whole = suspects(names, vectors, ids, margin=0.0, alike=2.0, duplicate=0.7)
    assert whole.alike
    assert whole.misplaced
    assert whole.duplicates
    monkeypatch.setattr(gallery_db.suspects, "_CELLS", cells)
    parts = suspects(names, vectors, ids, margin=0.0, alike=2.0, duplicate=0.7)
    assert [e.entry_id for e in parts.misplaced] == [e.entry_id for e in whole.misplaced]
    assert [(a.identity, a.other) for a in parts.alike] == [(a.identity, a.other) for a in whole.alike]
    assert [(d.entry_id, d.other_id) for d in parts.duplicates] == [(d.entry_id, d.other_id) for d in whole.duplicates]


SMALL = {"nobody": 0, "one entry": 1, "one person": EACH, "one person and an entry": EACH + 1}


@pytest.mark.parametrize("name", SMALL)
def test_small_galleries(name: str) -> None:
    names, vectors, ids = people()
    count = SMALL[name]
    assert not suspects(names[:count], vectors[:count], ids[:count])


def test_people_of_one_picture_each() -> None:
    _, vectors, ids = people()
    vectors[50] = vectors[3]
    found = suspects(ids, vectors, ids)
    assert not found.alike  # nobody knows how far the pictures of one are apart
    assert not found.misplaced
    assert [(d.entry_id, d.other_id) for d in found.duplicates] == [("e003", "e050")]


@pytest.mark.parametrize("options", [{"alike": -1}, {"margin": float("nan")}, {"duplicate": -0.1}], ids=str)
def test_limits_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(GalleryError, match="at least 0"):
        suspects(*people(), **options)
