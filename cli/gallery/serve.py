"""`gtrack gallery serve, flush`: one gallery for many processes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from cli.options import AsJson, NoProgress
from cli.output import print_json_lines, print_line, print_table, progress_bar, say

__all__ = ["flush", "serve"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    gallery: Annotated[
        Path, typer.Option("--gallery", "-g", envvar="GTRACK_GALLERY", help="Folder of the gallery.", metavar="PATH")
    ],
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for any free port.")
    ] = 8000,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. The server asks for no password.")
    ] = "127.0.0.1",
    no_progress: NoProgress = False,
) -> None:
    """Serve a gallery to any number of processes, until Ctrl-C.

    Example: gtrack gallery serve --gallery gallery --port 8000

    Then, on any machine that can reach this one: gtrack run clip.mp4 --dets-json clip.json -g http://HOST:8000
    """
    import threading

    from gallery_db import GalleryServer
    from gallery_db.address import is_address
    from tracking.errors import OptionError

    if is_address(str(gallery)):
        raise OptionError(f"expected the folder of a gallery, found the address {gallery}.")
    if host not in _LOOPBACK:
        say(
            f"warning: any program that can reach {host} can read and change the gallery; Chroma's server asks for no "
            "password. Put a proxy with a password in front of it."
        )
    with progress_bar("indexing", "entries", no_progress) as progress:
        server = GalleryServer(gallery, host=host, port=port, notify=say, progress=progress)
    try:
        print_line(f"serving {gallery} at {server.address}")
        with contextlib.suppress(KeyboardInterrupt):
            server.run(threading.Event())
    finally:
        say("stopping: storing the last changes and checking the index.")
        with progress_bar("checking", "entries", no_progress) as progress:
            server.close(progress)
    print_line(f"{gallery} is no longer served")


def flush(
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery",
            "-g",
            envvar="GTRACK_GALLERY",
            metavar="URL",
            help="Address of the served gallery. Default: all servers for which changes are waiting.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send changes to a served gallery that could not be reached before.

    Example: gtrack gallery flush --gallery http://127.0.0.1:8000

    The exit code is 1 if changes are still waiting.
    """
    from gallery_db import flush_journals

    flushed = flush_journals(gallery)
    rows = [(one.server, one.collection, one.delivered, one.left, one.problem or "") for one in flushed]
    if as_json:
        print_json_lines(
            {"server": s, "collection": c, "delivered": d, "left": left, "problem": p} for s, c, d, left, p in rows
        )
    elif rows:
        print_table(None, ["server", "collection", "sent", "waiting", "problem"], rows)
    else:
        print_line("no changes are waiting")
    if any(one.left for one in flushed):
        raise typer.Exit(1)
