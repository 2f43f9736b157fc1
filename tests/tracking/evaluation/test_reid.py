"""`tracking.evaluation.reid`: Market-1501's protocol, by hand and through a gallery."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.gallery import DIMENSION, model_named, save_picture

from gallery_db import Entry, Gallery
from gallery_db.media.market_names import MarketName, parse_market_name
from tracking.errors import EvaluationError
from tracking.evaluation import evaluate_reid, score_rankings
from tracking.evaluation.reid import Search
from tracking.identification.gallery_source import EmbedderOptions

BUILTIN = EmbedderOptions(weights="builtin")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0001_c1s1_001051_03.jpg", MarketName("0001", "1")),
        ("a/b/-1_c3s2_000001_00.jpg", MarketName("-1", "3")),
        ("0000_c6s4_002427_05.jpg.png", MarketName("0000", "6")),
        ("0005_c2_f0046985.jpg", MarketName("0005", "2")),
        ("alice.jpg", None),
        ("x0001_c1s1_001051_03.jpg", None),
    ],
)
def test_parses_the_file_names_of_market_1501(name: str, expected: MarketName | None) -> None:
    assert parse_market_name(name) == expected


def test_scores_equal_those_by_hand() -> None:
    scores = score_rankings(
        [
            # right at ranks 2 and 3: AP (1/2 + 2/3) / 2 = 7/12; two right ones within three: INP 2/3
            (np.array([False, True, True, False]), 2),
            # right at rank 1, the second one is not found at all: AP 1/2, INP 0
            (np.array([True, False]), 2),
            # right at rank 6: AP and INP 1/6
            (np.array([False] * 5 + [True]), 1),
            # nothing found: 0
            (np.array([], np.bool_), 1),
            # nothing to be found: does not count
            (np.array([False]), 0),
        ]
    )
    assert scores.queries == 4
    assert scores.ranks == {1: 0.25, 5: 0.5, 10: 0.75, 20: 0.75}
    assert scores.mean_ap == pytest.approx((7 / 12 + 1 / 2 + 1 / 6) / 4)
    assert scores.mean_inp == pytest.approx((2 / 3 + 1 / 6) / 4)


def at_angle(degrees: float) -> NDArray[np.float32]:
    row = np.zeros(DIMENSION, np.float32)
    row[:2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return row


# Angle to the first image of person 1 in camera 1, which is a query.
BY_HAND = [
    ("0001_c1s1_000001_00.jpg", 0),
    ("0001_c1s1_000002_00.jpg", 1),  # the same camera: ignored
    ("-1_c2s1_000003_00.jpg", 2),  # junk: ignored
    ("0000_c2s1_000004_00.jpg", 3),  # a distractor: wrong, rank 1
    ("0001_c2s1_000005_00.jpg", 4),  # right, rank 2
    ("0002_c2s1_000006_00.jpg", 5),  # wrong
    ("0001_c3s1_000007_00.jpg", 6),  # right, rank 4
    ("0002_c1s1_000008_00.jpg", 80),
]


@pytest.fixture
def hand_made(tmp_path: Path) -> Path:
    path = tmp_path / "gallery"
    with Gallery.create(path, model_named()) as gallery:
        entries = [
            Entry(id=f"e{i}", identity=name.split("_")[0], source=f"/images/{name}")
            for i, (name, _) in enumerate(BY_HAND)
        ]
        gallery.add(entries, np.stack([at_angle(angle) for _, angle in BY_HAND]))
    return path


def test_the_protocol_equals_a_count_by_hand(hand_made: Path) -> None:
    report = evaluate_reid(hand_made, EmbedderOptions())
    assert (report.entries, report.identities, report.cameras) == (7, 2, 3)
    assert (report.distractors, report.ignored, report.queries, report.unanswerable) == (1, 1, 5, 0)
    # Queries: 0001 at 0 degrees (camera 1), at 4 (2) and at 6 (3); 0002 at 5 (2) and at 80 (1). Their rankings, as
    # the person and whether it is right; each of camera 1's two images of 0001 counts for those of other cameras.
    #   0 : 0000, 0001+, 0002, 0001+, 0002                AP (1/2 + 2/4) / 2          INP 2/4
    #   4 : 0000/0002 (1 away each), 0001+ (6), +, +, 0002 AP (1/3 + 2/4 + 3/5) / 3    INP 3/5
    #   6 : 0002, 0001+ (4), 0000, 0001+ (1), + (0), 0002  AP (1/2 + 2/4 + 3/5) / 3    INP 3/5
    #   5 : 0001 (4 and 6), 0000, 0001, 0001, 0002+        AP 1/6                      INP 1/6
    #   80: 0001 (6), 0002+ (5), ...                       AP 1/2                      INP 1/2
    assert report.index_recall == 1.0
    for search in ("hnsw", "exact"):
        scores = report.scores[search]
        assert scores.ranks == {1: 0.0, 5: 0.8, 10: 1.0, 20: 1.0}
        expected = [1 / 2, (1 / 3 + 2 / 4 + 3 / 5) / 3, (1 / 2 + 2 / 4 + 3 / 5) / 3, 1 / 6, 1 / 2]
        assert scores.mean_ap == pytest.approx(np.mean(expected))
        assert scores.mean_inp == pytest.approx(np.mean([1 / 2, 3 / 5, 3 / 5, 1 / 6, 1 / 2]))


def test_the_index_is_asked_for_a_part_of_the_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures equal those of exact search, also where ignored entries fill the index's first answers."""
    path = tmp_path / "gallery"
    rng = np.random.default_rng(1)
    names = [("0001", 1), ("0001", 2), *(("-1", 1) for _ in range(100)), *((f"{n:04d}", n % 2) for n in range(2, 400))]
    spread = [0.0, 0.1, *([0.02] * 100), *([1.0] * 398)]
    rows = np.array([at_angle(0) + rng.normal(size=DIMENSION) * width for width in spread], np.float32)
    entries = [
        Entry(id=f"e{i:03d}", identity=name, source=f"{name}_c{camera}s1_{i:06d}_00.jpg")
        for i, (name, camera) in enumerate(names)
    ]
    with Gallery.create(path, model_named()) as gallery:
        gallery.add(entries, rows / np.linalg.norm(rows, axis=1, keepdims=True))
    asked: list[int] = []
    query = Gallery.query
    monkeypatch.setattr(Gallery, "query", lambda *a, **k: asked.append(k["top_k"]) or query(*a, **k))
    report = evaluate_reid(path, EmbedderOptions())
    assert report.ignored == 100
    assert report.index_recall == pytest.approx(1.0, abs=0.01)
    assert report.scores["hnsw"].ranks == report.scores["exact"].ranks
    assert report.scores["hnsw"].mean_ap == pytest.approx(report.scores["exact"].mean_ap, abs=0.01)
    assert set(asked) == {64, 256}, "more where the first 64 are the junk around person 1"


