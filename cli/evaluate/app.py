"""`gtrack eval`: its commands."""

from __future__ import annotations

import typer

from cli.evaluate.identity import identity
from cli.evaluate.reid import reid
from cli.evaluate.tracks import tracks
from cli.help_text import help_text

__all__ = ["app"]

app = typer.Typer(help="Compare tracks, names and embeddings with a ground truth.", no_args_is_help=True)
app.command("tracks", help=help_text(tracks))(tracks)
app.command("identity", help=help_text(identity))(identity)
app.command("reid", help=help_text(reid))(reid)
