"""Generate what the documentation takes from the code: the command line, the JSON Schemas, the project's own files.

MkDocs calls the functions named ``on_...`` while it builds the site (``hooks`` in mkdocs.yml), the tests the others.

- ``reference/cli/*.md``: one page for each command of the app, or group of commands, written from Typer's own objects.
- ``<!-- commands -->`` and ``<!-- root options -->`` in a page: all commands, and gtrack's own options, as tables.
- ``<!-- readme: Install it -->`` in a page: that section of the README.
- ``<!-- error tree -->`` in a page: the tree of errors.
- ``<!-- schema: det-v1 -->`` in a page: the schema as tables, and as it is.
- ``contributing.md`` and ``changelog.md``: the files of the repository's top folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Optional, Union, get_args, get_origin

REPOSITORY = Path(__file__).resolve().parent.parent
# The place of Mermaid in a site that is built with MERMAID_JS, the path of mermaid.min.js in Mermaid's npm package.
# Without it, the theme has readers' browsers load Mermaid from a public server.
MERMAID = "javascripts/mermaid.min.js"
MERMAID_SOURCE = os.environ.get("MERMAID_JS")

# The pages of the command line, in the order of the navigation. A command without a page here is an error.
GROUPS = ("run", "detect", "gallery", "eval", "export", "import", "models", "list", "schema", "demo")


@dataclass(frozen=True)
class CliCommand:
    """One command of the app: its words after ``gtrack``, and Typer's object."""

    words: tuple[str, ...]
    command: Any

    @property
    def name(self) -> str:
        """The command as it is typed, such as ``gtrack gallery query``."""
        return " ".join(("gtrack", *self.words))

    @property
    def summary(self) -> str:
        """The first sentence of the help."""
        return _paragraphs(self.command.help)[0]

    @property
    def anchor(self) -> str:
        """The id of the command's heading."""
        return "-".join(("gtrack", *self.words))


def cli_commands() -> list[CliCommand]:
    """Return all commands of the app that are not hidden, in the order of ``gtrack --help``."""
    import typer

    from cli.main import app

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[CliCommand]:
        children = getattr(command, "commands", None)
        if children is None:
            yield CliCommand(words, command)
            return
        for name, child in children.items():
            if not child.hidden:
                yield from walk(child, (*words, name))

    return list(walk(typer.main.get_command(app), ()))


def _paragraphs(text: str | None) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text or "") if part.strip()] or [""]


def _escaped(text: str) -> str:
    """Text as it is, on one line, in Markdown."""
    # Line breaks in a cell end the row, and angle brackets would be taken for HTML.
    text = " ".join(text.split())
    if "`" in text:
        return text
    text = re.sub(r"([\\*_\[\]])", r"\\\1", text.replace("<", "&lt;").replace(">", "&gt;"))
    return _mark_options(text)


def _cell(text: str) -> str:
    """Text as it is, in a cell of a Markdown table."""
    return _escaped(text).replace("|", "\\|")


