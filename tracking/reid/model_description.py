"""What a model file says about itself: the sidecar beside it, then the stamp of an export in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tracking.errors import WeightsError
from tracking.models.reading import reading_of
from tracking.reid.cache import openvino_xml, weights_sha256
from tracking.reid.input_spec import Preprocessing, default_preprocessing
from tracking.reid.sidecar import Sidecar, read_sidecar
from tracking.reid.stamp import Stamp, read_stamp
from tracking.reid.trust import is_trusted

__all__ = ["ModelDescription", "describe_model", "resolve_preprocessing", "stamp_counts", "weights_identity"]


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a weights file says about itself.

    Attributes:
        weights: The file, or an OpenVINO folder.
        sidecar: What the user states beside it, or the catalogue of published models about it; None if neither.
        stamp: What gtrack's export wrote into it (or, for formats that hold no stamp, into its sidecar); None if it is
            not such an export.
    """

    weights: Path
    sidecar: Sidecar | None
    stamp: Stamp | None

    def preprocessing(self, fixed_size: tuple[int, int] | None = None) -> Preprocessing:
        """Return the preprocessing. Of each field the first known value counts.

        The order is: the model's fixed input size, the sidecar, the stamp, BoxMOT's defaults for the file's name.

        Args:
            fixed_size: (height, width) if the model's input has a fixed size.

        Raises:
            WeightsError: The sidecar contradicts the fixed input size, or no input can have that size.
        """
        sidecar, weights = self.sidecar, self.weights
        fields = sidecar.fields if sidecar else {}
        defaults = (
            self.stamp.preprocessing
            if self.stamp
            else default_preprocessing(f"{sidecar.arch if sidecar and sidecar.arch else ''} {weights.name}")
        )
        if fixed_size is None:
            return replace(defaults, **fields)
        for key, size in zip(("height", "width"), fixed_size, strict=True):
            if sidecar and fields.get(key, size) != size:
                raise WeightsError(
                    f"{sidecar.path}: {key}: the input of the model {weights.name} is fixed to {size}, "
                    f"found {fields[key]}.",
                    hint=f"Remove {key} from the sidecar, or export the model for that size.",
                )
        try:
            return replace(defaults, **{**fields, "height": fixed_size[0], "width": fixed_size[1]})
        except ValueError as error:
            raise WeightsError(f"{weights}: the input of the model: {error}.") from None


def describe_model(weights: Path) -> ModelDescription:
    """Read what a weights file says about itself: its sidecar (else what the catalogue knows), then its stamp.

    Raises:
        WeightsError: The sidecar cannot be read, or a value in it is wrong.
    """
    sidecar = read_sidecar(weights)
    if sidecar is None and (reading := reading_of(openvino_xml(weights))):
        sidecar = Sidecar(weights, reading)
    return ModelDescription(weights, sidecar, read_stamp(weights))


def resolve_preprocessing(weights: Path, fixed_size: tuple[int, int] | None = None) -> Preprocessing:
    """Return the preprocessing of a weights file; see `ModelDescription.preprocessing`.

    Raises:
        WeightsError: The sidecar is damaged, or contradicts the model's fixed input size.
    """
    return describe_model(weights).preprocessing(fixed_size)


def stamp_counts(weights: Path, stamp: Stamp) -> bool:
    """Return whether a model counts as the one that its stamp names.

    The stamp must be intact and say that the embeddings are those of the source, and this machine must have made it or
    trust the file.
    """
    return stamp.sealed and stamp.same_space and (stamp.own or is_trusted(openvino_xml(weights)))


def weights_identity(weights: Path) -> str:
    """Return the SHA-256 under which galleries know a model.

    It is the hash of the source's weights for an export whose stamp counts, and the file's own hash for any other file.

    Raises:
        WeightsError: The file cannot be read.
    """
    stamp = read_stamp(weights)
    if stamp is not None and stamp_counts(weights, stamp):
        return stamp.source_sha256
    return weights_sha256(weights)
