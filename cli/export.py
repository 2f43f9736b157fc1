"""`gtrack export`: what gtrack has, for other tools."""

from __future__ import annotations

import typer

from cli.export_reid import reid

__all__ = ["app"]

app = typer.Typer(help="ReID models in the formats of other runtimes.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    pass


app.command("reid")(reid)
