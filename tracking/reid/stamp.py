"""The stamp of an exported model: the weights it was exported from, and its preprocessing.

A gallery knows its model by the hash of the weights, and an export is another file with another hash. Therefore
`tracking.reid.export.exporter` compares an export with its source and writes the result into it: as ONNX
``metadata_props``, as a file in the TorchScript archive, as ``rt_info`` in OpenVINO's XML; for TensorRT engines and
TFLite models, into the sidecar. An export with a valid stamp counts as its source.

Other tools change a model and keep its metadata (ONNX Runtime's quantisation does). A stamp is therefore sealed with a
hash of everything else in the file. A file that was changed after its comparison is a model of its own.

Anyone can write a stamp for any model. A stamp therefore also carries the seal of the machine that made it
(`gallery_db.machine_key`); `tracking.reid.claims` says what becomes of stamps from other machines.
"""

from __future__ import annotations

import hashlib
import html
import json
import math
import os
import re
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gallery_db.atomic_files import atomic_path
from gallery_db.limits import MAX_SIDECAR_BYTES, MAX_STAMP_BYTES, MAX_TEXT_BYTES
from gallery_db.machine_key import is_sealed_here, seal
from gallery_db.regular_files import feed_digest, open_regular, read_regular_text
from tracking.errors import WeightsError
from tracking.reid.cache import openvino_xml, weights_sha256
from tracking.reid.input_spec import Preprocessing
from tracking.reid.sidecar import PREPROCESSING_PARSERS, sidecar_path

__all__ = ["OPENVINO_EMPTY", "OPENVINO_KEYS", "STAMP_KEY", "Stamp", "read_stamp", "write_stamp"]

STAMP_KEY = "gtrack.export"
"""Key of the stamp in ONNX's metadata, in a TorchScript archive's extra files, and (``export``) in a sidecar."""
OPENVINO_KEYS = ("gtrack", "export")
"""Path of the stamp in OpenVINO's ``rt_info``."""
OPENVINO_EMPTY = "none"
"""The value at that path in a model that is saved but not stamped yet."""

_VERSION = 1
_PURPOSE = "reid-export"
_MACHINE = "machine"
"""Key of the machine's seal in a stamp."""
_STAMPED_BY_SIDECAR = (".engine", ".tflite")
_STAMP_IN_XML = re.compile(r'(<gtrack>\s*<export value=")([^"]*)("\s*/>\s*</gtrack>)')


@dataclass(frozen=True, slots=True)
class Stamp:
    """Facts about an exported model.

    Attributes:
        source: File name of the weights that it was exported from.
        source_sha256: SHA-256 under which galleries know these weights.
        same_space: Whether its embeddings were found to equal the source's.
        cosine_min: Smallest cosine similarity between both models' embeddings of one crop.
        dimension: Length of the embeddings.
        preprocessing: The source's preprocessing.
        precision: ``"fp32"`` or ``"fp16"``.
        gtrack: Version of gtrack that made it.
        batch: Its fixed batch size, where the file itself does not state it; None if it accepts any.
        sealed: Whether the file is unchanged since the stamp was written.
        own: Whether this machine wrote the stamp.
    """

    source: str
    source_sha256: str
    same_space: bool
    cosine_min: float
    dimension: int
    preprocessing: Preprocessing
    precision: str
    gtrack: str
    batch: int | None = None
    sealed: bool = False
    own: bool = field(default=False, compare=False)


def _serialise(stamp: Stamp, **facts: Any) -> str:
    fields = {"version": _VERSION, **asdict(stamp), **facts}
    del fields["sealed"], fields["own"]
    machine = seal(_PURPOSE, _canonical(fields))
    if machine is not None:
        fields[_MACHINE] = machine
    return json.dumps(fields, allow_nan=False)


def _canonical(fields: dict[str, Any]) -> str:
    """Return what the machine's seal is made of: the stamp and the hash of the model, without that seal."""
    return json.dumps({key: value for key, value in fields.items() if key != _MACHINE}, sort_keys=True)


