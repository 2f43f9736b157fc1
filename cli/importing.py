"""`gtrack import`: detections of other tools, converted to det-v1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.help_text import help_text
from cli.output import print_line

__all__ = ["app", "mot"]

app = typer.Typer(help="Convert detections of other tools to det-v1.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    pass


def mot(
    detections: Annotated[Path, typer.Argument(help="MOTChallenge detections: det.txt, or the folder of a sequence.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The det-v1 file to write.")],
    video: Annotated[
        Path | None,
        typer.Option(
            "--video", help="The video, for its size, length and frame rate. Default: seqinfo.ini of the sequence."
        ),
    ] = None,
    class_name: Annotated[str, typer.Option("--class-name", help="Class of all detections.")] = "person",
    class_id: Annotated[int, typer.Option("--class-id", help="Id of that class, a 32-bit number.")] = 0,
    rescale_scores: Annotated[
        bool,
        typer.Option(
            "--rescale-scores", help="Scale scores to the range 0 to 1, from the lowest to the highest of the file."
        ),
    ] = False,
) -> None:
    """Convert MOTChallenge detections to det-v1, for `gtrack run --dets-json`.

    Example: gtrack import mot MOT15/train/PETS09-S2L1/det/det.txt -o detections.json --video pets.avi

    MOTChallenge counts frames from 1, det-v1 from 0. Pixel coordinates stay as they are.
    """
    from tracking.detections.mot_import import mot_detections
    from tracking.detections.writer import write_detections
    from tracking.errors import OptionError

    if not -(2**31) < class_id < 2**31:
        raise OptionError(f"expected --class-id between {-(2**31) + 1} and {2**31 - 1}, found {class_id}.")
    document = mot_detections(
        detections, video=video, class_name=class_name, class_id=class_id, rescale_scores=rescale_scores
    )
    write_detections(document, output)
    count = sum(len(frame["detections"]) for frame in document["frames"])
    print_line(f"{count} detections in {len(document['frames'])} frames, written to {output}")


app.command("mot", help=help_text(mot))(mot)
