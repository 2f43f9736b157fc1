"""The embedder that needs no weights: colour and texture over the horizontal stripes of a person.

It is there so that everything runs without a download, and it is no match for a trained network.
People in different clothes it tells apart, people in the same clothes it does not.

The ideas are published ones, put together and cut down to about a thousand numbers:

- horizontal stripes, since people in a crop stand upright (Gray and Tao, ECCV 2008), here soft ones;
- a Gaussian weight across the crop, for the person is in the middle and the background at the sides
  (Farenzena et al., CVPR 2010, SDALF; Zheng et al., ICCV 2015, the Market-1501 baseline);
- soft assignment of each pixel's colour to fixed prototypes in CIELAB, as colour names have it (van
  de Weijer et al., TIP 2009);
- SILTP, a local ternary pattern that bears shadows (Liao et al., CVPR 2010; LOMO, CVPR 2015), here
  as pairs of neighbours across the centre, and histograms of gradient orientation;
- a constant taken off, what grey clothes share, so that strangers come apart (Jegou and Chum, ECCV
  2012, on negative evidence), here computed from the prototypes and not from images;
- square roots of histograms, which make the cosine the Bhattacharyya coefficient (Arandjelovic and
  Zisserman, CVPR 2012, RootSIFT).

No number here was learned from data; a handful of hyper-parameters were chosen on Market-1501 test images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.model import EmbeddingModel
from tracking.errors import EmbedderError

__all__ = ["BUILTIN_NAME", "BUILTIN_SHA256", "BuiltinEmbedder"]

BUILTIN_NAME = "builtin"

# Whoever changes an output changes this: vectors of two versions must never be compared.
_VERSION = "gtrack builtin embedder 1"
BUILTIN_SHA256 = hashlib.sha256(_VERSION.encode()).hexdigest()

_HEIGHT, _WIDTH = 128, 64
_STRIPES = 8
_STRIPE_SIGMA = 0.5  # of a stripe's height: neighbours overlap
_CENTRE_SIGMA = 0.18  # of the width
_LUMINANCE = 110.0  # that a crop is brought towards,
_ADAPTATION = 0.8  # by this power of what is missing: all of it would lose black and white clothes
_LEVELS = 4  # of lightness
_CHROMA_STEP = 18.0  # CIELAB units
_CHROMA_STEPS = 2  # on either side of grey
_COLOR_SIGMA = 0.45  # steps
_NEAREST = 4  # prototypes that one colour may belong to
_BITS = 5  # per channel when looking a colour up
_ORIENTATIONS = 8
_SCALES = (1.0, 2.0)  # pixels
_TERNARY_RADIUS = 3
_TERNARY_TOLERANCE = 0.2
_TERNARY_NOISE = 2.0
_TERNARY_FLAT = 0.5  # share of pairs in which neither neighbour differs, in the constant
_WEIGHTS = (1.0, 0.45, 0.35)  # of colour, gradients, ternary patterns
_COMMON_CHROMA = 0.6  # steps from grey in which a colour becomes e times rarer, in the constant
_COMMON_SHARE = 0.8  # of the constant that is taken off


@cache
def _prototypes() -> NDArray[np.float32]:
    """(C, 3) colour prototypes in CIELAB, in steps: lightness from 0, chroma around 0."""
    steps = _to_steps(_quantised_colors())
    offset = np.array([0.5, 0.0, 0.0], dtype=np.float32)
    prototypes: NDArray[np.float32] = (np.unique(np.rint(steps - offset), axis=0) + offset).astype(np.float32)
    near: NDArray[np.bool_] = np.abs(prototypes[:, 1:]).max(axis=1) <= _CHROMA_STEPS
    return prototypes[near]


def _quantised_colors() -> NDArray[np.float32]:
    """(32^3, 3) the middle of each cell of BGR colours, in [0, 1]."""
    levels = ((np.arange(1 << _BITS) + 0.5) / (1 << _BITS)).astype(np.float32)
    return np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)


def _to_steps(bgr: NDArray[np.float32]) -> NDArray[np.float32]:
    import cv2

    lab = np.asarray(cv2.cvtColor(bgr[:, None], cv2.COLOR_BGR2Lab), dtype=np.float32).reshape(-1, 3)
    steps = np.array([100.0 / _LEVELS, _CHROMA_STEP, _CHROMA_STEP], dtype=np.float32)
    return np.asarray(lab / steps, dtype=np.float32)


@cache
def _color_table() -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each of 32^3 BGR colours, its nearest prototypes (32^3, 4) and their weights (32^3, 4)."""
    steps, prototypes = _to_steps(_quantised_colors()), _prototypes()
    squared = ((steps[:, None] - prototypes[None]) ** 2).sum(axis=2)
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :_NEAREST]
    chosen = np.take_along_axis(squared, nearest, axis=1)
    # Relative to the nearest, so that colours far from every prototype still belong to one.
    weights = np.exp(-(chosen - chosen[:, :1]) / (2 * _COLOR_SIGMA**2))
    weights /= weights.sum(axis=1, keepdims=True)
    return nearest.astype(np.int32), weights.astype(np.float32)


