"""The preprocessing of an nvinfer element, as a text that galleries compare."""

from __future__ import annotations

import configparser
import hashlib
from pathlib import Path

from gallery_db.limits import IMAGE_BYTES, MAX_SIDECAR_BYTES
from gallery_db.regular_files import read_regular, read_regular_text
from tracking.errors import OptionError

__all__ = ["nvinfer_preprocessing"]

_COLORS = {"0": "rgb", "1": "bgr", "2": "gray"}


def nvinfer_preprocessing(config: str | Path) -> str:
    """Return the preprocessing in an nvinfer configuration, for `embedding_model`.

    DeepStream scales crops in its own way, so its embeddings belong to another model than gtrack's embeddings with the
    same weights. The text begins with ``nvinfer``. It changes with everything that changes the network's input (size,
    colours, scale, offsets, padding, filter) and with INT8, and with nothing else.

    Args:
        config: The configuration of a ``process-mode=2`` element: a file with a section ``[property]``.

    Raises:
        OptionError: The file cannot be read, lacks the section or ``infer-dims``, or another element does the
            preprocessing.
    """
    path = Path(config)
    parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=("#",))
    try:
        parser.read_string(read_regular_text(path, MAX_SIDECAR_BYTES))
        found = parser["property"]
    except OSError as error:
        raise OptionError(f"{path}: the nvinfer configuration cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, configparser.Error, KeyError) as error:
        raise OptionError(
            f"{path}: expected an nvinfer configuration, with a section [property].",
            hint="YAML configurations are not supported; describe the preprocessing in a text of your own.",
        ) from error
    if found.get("input-tensor-from-meta", "0").strip() == "1":
        raise OptionError(
            f"{path}: input-tensor-from-meta=1 leaves the preprocessing to nvdspreprocess.",
            hint="Describe the preprocessing in a text of your own.",
        )
    if "infer-dims" not in found:
        raise OptionError(f"{path}: expected infer-dims, such as infer-dims=3;256;128.")
    try:
        _, height, width = (int(value) for value in found["infer-dims"].strip(" ;").split(";"))
        scale = float(found.get("net-scale-factor", "1"))
        offsets = [float(value) for value in found.get("offsets", "").strip(" ;").split(";") if value.strip()]
        color = _COLORS[found.get("model-color-format", "0").strip()]
    except (ValueError, KeyError) as error:
        raise OptionError(
            f"{path}: infer-dims, net-scale-factor, offsets or model-color-format has a wrong value: {error}."
        ) from error
    mean = "0"
    if offsets:
        mean = ",".join(repr(value) for value in offsets)
    elif "mean-file" in found:
        file = path.parent / found["mean-file"].strip()
        try:
            mean = "file:" + hashlib.sha256(read_regular(file, IMAGE_BYTES.value)).hexdigest()[:16]
        except OSError as error:
            raise OptionError(f"{path}: the mean-file {file} cannot be read: {error.strerror or error}.") from error
    padded = found.get("maintain-aspect-ratio", "0").strip() == "1"
    symmetric = found.get("symmetric-padding", "0").strip() == "1"
    parts = [
        f"nvinfer {height}x{width} {color}",
        ("pad-symmetric" if symmetric else "pad") if padded else "stretch",
        f"filter={found.get('scaling-filter', 'default').strip()}",
        f"scale={scale!r} offsets={mean}",
    ]
    if found.get("network-mode", "0").strip() == "1":
        parts.append("int8")
    return " ".join(parts)
