"""`gtrack gallery query` says who a picture shows: one picture, a folder of them, and whole scenes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.gallery import make_people, save_picture
from typer.testing import CliRunner, Result

from cli.gallery.query import describe_decision
from cli.main import app
from gallery_db import Gallery, ingest_folder, set_threshold
from tracking.errors import OptionError
from tracking.identification.probes import ProbeDecision
from tracking.reid.loader import load_embedder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a gallery `g` of two people, made of the pictures in `people`."""
    place = tmp_path_factory.mktemp("query")
    embedder = load_embedder("builtin")
    with Gallery.create(place / "g", embedder.model) as gallery:
        ingest_folder(gallery, make_people(place / "people", people=2, each=1), embedder)
        set_threshold(gallery, 0.05)
    save_picture(place / "other.png", seed=999)
    return place


def query(place: Path, *words: Any, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["gallery", "query", *map(str, words), "-g", str(place / "g")])
    if code != 2:
        assert done.exit_code == code, (done.output, done.exception)
    return done


def test_says_who_before_the_table(place: Path) -> None:
    first, *table = query(place, place / "people" / "p0" / "0.png").stdout.splitlines()
    assert first == f"{place / 'people' / 'p0' / '0.png'}: p0 (distance 0.00, accepted up to 0.05)"
    assert "distance" in "".join(table)
    assert "similarity" not in "".join(table)


def test_says_that_nobody_is_known(place: Path) -> None:
    line = query(place, place / "other.png").stdout.splitlines()[0]
    assert "other.png: nobody known (nearest p" in line
    assert line.endswith("accepted up to 0.05)")


def test_a_folder_is_answered_with_a_line_for_each_image(place: Path) -> None:
    (place / "people" / "p1" / "broken.png").write_bytes(b"no image")
    done = query(place, place / "people", code=1)
    assert [line.split(": ")[1].split()[0] for line in done.stdout.splitlines()] == ["p0", "p1"]
    assert "broken.png" in done.stderr
    (place / "people" / "p1" / "broken.png").unlink()
    answers = [json.loads(line) for line in query(place, place / "people", "--json").stdout.splitlines()]
    assert [answer["identity"] for answer in answers] == ["p0", "p1"]
    assert {answer["decision"] for answer in answers} == {"known"}
    assert set(answers[0]["matches"][0]) >= {"identity", "similarity", "distance", "id"}
    assert answers[0]["threshold"] == 0.05


def test_a_whole_scene_needs_a_box(place: Path) -> None:
    scene = Image.new("RGB", (640, 360))
    scene.paste(Image.open(place / "people" / "p0" / "0.png"), (100, 50))
    scene.save(place / "scene.png")
    refused = query(place, place / "scene.png", code=2)
    assert isinstance(refused.exception, OptionError)
    assert "whole scene (640 x 360 pixels)" in refused.exception.message
    assert "--box X1,Y1,X2,Y2" in (refused.exception.hint or "")
    assert ": p0 (distance 0.00" in query(place, place / "scene.png", "--box", "100,50,132,114").stdout
    assert ": nobody known" in query(place, place / "scene.png", "--box", "whole").stdout
    (place / "scene.png").unlink()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (("known", "amy", 0.121, None, float("inf")), "amy (distance 0.12, accepted up to 0.25)"),
        (
            ("unknown", "amy", 0.251, None, float("inf")),
            "nobody known (nearest amy, distance 0.251, accepted up to 0.25)",
        ),
        (
            ("undecided", "amy", 0.2, "ben", 0.21),
            "undecided: amy (distance 0.20) or ben (distance 0.21), too close to each other for one picture; accepted "
            "up to 0.25",
        ),
        (("unknown", None, float("inf"), None, float("inf")), "nobody known (the gallery has nobody to compare with)"),
    ],
)
def test_words_of_a_decision(facts: Sequence[Any], words: str) -> None:
    assert describe_decision(ProbeDecision(*facts), 0.25) == words


def test_reranks_the_nearest_entries(place: Path) -> None:
    plain, reranked = (
        json.loads(query(place, place / "people" / "p0" / "0.png", "--json", "-k", "100", *more).stdout)
        for more in ((), ("--rerank",))
    )
    assert reranked["decision"] == plain["decision"]
    distances = [{match["id"]: match["distance"] for match in answer["matches"]} for answer in (plain, reranked)]
    assert distances[0] == distances[1], "the same entries at the same distances"
    assert reranked["matches"][0]["identity"] == "p0"
    refused = query(place, place / "people" / "p0" / "0.png", "--rerank", "--search", "hnsw", code=2)
    assert "--rerank searches exactly." in str(refused.exception)
