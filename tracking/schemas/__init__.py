"""The JSON Schemas (draft 2020-12) of the formats that gtrack reads and writes: det-v1 and track-v1."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from tracking.errors import OptionError

__all__ = ["load_schema", "schema_names"]

_SUFFIX = ".schema.json"


def schema_names() -> tuple[str, ...]:
    """Return the names of the schemas, sorted."""
    return tuple(
        sorted(item.name.removesuffix(_SUFFIX) for item in files(__name__).iterdir() if item.name.endswith(_SUFFIX))
    )


def load_schema(name: str) -> dict[str, Any]:
    """Return a schema by its name, such as ``"det-v1"``, as a new dict.

    Raises:
        OptionError: There is no schema with that name.
    """
    if name not in schema_names():
        raise OptionError(f"unknown schema {name!r}; expected one of {', '.join(schema_names())}.")
    schema: dict[str, Any] = json.loads(files(__name__).joinpath(name + _SUFFIX).read_text(encoding="utf-8"))
    return schema