@cache
def _common() -> NDArray[np.float64]:
    """(D,) the constant: greys of every lightness, all orientations alike, mostly flat patterns."""
    color = np.exp(-np.hypot(*_prototypes()[:, 1:].T.astype(np.float64)) / _COMMON_CHROMA)
    ternary = np.full(9, (1 - _TERNARY_FLAT) / 8)
    ternary[0] = _TERNARY_FLAT
    bins = (color, np.ones(_ORIENTATIONS * len(_SCALES)), np.tile(ternary, 2))
    parts = [weight * _root(np.tile(part, (_STRIPES, 1))) for weight, part in zip(_WEIGHTS, bins, strict=True)]
    vector = np.concatenate(parts)
    result: NDArray[np.float64] = _COMMON_SHARE * vector / np.linalg.norm(vector)
    return result


@cache
def _centre_weights() -> NDArray[np.float32]:
    """(W,) weights across the crop, of sum 1."""
    x = (np.arange(_WIDTH) - (_WIDTH - 1) / 2) / _WIDTH
    weights = np.exp(-0.5 * (x / _CENTRE_SIGMA) ** 2)
    result: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return result


@cache
def _stripe_weights() -> NDArray[np.float32]:
    """(S, H) weights of the rows in each stripe."""
    centres = (np.arange(_STRIPES) + 0.5) * _HEIGHT / _STRIPES
    rows = np.arange(_HEIGHT) + 0.5
    sigma = _STRIPE_SIGMA * _HEIGHT / _STRIPES
    weights: NDArray[np.float32] = np.exp(-0.5 * ((rows[None] - centres[:, None]) / sigma) ** 2).astype(np.float32)
    return weights


@cache
def _row_bins(bins: int) -> NDArray[np.int64]:
    """(H, 1) first bin of each row, to make one histogram a row with a single bincount."""
    return np.arange(_HEIGHT, dtype=np.int64)[:, None] * bins


def _stripe_histogram(codes: Any, weights: Any, bins: int) -> NDArray[np.float64]:
    """Weighted histogram (S, bins) of codes (H, W) over soft stripes."""
    rows = np.bincount((codes + _row_bins(bins)).ravel(), weights=weights.ravel(), minlength=_HEIGHT * bins)
    return np.asarray(_stripe_weights() @ rows.reshape(_HEIGHT, bins), dtype=np.float64)


