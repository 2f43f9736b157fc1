"""The identity of a ReID model that computes somewhere else: in another process, in TensorRT, in DeepStream."""

from __future__ import annotations

from pathlib import Path

from gallery_db.model import EmbeddingModel
from tracking.errors import OptionError, WeightsError
from tracking.reid.builtin import BUILTIN_NAME
from tracking.reid.input_spec import Preprocessing
from tracking.reid.loader import load_embedder
from tracking.reid.model_description import weights_identity
from tracking.reid.weights import resolve_weights

__all__ = ["embedding_model"]


def embedding_model(
    weights: str | Path,
    *,
    preprocessing: Preprocessing | str | None = None,
    dimension: int | None = None,
    models_dir: str | Path = "models",
) -> EmbeddingModel:
    """Say which model made embeddings that gtrack did not compute itself.

    A gallery belongs to one model: the same weights, fed in the same way. Without `preprocessing` it is what gtrack's
    own embedder would be for these weights (their sidecar, else BoxMOT's standard), and a gallery that gtrack filled
    takes the embeddings. Say so only where the pipeline prepares its crops just so. Otherwise give its preprocessing;
    the gallery is then one for embeddings that were made that way.

    Args:
        weights: The file, or a name that `load_embedder` knows. Of a TensorRT engine, the file that it was built from:
            so a new engine of the same network is the same model.
        preprocessing: What turns a crop into the network's input: a `Preprocessing`, or a text of your own that changes
            whenever anything of it does. None for gtrack's own; the weights are then loaded once, to ask.
        dimension: Length D of the embeddings; needed with `preprocessing`, checked otherwise.
        models_dir: Where names of weights are looked up first.

    Raises:
        OptionError: A `preprocessing` without a dimension, an empty one, or a dimension that the model does not have.
        WeightsError: The weights cannot be found, or (without `preprocessing`) not be read or run.
        EmbedderError: See `load_embedder`.
    """
    if preprocessing is None:
        embedder = load_embedder(weights, models_dir=models_dir)
        try:
            model = embedder.model
        finally:
            embedder.close()
        if dimension is not None and dimension != model.dimension:
            raise OptionError(
                f"dimension: {model.name} makes embeddings of {model.dimension} numbers, found {dimension}."
            )
        return model
    text = str(preprocessing).strip()
    if not text:
        raise OptionError("preprocessing: expected a text that says how crops are prepared, found an empty one.")
    if dimension is None or dimension < 1:
        raise OptionError(
            f"dimension: expected the length of the embeddings of {weights}, at least 1, found {dimension}.",
            hint="With a preprocessing of your own the weights are not loaded, so say it: dimension=512 for OSNet.",
        )
    if str(weights) == BUILTIN_NAME:
        raise WeightsError("builtin has its preprocessing built in: leave `preprocessing` out.")
    path = resolve_weights(weights, models_dir)
    return EmbeddingModel(path.name, weights_identity(path), dimension, text, path=str(path.resolve()))
