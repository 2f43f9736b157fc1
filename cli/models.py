"""`gtrack models`: published detectors and ReID models by name."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_model
from cli.help_text import help_text
from cli.options import AsJson, ModelsDir, NoProgress
from cli.output import print_json_lines, print_line, print_table, progress_bar, say

if TYPE_CHECKING:
    from tracking.models.catalogue import Model

__all__ = ["app", "get", "list_models", "path"]

app = typer.Typer(help="List, download and find published detectors and ReID models by name.", no_args_is_help=True)


class TaskChoice(str, Enum):
    """What a model is for; the values are those of `tracking.models.catalogue.Task`."""

    detector = "detector"
    reid = "reid"


Name = Annotated[
    str,
    typer.Argument(
        help="The name of a published model, or hf://OWNER/REPOSITORY/FILE.",
        show_default=False,
        autocompletion=complete_model,
    ),
]


def list_models(
    task: Annotated[TaskChoice | None, typer.Option("--task", help="Only detectors, or only ReID models.")] = None,
    as_json: AsJson = False,
    models_dir: ModelsDir = Path("models"),
) -> None:
    """List the published models that gtrack knows by name.

    Example: gtrack models list --task detector

    --json also prints the addresses, the hashes, the data they were trained on, and what gtrack's tests have run.
    """
    from tracking.models.catalogue import models
    from tracking.models.resolve import describe_size, local_model

    found = [(model, local_model(model, models_dir)) for model in models(None if task is None else task.value)]
    if as_json:
        print_json_lines(asdict(model) | {"path": None if at is None else str(at)} for model, at in found)
        return
    for task_name, title in (("detector", "Detectors"), ("reid", "ReID models")):
        rows = [
            (
                model.name,
                "-" if model.size is None else describe_size(model.size),
                model.licence,
                model.accuracy or "-",
                "yes" if at else "no",
            )
            for model, at in found
            if model.task == task_name
        ]
        if rows:
            columns = ["name", "size", "licence", "published accuracy", "here"]
            print_table(title, columns, rows, whole=["name", "size", "licence"])


def get(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder to download to, for example to carry it to another machine. Default: the cache."
        ),
    ] = None,
    models_dir: ModelsDir = Path("models"),
    no_progress: NoProgress = False,
) -> None:
    """Download a published model, unless it is on this machine, and print its path.

    Example: gtrack models get yolox_nano

    What has arrived when a download ends early is kept, and the same command goes on from there. Size and hash are
    checked before the file gets its name.
    """
    from tracking.models.hugging_face import is_hub_reference, parse_hub_reference
    from tracking.models.resolve import download_hub_file, download_model, local_model, model_folder

    with progress_bar("downloading", "bytes", no_progress) as progress:
        if is_hub_reference(name):
            hub = parse_hub_reference(name)
            target = hub.local if out is None else out / hub.local.name
            found = target if target.is_file() else download_hub_file(hub, target, progress=progress)
            print_line(found)
            return
        model = _named(name)
        here = local_model(model, models_dir) if out is None else None
        folder = out or model_folder(model.task)
        found = here or download_model(model, folder, models_dir=models_dir, progress=progress)
    say(
        f"{model.name}: licence of the weights {model.weights_licence}, of the code {model.code_licence}; "
        f"trained on: {model.trained_on}."
    )
    if model.needs is not None:
        say(f"it needs: pip install 'gtrack-reid[{model.needs}]'")
    print_line(found)


def path(name: Name, models_dir: ModelsDir = Path("models")) -> None:
    """Print the path of a published model on this machine.

    Example: gtrack models path yolox_nano
    """
    from tracking.errors import WeightsError
    from tracking.models.hugging_face import is_hub_reference, parse_hub_reference
    from tracking.models.resolve import local_model

    if is_hub_reference(name):
        local = parse_hub_reference(name).local
        found = local if local.is_file() else None
    else:
        found = local_model(_named(name), models_dir)
    if found is None:
        raise WeightsError(f"{name} is not on this machine.", hint=f"Download it: gtrack models get {name}")
    print_line(found)


def _named(name: str) -> Model:
    """Return the model of that name.

    Raises:
        WeightsError: There is none; the hint has the closest names.
    """
    from gallery_db.suggestions import did_you_mean
    from tracking.errors import WeightsError
    from tracking.models.catalogue import find_model, models

    model = find_model(name)
    if model is None:
        raise WeightsError(
            f"no published model is named {name}.",
            hint=did_you_mean(name, [one.name for one in models()], "They are listed by: gtrack models list"),
        )
    return model


app.command("list", help=help_text(list_models))(list_models)
app.command("get", help=help_text(get))(get)
app.command("path", help=help_text(path))(path)
