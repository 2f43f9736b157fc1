"""`gtrack gallery adapt`: the space in which a gallery's embeddings are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.gallery.common import print_notices
from cli.options import AsJson, Collection, GalleryPath
from cli.output import print_json, print_line, say

if TYPE_CHECKING:
    from gallery_db import Gallery

__all__ = ["adapt"]


def adapt(
    gallery: GalleryPath,
    show: Annotated[bool, typer.Option("--show", help="Show the space, and change nothing.")] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget what was learned, and use what is known of the model.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Compare embeddings as the model returns them, until the next adapt.")
    ] = False,
    as_json: AsJson = False,
    collection: Collection = None,
) -> None:
    """Learn from a gallery how its people differ, so that distances mean the same for every model and camera.

    Example: gtrack gallery adapt --gallery gallery

    An ingest and a run with --enroll do this by themselves when the number of people has changed by a fifth. What is
    stored stays as it is: only the comparison changes. docs/explanation/embedding-space.md has the method.
    """
    from gallery_db import Gallery, match_threshold
    from tracking.errors import OptionError

    if sum((show, reset, plain)) > 1:
        raise OptionError("expected one of --show, --reset and --plain, found several.")
    with Gallery.open(gallery, collection=collection, write=not show) as opened:
        print_notices(opened)
        if reset or plain:
            opened.reset_space(plain=plain)
        elif not show:
            opened.adapt()
        threshold = match_threshold(opened) if len(opened) else None
        facts = {**_facts(opened), "threshold": None if threshold is None else threshold.value}
        if as_json:
            print_json(facts)
        else:
            print_line(_in_words(facts))
        for message in () if threshold is None else threshold.messages:
            say(message)


def _facts(gallery: Gallery) -> dict[str, object]:
    space = gallery.space
    if space is None:
        return {"space": "plain", "people": 0, "entries": 0, "prior": None, "cameras": [], "dimension": None}
    return {
        "space": space.version,
        "people": space.facts.get("people", 0),
        "entries": space.facts.get("entries", 0),
        "prior": space.facts.get("prior"),
        "cameras": sorted(space.camera_means),
        "dimension": space.dimension,
        "at": space.facts.get("at"),
    }


def _in_words(facts: dict[str, object]) -> str:
    if facts["space"] == "plain":
        return "embeddings are compared as the model returns them: nothing is known of the model, or --plain was given"
    sources = []
    if facts["people"]:
        sources.append(f"{facts['entries']} entries of {facts['people']} people of this gallery")
    if facts["prior"]:
        sources.append(f"what is known of the model ({facts['prior']})")
    cameras = facts["cameras"]
    count = len(cameras) if isinstance(cameras, list) else 0
    means = f", with a mean for each of {count} cameras" if count else ""
    return (
        f"space {facts['space']}: learned from {' and '.join(sources)}{means}; vectors of {facts['dimension']} numbers"
    )