def _parse(content: Any) -> tuple[Stamp, dict[str, Any]] | None:
    """Return the stamp, with `sealed` False, and its raw fields; None for other contents and later versions."""
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        return None
    try:
        fields = {key: PREPROCESSING_PARSERS[key](value) for key, value in content["preprocessing"].items()}
        stamp = Stamp(
            source=str(content["source"]),
            source_sha256=str(content["source_sha256"]),
            same_space=content["same_space"] is True,
            cosine_min=float(content["cosine_min"]),
            dimension=int(content["dimension"]),
            preprocessing=Preprocessing(**fields),
            precision=str(content["precision"]),
            gtrack=str(content["gtrack"]),
            batch=int(content["batch"]) if content.get("batch") else None,
            own=is_sealed_here(_PURPOSE, _canonical(content), content.get(_MACHINE)),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(stamp.cosine_min) or not re.fullmatch("[0-9a-f]{64}", stamp.source_sha256):
        return None
    return stamp, content


def _sha256(path: Path, size: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first `size` bytes."""
    digest = hashlib.sha256()
    feed_digest(digest, path, size)
    return digest.hexdigest()


# ONNX: a protobuf message can be extended by appending bytes to its file. The stamp is at the end, after the model, and
# is read without the onnx package.


def _protobuf_field(tag: int, payload: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    size, length = len(payload), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([tag]) + length + bytes([size]) + payload


def _onnx_entry(value: str) -> bytes:
    """Return one entry of ModelProto.metadata_props, field 14: key and value."""
    return _protobuf_field(0x72, _protobuf_field(0x0A, STAMP_KEY.encode()) + _protobuf_field(0x12, value.encode()))


def _write_onnx(path: Path, stamp: Stamp) -> None:
    entry = _onnx_entry(_serialise(stamp, bytes=path.stat().st_size, sha256=_sha256(path)))
    with path.open("ab") as stream:
        stream.write(entry)


def _read_onnx(path: Path) -> Stamp | None:
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - MAX_STAMP_BYTES))
        tail = stream.read()
    start = tail.rfind(_protobuf_field(0x0A, STAMP_KEY.encode()))
    brace = tail.find(b"{", start)
    if start < 0 or brace < 0:
        return None
    content, length = json.JSONDecoder().raw_decode(tail[brace:].decode("utf-8", "replace"))
    found = _parse(content)
    if found is None:
        return None
    stamp, content = found
    text = tail[brace:].decode("utf-8", "replace")[:length]
    model = size - len(_onnx_entry(text))
    whole = content.get("bytes") == model and tail.endswith(_onnx_entry(text))
    return replace(stamp, sealed=whole and content.get("sha256") == _sha256(path, model))


# TorchScript: a zip archive, whose directory has a checksum of each file.


def _archive_sha256(archive: zipfile.ZipFile) -> str:
    files = sorted((item.filename, item.file_size, item.CRC) for item in archive.infolist())
    rest = [file for file in files if not file[0].endswith(f"/extra/{STAMP_KEY}")]
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def _write_torchscript(path: Path, stamp: Stamp) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{root}/extra/{STAMP_KEY}", _serialise(stamp, sha256=_archive_sha256(archive)))


def _read_torchscript(path: Path) -> Stamp | None:
    with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
        names = [name for name in archive.namelist() if name.endswith(f"/extra/{STAMP_KEY}")]
        if len(names) != 1 or archive.getinfo(names[0]).file_size > MAX_STAMP_BYTES:
            return None
        found = _parse(json.loads(archive.read(names[0])))
        return replace(found[0], sealed=found[1].get("sha256") == _archive_sha256(archive)) if found else None


# OpenVINO: the hash is over the XML with an empty stamp, and the weights beside it.


def _openvino_sha256(xml: str, binary: Path) -> str:
    empty = _STAMP_IN_XML.sub(lambda match: match[1] + OPENVINO_EMPTY + match[3], xml)
    return hashlib.sha256(f"{_sha256(binary)} {empty}".encode()).hexdigest()


def _write_openvino(path: Path, stamp: Stamp) -> None:
    xml = path.read_text(encoding="utf-8")
    value = html.escape(_serialise(stamp, sha256=_openvino_sha256(xml, path.with_suffix(".bin"))))
    stamped, count = _STAMP_IN_XML.subn(lambda match: match[1] + value + match[3], xml)
    if count != 1:
        raise WeightsError(
            f"{path}: expected one entry {'/'.join(OPENVINO_KEYS)} in its rt_info for the stamp, found {count}."
        )
    path.write_text(stamped, encoding="utf-8")


def _read_openvino(path: Path) -> Stamp | None:
    xml = read_regular_text(path, MAX_TEXT_BYTES)
    match = _STAMP_IN_XML.search(xml)
    found = _parse(json.loads(html.unescape(match[2]))) if match else None
    if found is None:
        return None
    return replace(found[0], sealed=found[1].get("sha256") == _openvino_sha256(xml, path.with_suffix(".bin")))


# TensorRT and TFLite: the stamp is in the sidecar, and has the hash of the file.


def _write_sidecar(path: Path, stamp: Stamp) -> None:
    content = json.loads(_serialise(stamp, sha256=_sha256(path)))
    with atomic_path(sidecar_path(path)) as part:
        part.write_text(json.dumps({"export": content}, indent=2) + "\n", encoding="utf-8")


def _read_sidecar(path: Path) -> Stamp | None:
    content = json.loads(read_regular_text(sidecar_path(path), MAX_SIDECAR_BYTES))
    found = _parse(content.get("export")) if isinstance(content, dict) else None
    return replace(found[0], sealed=found[1].get("sha256") == weights_sha256(path)) if found else None


def write_stamp(path: Path, stamp: Stamp) -> None:
    """Write a stamp for a model without one: an ``.onnx``, ``.torchscript``, OpenVINO, ``.engine`` or ``.tflite`` file.

    Raises:
        WeightsError: The format has no place for a stamp.
        OSError: The file cannot be written.
    """
    path = openvino_xml(path)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        _write_onnx(path, stamp)
    elif suffix == ".torchscript":
        _write_torchscript(path, stamp)
    elif suffix == ".xml":
        _write_openvino(path, stamp)
    elif suffix in _STAMPED_BY_SIDECAR:
        _write_sidecar(path, stamp)
    else:
        raise WeightsError(f"{path}: this format has no place for a stamp.")


def read_stamp(weights: Path) -> Stamp | None:
    """Read the stamp of a weights file or an OpenVINO folder. Return None if it has none that can be read."""
    # If the file is damaged, its loader reports that with a better message.
    with suppress(OSError, ValueError, RecursionError, zipfile.BadZipFile, zlib.error, WeightsError):
        path = openvino_xml(weights)
        suffix = path.suffix.lower()
        if suffix == ".onnx":
            return _read_onnx(path)
        if suffix == ".xml":
            return _read_openvino(path)
        return _read_sidecar(path) if suffix in _STAMPED_BY_SIDECAR else _read_torchscript(path)
    return None
