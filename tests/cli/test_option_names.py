"""The library's messages name Python's fields; the command line shows its own options."""

from __future__ import annotations

import inspect
from typing import get_args, get_type_hints

import pytest

from cli import output
from cli.option_names import with_option_names
from cli.run import run
from tracking.options import RunOptions, flat_arguments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`backfill=True` needs tracks.", "--backfill needs tracks."),
        ('Give `gallery`, and `tracker="gallery_hybrid"`.', "Give --gallery, and --tracker gallery_hybrid."),
        ("Choose another one with `out_dir`.", "Choose another one with --out-dir."),
        ("`frame_range` starts at 3", "--range starts at 3"),
        ("give `save_json=True`", "give --save-json"),
        ("or `save_frames`", "or --save-frames"),
        ("`temporal_options` it does not take", "--temporal-option it does not take"),
        ("use `overwrite=True`", "use --overwrite"),
        ("another one with `new_collection=True`", "another one with --new-collection"),
        ("scale them with `rescale_scores=True`", "scale them with --rescale-scores"),
        ("choose one with `collection`", "choose one with --collection"),
        ("see `gtrack list trackers`", "see `gtrack list trackers`"),
        ("see `GalleryView`, `some_word` and `x=1`", "see `GalleryView`, `some_word` and `x=1`"),
        ("no option here", "no option here"),
    ],
)
def test_translation(text: str, expected: str) -> None:
    assert with_option_names(text) == expected


def test_all_that_users_read_is_translated(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("`lenient=True`")
    output.print_error("`backfill`", "`out_dir`")
    assert capsys.readouterr().err == "gtrack: --lenient\nerror: --backfill\n  hint: --out-dir\n"


def test_every_field_of_a_run_is_an_option() -> None:
    hints = get_type_hints(run, include_extras=True).values()
    # Inside Annotated, Typer keeps an option's first name where a default would stand.
    found = [name for hint in hints for one in get_args(hint)[1:] for name in (one.default, *(one.param_decls or ()))]
    options = {name for names in found if isinstance(names, str) for name in names.split("/")}
    fields = flat_arguments() - {"live"}
    unknown = {name: shown for name in fields if (shown := with_option_names(f"`{name}`")) not in options}
    assert unknown == {}


def test_the_command_has_the_defaults_of_the_library() -> None:
    defaults = {name: p.default for name, p in inspect.signature(run).parameters.items()}
    shared = {name: getattr(d, "value", d) for name, d in defaults.items() if name in flat_arguments()}
    for name in ("dets_json", "detect", "frame_range"):
        assert shared.pop(name) is None
    shared["models_dir"] = str(shared["models_dir"])
    assert RunOptions.from_arguments(shared) == RunOptions()
