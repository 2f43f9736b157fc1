"""Make the priors of `gallery_db.spaces`: the statistics of a public set of people for each known model.

``python tests/benchmarks/make_priors.py --data ../shared/data``

The set is a folder of Market-1501 images (``0001_c1s1_001051_03.jpg``): the test subset of 854 images of 100 people.
Only sums over all people go into a file: a mean, 127 directions and their variances. No image can be made from them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from gallery_db.media.market_names import parse_market_name
from gallery_db.spaces.learning import MAX_DIRECTIONS, PeopleStatistics
from tracking.reid.loader import load_embedder

_MODELS = {
    "osnet_x0_25_msmt17": ("osnet_x0_25_msmt17.onnx", "osnet_x0_25_msmt17.pt"),
    "person-reidentification-retail-0277": ("person-reidentification-retail-0277.xml",),
    "person-reidentification-retail-0287": ("person-reidentification-retail-0287.xml",),
}
_OTHER_EXPORTS = {
    # The file of `gtrack models get osnet_x0_25_msmt17`, by its published hash: another export of the same weights.
    "osnet_x0_25_msmt17": ("e78604f4ccda49b8f41cd0f8f7303800ce75d2361895ebb0729513c1bf53d277",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--into", type=Path, default=Path(__file__).parents[2] / "gallery_db" / "spaces" / "priors")
    arguments = parser.parse_args()
    files = sorted((arguments.data / "reid" / "market1501-test-subset").rglob("*.jpg"))
    names = [parse_market_name(file.name) for file in files]
    people = np.unique([name.person for name in names if name is not None], return_inverse=True)[1]
    crops = [cv2.imread(str(file)) for file in files]
    catalogue = {}
    for name, weights in _MODELS.items():
        embedders = [load_embedder(arguments.data / "weights" / one) for one in weights]
        embeddings = np.concatenate([embedders[0].embed(crops[at : at + 32]) for at in range(0, len(crops), 32)])
        statistics = PeopleStatistics(embeddings, people)
        mean = statistics.mean()
        variances, directions = np.linalg.eigh(statistics.covariance(mean))
        variances, directions = variances[::-1], directions[:, ::-1]
        kept = min(MAX_DIRECTIONS, len(variances))
        np.savez_compressed(
            arguments.into / f"{name}.npz",
            mean=mean.astype(np.float16),
            directions=directions[:, :kept].astype(np.float16),
            variances=variances[:kept].astype(np.float32),
            rest=np.float32(variances[kept:].mean() if kept < len(variances) else 0.0),
        )
        models = [embedder.model for embedder in embedders]
        catalogue[f"{name}.npz"] = {
            "name": f"{name}, Market-1501 test subset",
            "people": statistics.count,
            "sha256": [*(model.sha256 for model in models), *_OTHER_EXPORTS.get(name, ())],
            "preprocessing": models[0].preprocessing,
        }
        print(name, embeddings.shape, (arguments.into / f"{name}.npz").stat().st_size)
    (arguments.into / "catalogue.json").write_text(json.dumps(catalogue, indent=2) + "\n")


if __name__ == "__main__":
    main()
