"""`gtrack eval`: its commands."""

from __future__ import annotations

import typer

from cli.evaluate.identity import identity
from cli.evaluate.reid import reid
from cli.evaluate.tracks import tracks

__all__ = ["app"]

app = typer.Typer(help="Compare tracks, names and embeddings with a ground truth.", no_args_is_help=True)
app.command("tracks")(tracks)
app.command("identity")(identity)
app.command("reid")(reid)
