"""The preprocessing that turns an image crop into a ReID network's input, as a value to compare and to store."""

from __future__ import annotations

from dataclasses import dataclass

from tracking.json_stream import show

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "INTERPOLATIONS",
    "MAX_INPUT_SIDE",
    "Preprocessing",
    "default_preprocessing",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("nearest", "linear", "cubic", "area")
MAX_INPUT_SIDE = 2048
"""Largest height and width of a ReID network's input, in pixels. Known networks have up to 518; a batch of 8 crops of
this size takes 400 MB."""
_COLORS = ("rgb", "bgr")
_RESIZES = ("stretch", "pad")
_TALL_INPUTS = ("lmbn", "csl_tinyvit", "mobilenetv4", "hi_afa")
_VEHICLE_DATASETS = ("veri", "vehicleid")
# Pixel values, means and deviations stand in float32; within these limits their arithmetic is finite.
_SMALLEST, _LARGEST = 1e-9, 1e9


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Conversion of a BGR uint8 crop to one (3, height, width) float32 network input.

    The crop is resized, its channels are put in order, and each value v of channel c becomes
    ``(v * scale - mean[c]) / std[c]``.

    Attributes:
        height: Height of the input in pixels, 1 to `MAX_INPUT_SIDE`.
        width: Width of the input in pixels, 1 to `MAX_INPUT_SIDE`.
        color: Order of the channels: ``"rgb"`` or ``"bgr"``.
        scale: Factor for the pixel values from 0 to 255; 1/255 maps them to [0, 1].
        mean: Three values in the order of `color`, after `scale`.
        std: Three positive values in the order of `color`, after `scale`.
        interpolation: One of `INTERPOLATIONS`.
        resize: ``"stretch"`` to the whole input, or ``"pad"``: keep the aspect ratio, centre the crop, and fill the
            rest with the mean colour.

    Raises:
        ValueError: A value is out of its range.
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
            side = getattr(self, name)
            if type(side) is not int or not 1 <= side <= MAX_INPUT_SIDE:
                raise ValueError(f"{name}: expected whole pixels, 1 to {MAX_INPUT_SIDE}, found {show(side)}")
        for name, allowed in (("color", _COLORS), ("interpolation", INTERPOLATIONS), ("resize", _RESIZES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, found {show(getattr(self, name))}")
        if not _SMALLEST <= self.scale <= _LARGEST:
            raise ValueError(
                f"scale: expected a positive number, {_SMALLEST:g} to {_LARGEST:g}, found {show(self.scale)}"
            )
        if len(self.mean) != 3 or not all(abs(value) <= _LARGEST for value in self.mean):
            raise ValueError(f"mean: expected three numbers up to {_LARGEST:g}, found {show(self.mean)}")
        if len(self.std) != 3 or not all(_SMALLEST <= value <= _LARGEST for value in self.std):
            raise ValueError(
                f"std: expected three positive numbers, {_SMALLEST:g} to {_LARGEST:g}, found {show(self.std)}"
            )

    def __str__(self) -> str:
        """Return the canonical text, which is stored with a gallery's model: equal texts mean equal preprocessing."""
        mean, std = (",".join(repr(float(value)) for value in values) for values in (self.mean, self.std))
        return (
            f"{self.height}x{self.width} {self.color} {self.resize} {self.interpolation} "
            f"scale={float(self.scale)!r} mean={mean} std={std}"
        )


def default_preprocessing(name: str) -> Preprocessing:
    """Return BoxMOT's standard preprocessing for weights of this name.

    RGB in [0, 1], ImageNet mean and standard deviation, bilinear stretching to 256 x 128 (height x width). The size is
    256 x 256 for vehicle models, and 384 x 128 or 160 x 64 for architectures that were trained with these sizes.

    Args:
        name: File name or architecture, in upper or lower case.
    """
    name = name.lower()
    if any(part in name for part in _VEHICLE_DATASETS):
        return Preprocessing(256, 256)
    if any(part in name for part in _TALL_INPUTS):
        return Preprocessing(384, 128)
    if "hacnn" in name:
        return Preprocessing(160, 64)
    return Preprocessing()