def test_reranking_is_measured_beside_exact_search(hand_made: Path) -> None:
    searches: tuple[Search, ...] = ("exact", "reranked", "adapted")  # no known model: no space to begin with
    report = evaluate_reid(hand_made, EmbedderOptions(), searches=searches)
    assert list(report.scores) == ["exact", "reranked"]
    assert report.index_recall is None
    assert report.scores["reranked"].queries == 5
    assert report.scores["reranked"].ranks[20] == 1.0


def test_a_gallery_is_searched_in_its_own_space(tmp_path: Path) -> None:
    """Both the answers of the index and the exact ranking are by distances in the space."""
    path = tmp_path / "gallery"
    rng = np.random.default_rng(2)
    people = 30
    own = rng.normal(size=(people, DIMENSION))
    rows, entries = [], []
    for person in range(people):
        for camera in (1, 2):
            row = at_angle(0) * 50 + own[person] + 0.2 * rng.normal(size=DIMENSION)
            rows.append(row / np.linalg.norm(row))
            name = f"{person + 1:04d}"
            entries.append(Entry(id=f"{name}-{camera}", identity=name, source=f"{name}_c{camera}s1_000000_00.jpg"))
    with Gallery.create(path, model_named()) as gallery:
        gallery.add(entries, np.array(rows, np.float32))
        assert gallery.adapt() is not None
    report = evaluate_reid(path, EmbedderOptions(), searches=("hnsw", "exact", "reranked"))
    assert report.scores["hnsw"] == report.scores["exact"]
    assert report.index_recall == 1.0
    assert report.scores["exact"].ranks[1] > 0.9


def test_cameras_of_enrolled_entries_and_classes(tmp_path: Path) -> None:
    """Where no name says the camera, only the query itself is left out; classes never meet."""
    path = tmp_path / "gallery"
    track = Entry(id="t0", identity="ann", origin="track", source="door.mp4", extra={"source_id": "door"})
    entries = [
        track,
        replace(track, id="t1"),
        replace(track, id="t2", extra={"source_id": "yard"}),
        Entry(id="i0", identity="bob", source="/people/bob/1.jpg"),
        Entry(id="i1", identity="bob", source="/people/bob/2.jpg"),
        Entry(id="c0", identity="van", class_name="car", source="/cars/van/1.jpg"),
    ]
    with Gallery.create(path, model_named()) as gallery:
        gallery.add(entries, np.stack([at_angle(angle) for angle in (0, 1, 20, 50, 52, 51)]))
    report = evaluate_reid(path, EmbedderOptions())
    # ann from door and from yard, bob once, and the van, of which there is no second image.
    assert (report.queries, report.unanswerable, report.cameras) == (4, 1, 2)
    assert report.scores["exact"].ranks[1] == 1.0, "the van between bob's two images is another class"
    assert report.scores["exact"].mean_ap == 1.0


