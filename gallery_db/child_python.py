"""Start functions of gtrack in Python processes of their own."""

from __future__ import annotations

import json
import sys

__all__ = ["child_python"]

_PROGRAM = """
import json, sys
path, module, function, arguments = json.loads(sys.argv[1])
sys.path[:] = path
from importlib import import_module
getattr(import_module(module), function)(**arguments)
"""


def child_python(module: str, function: str, **arguments: object) -> list[str]:
    """Return the command that calls a function with what this process would import.

    Neither the working directory nor environment variables decide what the child imports (``-I``): a ``json.py``
    among the files of a stranger is not run.

    Args:
        module: The module of the function.
        function: Its name there.
        arguments: Its keyword arguments, of JSON's types.
    """
    return [sys.executable, "-I", "-c", _PROGRAM, json.dumps([sys.path, module, function, arguments])]
