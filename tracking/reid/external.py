"""The identity of a ReID model that runs outside of gtrack: in another process, in TensorRT, in DeepStream."""

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
    trust_weights: bool = False,
) -> EmbeddingModel:
    """Return the identity of a model whose embeddings gtrack does not compute itself.

    A gallery belongs to one model: one set of weights with one preprocessing. Without `preprocessing`, the model is
    that of gtrack's own embedder for these weights (with the preprocessing of their sidecar, else BoxMOT's standard),
    and a gallery filled by gtrack accepts the embeddings. Use this only if the pipeline prepares its crops in exactly
    that way. Otherwise give its preprocessing; the gallery is then for embeddings with that preprocessing.

    Args:
        weights: The file, or a name that `load_embedder` knows. For a TensorRT engine, give the file that it was built
            from, so that a new engine of the same network is the same model.
        preprocessing: Conversion of a crop to the network's input: a `Preprocessing`, or your own text, which must
            change whenever the conversion changes. None for gtrack's own; the weights are then loaded once.
        dimension: Length D of the embeddings; required with `preprocessing`, otherwise checked.
        models_dir: Folder in which names of weights are looked up first.
        trust_weights: See `load_embedder`; without effect with `preprocessing`.

    Raises:
        OptionError: `preprocessing` is empty or given without a dimension, or the model has another dimension.
        WeightsError: The weights cannot be found, or (without `preprocessing`) cannot be read or run.
        EmbedderError: See `load_embedder`.
    """
    if preprocessing is None:
        embedder = load_embedder(weights, models_dir=models_dir, trust_weights=trust_weights)
        try:
            model = embedder.model
        finally:
            embedder.close()
        if dimension is not None and dimension != model.dimension:
            raise OptionError(
                f"dimension: {model.name} gives embeddings of {model.dimension} values, found {dimension}."
            )
        return model
    text = str(preprocessing).strip()
    if not text:
        raise OptionError("preprocessing: expected a text that describes how crops are prepared, found an empty one.")
    if dimension is None or dimension < 1:
        raise OptionError(
            f"dimension: expected the length of the embeddings of {weights}, at least 1, found {dimension}.",
            hint="With your own preprocessing the weights are not loaded, so give it: dimension=512 for OSNet.",
        )
    if str(weights) == BUILTIN_NAME:
        raise WeightsError("the builtin embedder has a fixed preprocessing: omit `preprocessing`.")
    path = resolve_weights(weights, models_dir)
    return EmbeddingModel(path.name, weights_identity(path), dimension, text, path=str(path.resolve()))