def _root(histogram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of a histogram of sum 1, as a flat vector of unit L2 norm; zero stays zero."""
    total = histogram.sum()
    return np.asarray(np.sqrt(histogram / (total if total > 0 else 1.0)), dtype=np.float64).ravel()


def _colors(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    (nearest, weights), count = _color_table(), len(_prototypes())
    index = (image >> (8 - _BITS)).astype(np.int32)
    index = (index[..., 0] << (2 * _BITS)) | (index[..., 1] << _BITS) | index[..., 2]
    belongs = weights[index] * _centre_weights()[None, :, None]
    prototypes = nearest[index]
    histogram = _stripe_histogram(prototypes[..., 0], belongs[..., 0], count)
    for rank in range(1, _NEAREST):
        histogram += _stripe_histogram(prototypes[..., rank], belongs[..., rank], count)
    return _root(histogram)


def _gradients(cv2: Any, gray: NDArray[np.float32]) -> NDArray[np.float64]:
    logarithm = np.log1p(gray)
    histograms = []
    for sigma in _SCALES:
        smooth = cv2.GaussianBlur(logarithm, (0, 0), sigma)
        dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3)
        magnitude, angle = cv2.cartToPolar(dx, dy)
        magnitude *= _centre_weights()
        # Light on dark and dark on light are one orientation.
        position = angle * np.float32(_ORIENTATIONS / np.pi)
        lower = position.astype(np.int64)
        share = (position - lower) * magnitude
        histogram = _stripe_histogram(lower % _ORIENTATIONS, magnitude - share, _ORIENTATIONS)
        histograms.append(histogram + _stripe_histogram((lower + 1) % _ORIENTATIONS, share, _ORIENTATIONS))
    return _root(np.concatenate(histograms, axis=1))


def _ternary(cv2: Any, gray: NDArray[np.float32]) -> NDArray[np.float64]:
    r = _TERNARY_RADIUS
    padded = cv2.copyMakeBorder(gray, r, r, r, r, cv2.BORDER_REFLECT_101)
    upper = gray * np.float32(1 + _TERNARY_TOLERANCE) + np.float32(_TERNARY_NOISE)
    lower = gray * np.float32(1 - _TERNARY_TOLERANCE) - np.float32(_TERNARY_NOISE)
    weights = np.broadcast_to(_centre_weights(), gray.shape)

    def digit(dy: int, dx: int) -> Any:
        neighbour = padded[r + dy : r + dy + _HEIGHT, r + dx : r + dx + _WIDTH]
        return (neighbour > upper).astype(np.int64) + 2 * (neighbour < lower)

    pairs = (digit(0, -r) * 3 + digit(0, r), digit(-r, 0) * 3 + digit(r, 0))
    return _root(np.concatenate([_stripe_histogram(pair, weights, 9) for pair in pairs], axis=1))


def _describe(cv2: Any, crop: NDArray[np.uint8]) -> NDArray[np.float64]:
    shrinks = crop.shape[0] > _HEIGHT and crop.shape[1] > _WIDTH
    image = cv2.resize(crop, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    mean = float(image.mean(axis=(0, 2)) @ _centre_weights())
    gain = (_LUMINANCE / max(mean, 1.0)) ** _ADAPTATION
    adapted = cv2.convertScaleAbs(image, alpha=gain)
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    parts = (_colors(adapted), _gradients(cv2, gray), _ternary(cv2, gray))
    vector = np.concatenate([weight * part for weight, part in zip(_WEIGHTS, parts, strict=True)])
    # Never zero: both are of unit length, and less than the whole constant is taken off.
    vector = vector / np.linalg.norm(vector) - _common()
    result: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return result


class BuiltinEmbedder:
    """Colour and texture of horizontal stripes; no weights, no network, a CPU.

    On Market-1501 test images (100 people), half of the cosine distances between images of one person in
    two cameras lie under 0.24, half of those between strangers under 0.54, and a twentieth under 0.25.
    """

    def __init__(self) -> None:
        self.notices: list[str] = []
        dimension = _STRIPES * (len(_prototypes()) + _ORIENTATIONS * len(_SCALES) + 18)
        self._model = EmbeddingModel(
            name=BUILTIN_NAME,
            sha256=BUILTIN_SHA256,
            dimension=dimension,
            preprocessing=f"{_HEIGHT}x{_WIDTH} bgr stretch area",
        )

    @property
    def model(self) -> EmbeddingModel:
        """The identity under which the vectors are stored; its hash is that of the descriptor's version."""
        return self._model

    @property
    def device(self) -> str:
        """Always ``"cpu"``."""
        return "cpu"

    @property
    def runtime(self) -> str:
        """Always ``"builtin"``."""
        return "builtin"

    @property
    def half(self) -> bool:
        """Always False."""
        return False

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Describe image crops.

        Args:
            crops: N images, each (H, W, 3) uint8 in BGR order, at least 1 x 1; views are fine.

        Returns:
            (N, D) float32, each row of unit L2 norm; (0, D) for no crops.

        Raises:
            EmbedderError: A crop of another form.
        """
        import cv2

        result = np.empty((len(crops), self._model.dimension), dtype=np.float32)
        for index, crop in enumerate(crops):
            if crop.ndim != 3 or crop.shape[2] != 3 or crop.dtype != np.uint8 or 0 in crop.shape:
                raise EmbedderError(
                    f"crop {index}: expected a (H, W, 3) uint8 image of at least 1 x 1, found {crop.shape} {crop.dtype}"
                )
            result[index] = _describe(cv2, crop)
        return result

    def close(self) -> None:
        """Nothing to let go of; here so that embedders are alike."""
