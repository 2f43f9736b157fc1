from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support.reid import write_sidecar

from tracking.errors import WeightsError
from tracking.reid.input_spec import Preprocessing, default_preprocessing
from tracking.reid.model_description import resolve_preprocessing
from tracking.reid.sidecar import read_sidecar


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("osnet_x0_25_msmt17.pt", (256, 128)),
        ("LMBN_n_market.pt", (384, 128)),
        ("csl_tinyvit_7m.onnx", (384, 128)),
        ("mobilenetv4_conv_small.pt", (384, 128)),
        ("hi_afa_market.pt", (384, 128)),
        ("hacnn_msmt17.pt", (160, 64)),
        ("osnet_x1_0_veri.pt", (256, 256)),
        ("resnet50_vehicleid.onnx", (256, 256)),
        ("anything.onnx", (256, 128)),
    ],
)
def test_defaults_by_name(name: str, size: tuple[int, int]) -> None:
    found = default_preprocessing(name)
    assert (found.height, found.width) == size
    assert found == dataclasses.replace(Preprocessing(), height=size[0], width=size[1])


def test_canonical_text_is_pinned() -> None:
    # Galleries on disk hold this text: changing it would part them from their model.
    assert str(Preprocessing()) == (
        "256x128 rgb stretch linear scale=0.00392156862745098 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"
    )


def test_every_field_is_in_the_text() -> None:
    others: dict[str, Any] = {
        "height": 10,
        "width": 11,
        "color": "bgr",
        "scale": 1.0,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": "area",
        "resize": "pad",
    }
    assert set(others) == {field.name for field in dataclasses.fields(Preprocessing)}
    texts = {str(dataclasses.replace(Preprocessing(), **{name: value})) for name, value in others.items()}
    assert len(texts | {str(Preprocessing())}) == len(others) + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"height": 0},
        {"width": -1},
        {"color": "gray"},
        {"scale": 0.0},
        {"scale": float("nan")},
        {"mean": (0.0, 0.0)},
        {"std": (1.0, 0.0, 1.0)},
        {"interpolation": "lanczos"},
        {"resize": "crop"},
    ],
)
def test_rejects_values_out_of_range(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Preprocessing(**fields)


def test_reads_the_sidecar_file(tmp_path: Path) -> None:
    weights = tmp_path / "mine.pt"
    assert read_sidecar(weights) is None
    write_sidecar(weights, height=128, std=[1, 1, 1], arch="lmbn_n", color="bgr")
    sidecar = read_sidecar(weights)
    assert sidecar is not None
    assert sidecar.arch == "lmbn_n"
    assert resolve_preprocessing(weights) == Preprocessing(128, 128, color="bgr", std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "cannot be read as JSON", id="not-json"),
        pytest.param("[]", "expected a JSON object, found list", id="not-an-object"),
        pytest.param('{"hight": 3}', "unknown key 'hight'", id="unknown-key"),
        pytest.param('{"height": "3"}', "height: expected an integer", id="text-for-number"),
        pytest.param('{"height": true}', "height: expected an integer", id="bool-for-number"),
        pytest.param('{"scale": null}', "scale: expected a number", id="null"),
        pytest.param('{"mean": [1, 2]}', "mean: expected a list of three", id="two-of-three"),
        pytest.param('{"std": [1, 2, "3"]}', "std: expected a number", id="text-in-list"),
        pytest.param('{"arch": 5}', "arch: expected a string that is not empty", id="arch"),
        pytest.param('{"height": -3}', "height: expected whole pixels, 1 to 2048", id="range"),
        pytest.param('{"height": 1000000000}', "whole pixels, 1 to 2048, found 1000000000", id="a billion pixels"),
        pytest.param('{"scale": 1%s}' % ("0" * 400), "cannot be read as JSON", id="beyond floats"),
        pytest.param('{"std": [1e-300, 1, 1]}', "std: expected three positive numbers, 1e-09", id="underflow"),
        pytest.param('{"scale": %s}' % ("[" * 100_000), "cannot be read as JSON", id="deep"),
        pytest.param('{"color": "%s"}' % ("x" * 100_000), r"found 'xxx+\.\.\.", id="long"),
        pytest.param('{"resize": "crop"}', "resize: expected one of stretch, pad", id="choice"),
    ],
)
def test_invalid_sidecars_are_reported_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    weights = tmp_path / "w.onnx"
    path = tmp_path / "w.onnx.gtrack.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=message) as caught:
        read_sidecar(weights)
    assert str(path) in str(caught.value)


def test_uses_the_fixed_input_size_of_the_model(tmp_path: Path) -> None:
    weights = tmp_path / "lmbn.onnx"
    assert resolve_preprocessing(weights, (100, 50)) == Preprocessing(100, 50)
    write_sidecar(weights, height=100, color="bgr")
    assert resolve_preprocessing(weights, (100, 50)) == Preprocessing(100, 50, color="bgr")
    with pytest.raises(WeightsError, match=r"height: the input of the model lmbn.onnx is fixed to 64, found 100"):
        resolve_preprocessing(weights, (64, 50))
