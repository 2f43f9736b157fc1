"""Whether an export may count as the model that its stamp names.

Anyone can write a stamp. It is believed where this machine made it (it carries the seal of
`gallery_db.machine_key`), or where the file is on the list of trusted weights of `tracking.reid.trust`. An export from
another machine gets on that list in two ways: a person names the file with ``trust_weights=True``, or the original
weights are at hand, and both give the same embeddings. Any other export is a model of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db.logs import get_logger
from tracking.errors import EmbedderError, WeightsError
from tracking.reid.cache import openvino_xml
from tracking.reid.drawn_crops import drawn_crops
from tracking.reid.model_description import stamp_counts
from tracking.reid.stamp import Stamp, read_stamp
from tracking.reid.trust import remember_trust
from tracking.reid.weights import find_weights_by_hash

if TYPE_CHECKING:
    from tracking.reid.base import NetworkEmbedder

__all__ = ["decide_claim"]

_log = get_logger("reid")


def decide_claim(
    path: Path,
    *,
    consent: bool,
    models_dir: Path,
    load: Callable[[Path], NetworkEmbedder],
    notify: Callable[[str], None],
) -> None:
    """Decide, before weights are loaded, whether a stamp that another machine made is believed from now on.

    Args:
        path: The weights.
        consent: Whether a person named this very file and said that it is to be trusted.
        models_dir: Where the original weights are looked for, besides the cache.
        load: Loads weights; used for the comparison.
        notify: Called with a sentence for the user.
    """
    stamp = read_stamp(path)
    if stamp is None or not (stamp.sealed and stamp.same_space) or stamp_counts(path, stamp):
        return
    if consent:
        remember_trust(openvino_xml(path))
        return
    original = find_weights_by_hash(stamp.source_sha256, None, models_dir)
    if original is not None and _has_parity(path, original, stamp, load):
        remember_trust(openvino_xml(path))
        notify(f"{path} gives the same embeddings as {original}: galleries accept it as that model from now on.")
        return
    differs = "" if original is None else f", and its embeddings differ from those of {original}"
    compare = "" if original is not None else f", or place {stamp.source!r} in {models_dir}, so that both are compared"
    notify(
        f"{path} says that it is an export of {stamp.source!r}, but it was not made on this machine{differs}: it "
        "counts as a model of its own. If you trust its author, give its path as the weights, with "
        f"`trust_weights=True`: once{compare}."
    )


def _has_parity(path: Path, original: Path, stamp: Stamp, load: Callable[[Path], NetworkEmbedder]) -> bool:
    """Whether an export and its original give the same embeddings for the crops that gtrack draws."""
    from tracking.reid.conversion import PARITY

    try:
        with load(original) as expected, load(path) as found:
            if expected.preprocessing != found.preprocessing or expected.model.sha256 != stamp.source_sha256:
                return False
            crops = drawn_crops()
            one, other = expected.embed(crops), found.embed(crops)
    except (WeightsError, EmbedderError) as error:
        _log.info("%s cannot be compared with %s: %s", path, original, error.message)
        return False
    return one.shape == other.shape and float((one * other).sum(axis=1).min()) >= PARITY
