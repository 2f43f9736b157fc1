"""`gtrack demo`: the whole job on a clip that gtrack draws."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import NoProgress
from cli.output import print_line, print_table, print_text, say

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that the demo writes.")] = Path(
        "gtrack-demo"
    ),
    no_progress: NoProgress = False,
) -> None:
    """Track and name people on a clip that gtrack draws. It needs no network and no file.

    Example: gtrack demo --out gtrack-demo

    People walk, cross, hide one another, leave and come back. Six of them are in the gallery. The others are unknown
    and must stay unnamed.
    """
    from tracking.demo.run import run_demo
    from tracking.models.catalogue import DEFAULT_DETECTOR
    from tracking.progress import progress_bar

    report = run_demo(out, notify=say, bar=lambda title, unit: progress_bar(title, unit, enabled=not no_progress))
    fps = report.scene.config.fps

    def clock(span: tuple[int, int]) -> str:
        return f"{span[0] / fps:.1f}-{span[1] / fps:.1f}"

    print_table(
        "Names compared with the truth (times in seconds; frames: tracked ones)",
        ["person", "in view", "named", "frames", "right", "wrong", "unnamed"],
        [
            (
                person.name,
                ", ".join(clock(span) for span in person.spans),
                clock(person.right_span) if person.right_span else "-",
                person.frames,
                person.right,
                person.wrong,
                person.unnamed,
            )
            for person in report.people
        ],
    )
    known = [p for p in report.people if p.known]
    unknown = [p for p in report.people if not p.known]
    frames = max(1, sum(p.frames for p in known))
    print_text(
        f"known people: right name in {sum(p.right for p in known) / frames:.1%} of their frames, wrong name in "
        f"{sum(p.wrong for p in known) / frames:.1%}; unknown people: a name in "
        f"{sum(p.wrong for p in unknown) / max(1, sum(p.frames for p in unknown)):.1%} of their frames"
    )
    print_line(f"clip:            {report.scene.video}")
    print_line(f"detections:      {report.scene.detections}")
    print_line(f"gallery images:  {report.scene.gallery}")
    print_line(f"gallery:         {report.gallery}")
    print_line(f"annotated video: {report.result.paths.video_path}")
    print_line(f"tracks (JSON):   {report.result.paths.json_path}")
    print_line(f"contact sheet:   {report.contact_sheet}")
    print_text(
        "Next step, with your own video (for names, add --gallery FOLDER, with a folder of pictures of each person):"
    )
    print_line(f"  gtrack run VIDEO --detect {DEFAULT_DETECTOR} --classes person --download \\")
    print_line("    --save-video tracked.mp4")
