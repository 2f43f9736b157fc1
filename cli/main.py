"""The `gtrack` command: its verbs, and how errors leave it.

Exit codes: 0 done; 1 failed; 2 wrong usage; 130 stopped by Ctrl-C (or SIGTERM).
"""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from cli import (
    demo,
    detect,
    evaluate,
    export,
    gallery_calibrate,
    gallery_exchange,
    gallery_people,
    gallery_serve,
    importing,
    listing,
    run,
    schema,
)
from cli.output import print_error
from gallery_db.errors import GtrackError

__all__ = ["app", "main"]

app = typer.Typer(
    name="gtrack",
    help="Know who is on your video: a gallery of people, and trackers that ask it.",
    epilog="First steps: gtrack demo. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"gtrack {version('gtrack')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("run")(run.run)
app.command("detect")(detect.detect)
app.command("demo")(demo.demo)
# gallery.app, with the commands of all these modules.
app.add_typer(gallery_people.app, name="gallery")
gallery_people.app.command("calibrate")(gallery_calibrate.calibrate)
gallery_people.app.command("export")(gallery_exchange.export)
gallery_people.app.command("import")(gallery_exchange.import_)
gallery_people.app.command("reembed")(gallery_exchange.reembed)
app.add_typer(evaluate.app, name="eval")
app.add_typer(export.app, name="export")
app.add_typer(importing.app, name="import")
app.add_typer(export.app, name="export")
gallery_people.app.command("serve")(gallery_serve.serve)
gallery_people.app.command("flush")(gallery_serve.flush)
app.command("list")(listing.list_names)
app.command("schema")(schema.schema)


def _terminate(signum: int, frame: FrameType | None) -> None:
    # A scheduler's SIGTERM deserves the same care as Ctrl-C: complete the artefacts, then go.
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line."""
    from tracking.errors import OptionError

    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except OptionError as error:
        print_error(error.message, error.hint)
        sys.exit(2)
    except GtrackError as error:
        print_error(error.message, error.hint)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output (head, say) has gone; that is no failure of ours.
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