def _mark_options(text: str) -> str:
    """Text whose options stand as code, so that no line breaks after their hyphens."""
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*[a-z])(?![\w`-])", r"`\1`", text)


def _value_type(parameter: Any) -> str:
    """What a parameter takes, in one word; empty for a switch."""
    if getattr(parameter, "is_flag", False) or getattr(parameter, "count", False):
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    descriptor = getattr(parameter, "type_descriptor", None)
    kind = descriptor.annotation if descriptor is not None else getattr(parameter, "type", str)
    while get_origin(kind) in (list, tuple, Union, Optional):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " | ".join(str(member.value) for member in kind)
    choices = getattr(kind, "choices", None)
    if choices:
        return " | ".join(str(getattr(choice, "value", choice)) for choice in choices)
    words = {"str": "TEXT", "Path": "PATH", "int": "INTEGER", "float": "NUMBER"}
    words |= {"text": "TEXT", "path": "PATH", "integer": "INTEGER", "filename": "PATH"}
    name = getattr(kind, "__name__", None) or getattr(kind, "name", "text")
    return words.get(name, name.upper())


def _default(parameter: Any) -> str:
    value = parameter.default
    if callable(value) or value in (None, False, (), []) or not getattr(parameter, "show_default", True):
        return ""
    return str(value.value if isinstance(value, Enum) else value)


def _argument_word(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _parameter_row(parameter: Any, is_argument: bool) -> str:
    kind = _value_type(parameter)
    if is_argument:
        name = f"`{_argument_word(parameter)}`"
    else:
        name = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    if kind and not is_argument:
        kind_cell = "`" + kind.replace("|", "\\|") + "`"
        name = f"{name} {kind_cell}"
    text, notes = _cell(parameter.help or ""), []
    if parameter.required:
        notes.append("required")
    if is_argument and parameter.nargs == -1:
        notes.append("one or more")
    elif not is_argument and parameter.multiple and "repeatable" not in text.lower():
        notes.append("repeatable")
    if default := _default(parameter):
        notes.append(f"default `{default}`")
    if parameter.envvar:
        notes.append(f"environment variable `{parameter.envvar}`")
    if notes:
        text = f"{text} *{notes[0][:1].upper()}{'; '.join(notes)[1:]}.*"
    return f"| {name} | {text} |"


def command_markdown(entry: CliCommand, level: int) -> str:
    """Return the reference of one command: usage, help, arguments and options.

    Args:
        entry: The command.
        level: Of its heading, 1 to 6.
    """
    arguments, panels = [], {}
    for parameter in entry.command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        if type(parameter).__name__.endswith("Argument"):
            arguments.append(parameter)
        else:
            panels.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(parameter)
    usage = [entry.name]
    for argument in arguments:
        word = _argument_word(argument) + ("..." if argument.nargs == -1 else "")
        usage.append(word if argument.required else f"[{word}]")
    usage.append("[OPTIONS]")
    lines = [f"{'#' * level} {entry.name} {{ #{entry.anchor} }}", "", "```text", " ".join(usage), "```", ""]
    for paragraph in _paragraphs(entry.command.help):
        example = re.fullmatch(r"(?:(.*?):\s+)?(gtrack .*)", paragraph, flags=re.DOTALL)
        if example:
            lines += [f"{example[1] or 'Example'}:", "", "```sh", " ".join(example[2].split()), "```", ""]
        else:
            lines += [_escaped(paragraph), ""]
    if arguments:
        lines += ["| argument | meaning |", "|---|---|", *(_parameter_row(one, True) for one in arguments), ""]
    for title, options in panels.items():
        if title != "Options":
            lines += [f"**{_escaped(title)}**", ""]
        lines += ["| option | meaning |", "|---|---|", *(_parameter_row(one, False) for one in options), ""]
    return "\n".join(lines)


def root_options() -> str:
    """Return the table of the options of ``gtrack`` itself."""
    import typer

    from cli.main import app

    options = [one for one in typer.main.get_command(app).params if one.name != "help"]
    return "\n".join(["| option | meaning |", "|---|---|", *(_parameter_row(one, False) for one in options)])


def cli_pages() -> dict[str, str]:
    """Return the generated pages of the command line: Markdown by path in the documentation's folder."""
    pages: dict[str, list[CliCommand]] = {group: [] for group in GROUPS}
    for entry in cli_commands():
        pages[entry.words[0]].append(entry)
    return {f"reference/cli/{group}.md": _cli_page(group, entries) for group, entries in pages.items() if entries}


def _cli_page(group: str, entries: list[CliCommand]) -> str:
    if len(entries) == 1 and entries[0].words == (group,):
        return command_markdown(entries[0], 1)
    parts = [f"# gtrack {group}", "", *_command_table(entries, page=""), ""]
    return "\n".join(parts + [command_markdown(entry, 2) for entry in entries])


def _command_table(entries: list[CliCommand], page: str) -> list[str]:
    rows = [f"| [`{one.name}`]({page.format(one.words[0])}#{one.anchor}) | {_cell(one.summary)} |" for one in entries]
    return ["| command | what it does |", "|---|---|", *rows]


def _type_words(schema: Mapping[str, Any]) -> str:
    """A value's type in a few words, from its part of a JSON Schema."""
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name.replace('_', ' ')}](#{name.replace('_', '-')})"
    if "anyOf" in schema and all(set(one) <= {"$ref", "type"} for one in schema["anyOf"]):
        return " or ".join(_type_words(one) for one in schema["anyOf"])
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    words = " or ".join(kinds) or "any value"
    if "array" in kinds and "items" in schema and "minItems" not in schema:
        words = words.replace("array", f"array of {_type_words(schema['items'])}")
    if "array" in kinds and schema.get("minItems") == schema.get("maxItems") is not None:
        words = f"array of {schema['minItems']} {schema['items']['type']}s"
    limits = [f"from {schema['minimum']}"] if "minimum" in schema else []
    limits += [f"to {schema['maximum']}"] if "maximum" in schema else []
    return ", ".join([words, " ".join(limits)] if limits else [words])


def _object_rows(schema: Mapping[str, Any]) -> list[str]:
    required = schema.get("required", [])
    rows = []
    properties = dict(schema.get("properties", {}))
    alternatives = [schema] if "if" in schema else [one for one in schema.get("allOf", []) if "if" in one]
    for key, value in properties.items():
        rows.append((key, _type_words(value), "yes" if key in required else "no", value.get("description", "")))
    for one in alternatives:  # "if this key is there, it counts, else the other"
        ((first, value),) = one["then"]["properties"].items()
        ((second, _),) = one["else"]["properties"].items()
        rows.append((f"{first}, else {second}", _type_words(value), "one of them", ""))
    return [
        "| key | value | required | meaning |",
        "|---|---|---|---|",
        *(
            f"| {', else '.join(f'`{k}`' for k in key.split(', else '))} | {kind} | {need} | {_cell(text)} |"
            for key, kind, need, text in rows
        ),
    ]


def schema_markdown(name: str) -> str:
    """Return a JSON Schema of gtrack (``det-v1`` or ``track-v1``) as tables, and as it is."""
    text = (REPOSITORY / "tracking" / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    lines = [
        _cell(schema["description"]).replace("\\_", "_"),
        "",
        "## document { #document }",
        "",
        *_object_rows(schema),
    ]
    for key, part in schema["$defs"].items():
        lines += ["", f"## {key.replace('_', ' ')} {{ #{key.replace('_', '-')} }}", ""]
        if "description" in part:
            lines += [_escaped(part["description"]), ""]
        if part.get("type") == "object":
            lines += _object_rows(part)
        else:
            lines += [_type_words(part)[:1].upper() + _type_words(part)[1:] + "."]
    lines += ["", '??? "The JSON Schema"', "", "    ```json"]
    lines += [f"    {line}" if line else "" for line in text.splitlines()]
    return "\n".join([*lines, "    ```", ""])


def error_tree() -> str:
    """Return the tree of errors, as the module that defines them draws it."""
    from gallery_db import errors

    tree = re.search(r"^    GtrackError\n(?:    .*\n)+", errors.__doc__ or "", flags=re.MULTILINE)
    assert tree, "the docstring of gallery_db.errors has no tree"
    return "```text\n" + re.sub(r"^    ", "", tree[0], flags=re.MULTILINE) + "```"


def readme_section(title: str) -> str:
    """Return what stands in the README under a heading of the second level."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## )", text, flags=re.DOTALL | re.MULTILINE)
    assert section, f"README.md has no section {title!r}"
    return section[1].strip()


def project_page(name: str) -> str:
    """Return a file of the repository's top folder as a page; its links into ``docs/`` become links of the site."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return re.sub(r"\]\(docs/", "](", text)


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    pages = cli_pages()
    pages |= {"contributing.md": project_page("CONTRIBUTING.md"), "changelog.md": project_page("CHANGELOG.md")}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    if MERMAID_SOURCE:
        files.append(File.generated(config, MERMAID, abs_src_path=MERMAID_SOURCE))
    return files


def on_config(config: Any) -> Any:
    """Put the generated pages of the command line into the navigation, and Mermaid into the site."""
    if MERMAID_SOURCE:
        config.extra_javascript.append(MERMAID)

    def insert(items: list[Any]) -> None:
        for item in items:
            for title, value in item.items() if isinstance(item, dict) else ():
                if title == "Command line":
                    value += [{f"gtrack {group}": f"reference/cli/{group}.md"} for group in GROUPS]
                elif isinstance(value, list):
                    insert(value)

    insert(config.nav)
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put the generated parts into the pages that ask for them."""
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", "\n".join(_command_table(cli_commands(), page="{}.md")))
    if "<!-- root options -->" in markdown:
        markdown = markdown.replace("<!-- root options -->", root_options())
    if "<!-- error tree -->" in markdown:
        markdown = markdown.replace("<!-- error tree -->", error_tree())
    markdown = re.sub(r"<!-- readme: (.*?) -->", lambda match: readme_section(match[1]), markdown)
    return re.sub(r"<!-- schema: ([\w-]+) -->", lambda match: schema_markdown(match[1]), markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Load Mermaid, which is large, only where a page has a diagram."""
    if not MERMAID_SOURCE or '<pre class="mermaid">' in output:
        return output
    return re.sub(rf'\s*<script src="[^"]*{re.escape(MERMAID)}"></script>', "", output)
