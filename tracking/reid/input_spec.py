"""What turns an image crop into a ReID network's input, as a value that can be compared and written down."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracking.errors import WeightsError

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INTERPOLATIONS",
    "Preprocessing",
    "Sidecar",
    "default_preprocessing",
    "read_sidecar",
    "resolve_preprocessing",
    "sidecar_path",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("nearest", "linear", "cubic", "area")

_COLORS = ("rgb", "bgr")
_RESIZES = ("stretch", "pad")
_TALL = ("lmbn", "csl_tinyvit", "mobilenetv4", "hi_afa")
_VEHICLES = ("veri", "vehicleid")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a BGR uint8 crop becomes one (3, height, width) float32 network input.

    The crop is resized, its channels put in order, and each value v of channel c becomes
    ``(v * scale - mean[c]) / std[c]``.

    Attributes:
        height: Rows of the input, pixels, at least 1.
        width: Columns of the input, pixels, at least 1.
        color: Order of the channels: ``"rgb"`` or ``"bgr"``.
        scale: Factor on the 0-255 pixel values; 1/255 puts them in [0, 1].
        mean: Three values in the order of `color`, after `scale`.
        std: Three positive values in the order of `color`, after `scale`.
        interpolation: One of `INTERPOLATIONS`.
        resize: ``"stretch"`` to the whole input, or ``"pad"``: keep the aspect ratio, centre, and
            fill the rest with the mean colour.

    Raises:
        ValueError: A value outside these ranges.
    """

    height: int = 256
    width: int = 128
    color: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "linear"
    resize: str = "stretch"

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, found {getattr(self, name)}")
        for name, allowed in (("color", _COLORS), ("interpolation", INTERPOLATIONS), ("resize", _RESIZES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, found {getattr(self, name)!r}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale: expected a positive number, found {self.scale}")
        if len(self.mean) != 3 or not all(map(math.isfinite, self.mean)):
            raise ValueError(f"mean: expected three numbers, found {self.mean}")
        if len(self.std) != 3 or not all(math.isfinite(value) and value > 0 for value in self.std):
            raise ValueError(f"std: expected three positive numbers, found {self.std}")

    def __str__(self) -> str:
        """The canonical text: equal texts mean equal preprocessing. Stored with every embedding."""
        mean, std = (",".join(repr(float(value)) for value in values) for values in (self.mean, self.std))
        return (
            f"{self.height}x{self.width} {self.color} {self.resize} {self.interpolation} "
            f"scale={float(self.scale)!r} mean={mean} std={std}"
        )


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What ``<weights>.gtrack.json`` says: preprocessing fields, and the architecture of a ``.pt``.

    Attributes:
        path: The sidecar file.
        fields: The `Preprocessing` fields that it names.
        arch: The architecture's name, if it gives one.
    """

    path: Path
    fields: Mapping[str, Any]
    arch: str | None = None


def default_preprocessing(name: str) -> Preprocessing:
    """BoxMOT's standard preprocessing for weights of this name.

    RGB, [0, 1], ImageNet mean and standard deviation, stretched bilinearly to 256 x 128 (height x
    width); 256 x 256 for vehicle models, 384 x 128 and 160 x 64 for the architectures trained so.

    Args:
        name: File name or architecture; upper and lower case are the same.
    """
    name = name.lower()
    if any(part in name for part in _VEHICLES):
        return Preprocessing(256, 256)
    if any(part in name for part in _TALL):
        return Preprocessing(384, 128)
    if "hacnn" in name:
        return Preprocessing(160, 64)
    return Preprocessing()


def sidecar_path(weights: Path) -> Path:
    """Where the sidecar of these weights lies: ``<weights>.gtrack.json`` beside them."""
    return weights.with_name(weights.name + ".gtrack.json")


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected a whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("expected a number")
    return float(value)


def _three(value: Any) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("expected a list of three numbers")
    first, second, third = (_number(item) for item in value)
    return first, second, third


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a text")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "height": _integer,
    "width": _integer,
    "color": _text,
    "scale": _number,
    "mean": _three,
    "std": _three,
    "interpolation": _text,
    "resize": _text,
    "arch": _text,
}


def read_sidecar(weights: Path) -> Sidecar | None:
    """Read ``<weights>.gtrack.json``, or return None where there is none.

    All keys are optional: ``height``, ``width`` (whole numbers), ``color``, ``interpolation``,
    ``resize``, ``arch`` (texts), ``scale`` (a number), ``mean``, ``std`` (lists of three numbers);
    meanings as in `Preprocessing`.

    Raises:
        WeightsError: Not a JSON object, an unknown key, or a value of the wrong type or range.
    """
    path = sidecar_path(weights)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a JSON object, found {type(content).__name__}")
    fields: dict[str, Any] = {}
    for key, value in content.items():
        if key == "export":  # See tracking.reid.stamp.
            continue
        if key not in _READERS:
            raise WeightsError(f"{path}: unknown key {key!r}", hint=f"Known keys: {', '.join(_READERS)}.")
        try:
            fields[key] = _READERS[key](value)
        except ValueError as error:
            raise WeightsError(f"{path}: {key}: {error}, found {json.dumps(value)}") from None
    arch = fields.pop("arch", None)
    try:
        Preprocessing(**fields)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None
    return Sidecar(path, fields, arch)


def resolve_preprocessing(weights: Path, fixed_size: tuple[int, int] | None = None) -> Preprocessing:
    """The preprocessing for a weights file: its sidecar, over the model's own input size, over an export's stamp, over
    the defaults.

    Args:
        weights: The weights file; its name decides the defaults.
        fixed_size: (height, width) where the model's input has them fixed.

    Raises:
        WeightsError: A bad sidecar, or one that contradicts the model's fixed input size.
    """
    from tracking.reid.stamp import read_stamp

    sidecar = read_sidecar(weights)
    fields = sidecar.fields if sidecar else {}
    stamp = read_stamp(weights)
    defaults = (
        stamp.preprocessing
        if stamp
        else default_preprocessing(f"{sidecar.arch if sidecar and sidecar.arch else ''} {weights.name}")
    )
    if fixed_size is None:
        return replace(defaults, **fields)
    for key, size in zip(("height", "width"), fixed_size, strict=True):
        if sidecar and fields.get(key, size) != size:
            raise WeightsError(
                f"{sidecar.path}: {key}: the model {weights.name} has {size} fixed in its input, found {fields[key]}",
                hint=f"Remove {key} from the sidecar, or export the model for that size.",
            )
    return replace(defaults, **{**fields, "height": fixed_size[0], "width": fixed_size[1]})
