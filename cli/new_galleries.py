"""What is said, and asked, before a new gallery is made: its name may be a slip."""

from __future__ import annotations

from pathlib import Path

import typer

from cli.output import ask, on_terminal, say

__all__ = ["announce_new_gallery"]


def announce_new_gallery(gallery: str, *, may_ask: bool = False) -> None:
    """Say that a gallery will be new, and which one beside it has a similar name; nothing for one that exists.

    Args:
        gallery: Its folder, or the address of a served one.
        may_ask: Ask, on a terminal, whether to go on.

    Raises:
        GalleryError: No gallery can be made there.
        typer.Exit: The answer was not yes; exit code 1.
    """
    from gallery_db.address import location_of
    from gallery_db.opening import galleries_like, is_new_gallery

    location = location_of(gallery)
    if not is_new_gallery(location):
        return
    similar = galleries_like(location) if isinstance(location, Path) else []
    are = "is the gallery" if len(similar) == 1 else "are the galleries"
    beside = f" Beside it {are} {', '.join(map(repr, similar))}." if similar else ""
    say(f"{gallery} will be a new gallery.{beside}")
    if may_ask and on_terminal() and ask("Make it? [y/N]").lower() not in ("y", "yes"):
        say("nothing was changed.")
        raise typer.Exit(1)
