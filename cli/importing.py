"""`gtrack import`: what others wrote, as gtrack's own formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["app", "mot"]

app = typer.Typer(help="Make det-v1 of detections in other formats.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    pass


@app.command()
def mot(
    detections: Annotated[Path, typer.Argument(help="MOTChallenge detections: det.txt, or a sequence's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The det-v1 file to write.")],
    video: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--video", help="Their video: its size, length and speed. Default: what seqinfo.ini says, if it is there."
        ),
    ] = None,
    class_name: Annotated[str, typer.Option("--class-name", help="What all of them are.")] = "person",
    class_id: Annotated[int, typer.Option("--class-id", help="Its number.")] = 0,
    rescale_scores: Annotated[
        bool,
        typer.Option("--rescale-scores", help="Bring scores to 0 to 1, from the least to the greatest of the file."),
    ] = False,
) -> None:
    """Make det-v1 of MOTChallenge detections, for gtrack run.

    Example: gtrack import mot MOT15/train/PETS09-S2L1/det/det.txt -o detections.json --video pets.avi

    Frames count from 1 there and from 0 in det-v1. Pixel coordinates stay as they are.
    """
    from tracking.detections.mot_import import mot_detections
    from tracking.detections.writer import write_detections

    document = mot_detections(
        detections, video=video, class_name=class_name, class_id=class_id, rescale_scores=rescale_scores
    )
    write_detections(document, output)
    count = sum(len(frame["detections"]) for frame in document["frames"])
    print(f"{count} detections in {len(document['frames'])} frames, written to {output}")