def market(folder: Path, names: list[tuple[str, int]]) -> Path:
    for name, seed in names:
        save_picture(folder / name, seed)
    return folder


def test_evaluates_image_folders(tmp_path: Path) -> None:
    """The same images give the same figures in one folder, in two folders, and with a separate folder of queries."""
    names = [(f"{p:04d}_c{c}s1_{p:03d}{c}00_00.jpg", 10 * p + c) for p in (1, 2, 3) for c in (1, 2)]
    names += [("-1_c1s1_000000_00.jpg", 1), ("0000_c1s1_000001_00.jpg", 2)]
    flat = evaluate_reid(market(tmp_path / "flat", names), BUILTIN)
    assert (flat.entries, flat.identities, flat.distractors, flat.ignored) == (7, 3, 1, 1)
    assert (flat.queries, flat.unanswerable) == (6, 0)
    split = tmp_path / "split"
    market(split / "bounding_box_test", names)
    market(split / "query", names[:6])
    assert evaluate_reid(split, BUILTIN).scores == flat.scores
    named = tmp_path / "named"
    for name, seed in names[:6]:
        save_picture(named / f"person {name[:4]}" / name, seed)
    assert evaluate_reid(named, BUILTIN).queries == 6
    asked = tmp_path / "asked"
    save_picture(asked / "person 0001" / "unlike.png", 11)
    (asked / "person 0001" / "broken.png").write_text("no picture")
    report = evaluate_reid(named, BUILTIN, queries=asked)
    # Its camera is not known, so nothing of the person is left out; its own picture comes first.
    assert (report.queries, report.scores["exact"].ranks[1]) == (1, 1.0)
    assert [Path(path).name for path, _ in report.skipped] == ["broken.png"]


def test_queries_of_a_gallery_are_embedded_with_its_model(tmp_path: Path) -> None:
    from tracking import load_embedder

    model = load_embedder("builtin")
    folder = market(tmp_path / "flat", [("0001_c1s1_0_0.jpg", 1), ("0002_c1s1_0_0.jpg", 2)])
    with Gallery.create(tmp_path / "gallery", model.model) as gallery:
        from gallery_db import read_image

        files = sorted(folder.iterdir())
        entries = [Entry(id=file.name, identity=file.name[:4], source=str(file)) for file in files]
        gallery.add(entries, model.embed([read_image(file) for file in files]))
    asked = market(tmp_path / "asked", [("0001_c2s1_0_0.jpg", 1), ("0002_c2s1_0_0.jpg", 2)])
    assert evaluate_reid(tmp_path / "gallery", EmbedderOptions(), queries=asked).scores["hnsw"].mean_ap == 1.0
    with Gallery.create(tmp_path / "other", model_named()) as gallery:
        gallery.add([Entry(id="e", identity="0001")], np.stack([at_angle(0)]))
    with pytest.raises(EvaluationError, match=r"are of model .*, and the queries would be of"):
        evaluate_reid(tmp_path / "other", BUILTIN, queries=asked)


def test_rejects_invalid_input(tmp_path: Path, hand_made: Path) -> None:
    with pytest.raises(EvaluationError, match="found nothing"):
        evaluate_reid(tmp_path / "none", BUILTIN)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="has no images of people"):
        evaluate_reid(tmp_path / "empty", BUILTIN)
    save_picture(tmp_path / "holiday" / "beach.jpg", 1)
    with pytest.raises(EvaluationError, match=r"beach\.jpg: the identity of this image is unknown"):
        evaluate_reid(tmp_path / "holiday", BUILTIN)
    one = market(tmp_path / "one", [("0001_c1s1_0_0.jpg", 1), ("0002_c1s1_0_0.jpg", 2)])
    with pytest.raises(EvaluationError, match="none of the 2 queries has a right entry"):
        evaluate_reid(one, BUILTIN)
    with pytest.raises(EvaluationError, match="expected a folder of images"):
        evaluate_reid(hand_made, BUILTIN, queries=tmp_path / "none")
