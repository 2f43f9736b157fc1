"""`gtrack gallery`: its commands, in the order of its help."""

from __future__ import annotations

from collections.abc import Callable

import typer

from cli.gallery import adapt, calibrate, contents, curate, ingest, query, serve, transfer, upkeep
from cli.help_text import help_text

__all__ = ["app"]

app = typer.Typer(
    help="Fill, search, correct and maintain a gallery: the embeddings of known and unknown people (or other things).",
    no_args_is_help=True,
)

_COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Fill and search": {
        "ingest": ingest.ingest,
        "query": query.query,
        "list": contents.list_identities,
        "show": contents.show,
        "calibrate": calibrate.calibrate,
        "adapt": adapt.adapt,
    },
    "Correct": {
        "rename": curate.rename,
        "merge": curate.merge,
        "split": curate.split,
        "move": curate.move,
        "reject": curate.reject,
        "remove": curate.remove,
        "purge": curate.purge,
        "clear": curate.clear,
        "undo": curate.undo,
        "redo": curate.redo,
        "log": contents.log,
    },
    "Maintain": {
        "stats": contents.stats,
        "verify": upkeep.verify,
        "rebuild": upkeep.rebuild,
        "snapshot": upkeep.snapshot,
        "restore": upkeep.restore,
    },
    "Move and share": {
        "export": transfer.export,
        "import": transfer.import_,
        "reembed": transfer.reembed,
        "serve": serve.serve,
        "flush": serve.flush,
    },
}

for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, help=help_text(_command), rich_help_panel=_panel)(_command)
