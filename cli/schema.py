"""`gtrack schema`: the JSON Schemas of det-v1 and track-v1."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import print_json

__all__ = ["schema"]


def schema(
    name: Annotated[str, typer.Argument(help="det-v1 (input of gtrack run) or track-v1 (its output).")],
) -> None:
    """Print the JSON Schema of an input or output format.

    Example: gtrack schema det-v1
    """
    from tracking.errors import OptionError
    from tracking.schemas import load_schema, schema_names

    if name not in schema_names():
        raise OptionError(f"unknown schema {name!r}; expected one of {', '.join(schema_names())}.")
    print_json(load_schema(name), indent=2)
