"""The look at a video before a run, where the gallery knows few people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gallery_db import EmbeddingModel, Entry, Gallery
from tests.support.gallery import model_named, unit_vectors
from tracking.detections.reader import open_detections
from tracking.run.inputs import RunInputs
from tracking.run.video_people import CROPS, MIN_CROPS, space_of_run
from tracking.synthetic.rendering import Scene


class FixedEmbedder:
    """Returns one vector for every crop, in the name of a model that gtrack knows."""

    def __init__(self) -> None:
        catalogue = json.loads(resources.files("gallery_db.spaces").joinpath("priors", "catalogue.json").read_text())
        facts = catalogue["osnet_x0_25_msmt17.npz"]
        self.model = EmbeddingModel("osnet.onnx", facts["sha256"][0], 512, facts["preprocessing"])
        self.vector = unit_vectors(1, 512)
        self.crops = 0

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.crops += len(crops)
        return np.repeat(self.vector, len(crops), axis=0)


def inputs_of(scene: Scene, **changes: Any) -> RunInputs:
    facts = {
        "feed": open_detections(scene.detections),
        "source": scene.video,
        "is_live": False,
        "frame_range": (None, None),
        "selected": None,
    }
    return cast("RunInputs", SimpleNamespace(**{**facts, **changes}))


def test_the_people_of_a_video_move_the_mean_of_an_empty_gallery(scene: Scene, tmp_path: Path) -> None:
    embedder = FixedEmbedder()
    with Gallery.create(tmp_path / "g", embedder.model) as gallery:
        before = gallery.space
        assert before is not None
        after = space_of_run(inputs_of(scene))(gallery, embedder)
        assert after is not None
        assert MIN_CROPS <= embedder.crops <= CROPS
        part = np.linalg.norm(after.mean - before.mean) / np.linalg.norm(embedder.vector[0] - before.mean)
        most = max(len(frame["detections"]) for frame in json.loads(scene.detections.read_text())["frames"])
        assert 0 < part <= most / (most + 20) + 1e-6
        np.testing.assert_array_equal(after.whitening, before.whitening)
        assert gallery.space.version == before.version, "what is stored stays"  # type: ignore[union-attr]


def test_nothing_is_looked_at_where_it_would_not_help(scene: Scene, tmp_path: Path) -> None:
    embedder = FixedEmbedder()
    with Gallery.create(tmp_path / "g", embedder.model) as gallery:
        for changes in ({"is_live": True}, {"feed": object()}, {"selected": frozenset({77})}, {"frame_range": (0, 1)}):
            assert space_of_run(inputs_of(scene, **changes))(gallery, embedder) is None
        gallery.add([Entry(f"e{n}", f"p{n}") for n in range(19)], unit_vectors(19, 512))
        gallery.adapt()
        embedder.crops = 0
        assert space_of_run(inputs_of(scene))(gallery, embedder) is None, "the gallery knows as many people"
        assert embedder.crops == 0
    with Gallery.create(tmp_path / "h", model_named()) as gallery:
        assert space_of_run(inputs_of(scene))(gallery, embedder) is None, "no space, no mean"
