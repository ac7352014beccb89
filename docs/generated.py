"""The pages that follow from the code: command line, configuration, Python API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import pipeline
from pipeline.cli.main import VERBS
from pipeline.detection import DETECTORS
from pipeline.inputs.config_keys import ConfigKey, aligner_keys, config_keys, config_schema
from pipeline.registration import ALIGNERS

PUBLIC = Path(pipeline.__file__).with_suffix(".pyi")
STREAMS = (
    "Tables go to standard output, everything else to standard error. `--json` gives machine output. The exit"
    " status is 0 for success, 1 for input that cannot be used, 2 for usage and configuration.\n"
)
KEYS = (
    "# Configuration\n\nMade from the models that check a configuration. A file holds only what differs from"
    " the defaults; unknown keys are refused. `ish config show CONFIG` prints these tables with the values of"
    " a file, `ish config check CONFIG` tells whether a run would take it, and"
    " [change settings](../howto/settings.md) says how to write one.\n\n"
    "The whole name of a key, as `--set` takes it, is the heading of its table, a dot and the key:"
    " `gridding.smoothing_um`, `detection.configuration.contrast`.\n"
)
NAMES = (
    "# Python\n\nMade from the docstrings. All names are names of `pipeline`; each is imported when it is"
    " first used. [Reading a run in Python](../python.md) shows them at work.\n"
)
WORDS = {Path: "PATH", int: "INTEGER", float: "FLOAT", str: "TEXT"}
PARTS = {  # folders of the package, and the heading that their public names stand under
    "runs": "Running and reading runs",
    "store": "Running and reading runs",
    "inputs": "What a run reads",
    "formats": "What a run reads",
    "core": "Nouns that all share",
    "geometry": "Image sync",
    "detection": "Detectors",
    "registration": "Alignment",
    "quantification": "Grid and structures",
    "search": "Search",
    "phantom": "The phantom",
}


def write_pages(folder: Path) -> None:
    """Write the pages into a folder; a page that would stay as it is is left alone."""
    pages = {"command_line": command_line(), "configuration": configuration(), "python_api": python_api()}
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; what Markdown would take for a border or a tag is escaped."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0])]
    lines += [[_escaped(cell) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    text = cell.replace("|", "\\|").replace("\n", " ")
    return text if text.startswith("`") else text.replace("<", "\\<").replace("*", "\\*")


def command_line() -> str:
    """Return the page of all verbs with their arguments and options."""
    text = [
        "# Command line\n\nMade from the command itself. `ish VERB --help` prints the same.\n",
        STREAMS,
    ]
    for name, command in commands():
        text += [f"## ish {name}\n", *_described(command), _usage(name, command), _parameters(command)]
    return "\n".join(text)


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command that can be called, with its words."""
    for name, verb in VERBS.items():
        command = verb.load(name)
        inner = getattr(command, "commands", None)
        if inner:
            yield from ((f"{name} {sub}", one) for sub, one in inner.items())
        else:
            yield name, command


def _described(command: Any) -> list[str]:
    """Return the help of a command as paragraphs."""
    return [" ".join(part.split()) + "\n" for part in (command.help or "").split("\n\n")]


def _usage(name: str, command: Any) -> str:
    words = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    needed = [f"{p.opts[0]} {_metavar(p)}" for p in command.params if _is_option(p) and p.required]
    return f"```text\nish {' '.join([name, *words, *needed, '[OPTIONS]'])}\n```\n"


def _is_option(parameter: Any) -> bool:
    return parameter.param_type_name == "option" and not getattr(parameter, "hidden", False)


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _metavar(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor.annotation
    kind = (get_args(kind) or (kind,))[0]  # of a list
    return WORDS.get(kind, "|".join(map(str, getattr(kind, "__members__", {}).values())) or "TEXT")


def _parameters(command: Any) -> str:
    rows = []
    for p in command.params:
        if p.param_type_name == "argument":
            rows.append((f"`{_argument(p)}`", p.help or "", ""))
        elif _is_option(p):
            names = " / ".join([*p.opts, *p.secondary_opts])
            rows.append((f"`{names}` {_metavar(p)}".strip(), p.help or "", _default(p)))
    return table(("option", "what", "default"), rows)


def _default(parameter: Any) -> str:
    """Return the default of an option; none for a flag, nor for a number of cores."""
    value = parameter.default
    if value is None or callable(value) or isinstance(value, bool) or parameter.name == "workers":
        return "required" if parameter.required else ""
    return f"`{value}`"


def configuration() -> str:
    """Return the page of all keys of a configuration."""
    text = [KEYS]
    sections = config_schema()["properties"]
    keys = list(config_keys())
    for name, section in sections.items():
        text += [f"## {name}\n", section["description"] + "\n"]
        own = [key for key in keys if key.key.startswith(f"{name}.") and ".configuration." not in key.key]
        text += [_keys(own)] if own else []
        text += [*_algorithms(name)]
    return "\n".join(text)


def _algorithms(section: str) -> Iterator[str]:
    """Yield the parameters of each algorithm of a section."""
    if section == "detection":
        for name in DETECTORS:
            keys = [k for k in config_keys(detector=name) if k.key.startswith("detection.configuration.")]
            yield f"### detection.configuration of {name}\n"
            yield _keys(keys)
    if section == "alignment":
        for names in (tuple(ALIGNERS), ("given",)):
            found = aligner_keys(names[0]).items()
            keys = [ConfigKey(f"alignment.configuration.{k}", s.get("default"), s) for k, s in found]
            yield f"### alignment.configuration of {' and '.join(names)}\n"
            yield _keys(keys)


def _keys(keys: Iterable[ConfigKey]) -> str:
    rows = (
        (f"`{k.key.rpartition('.')[2]}`", k.text, f"`{json.dumps(k.default)}`", _unit(k), k.allowed)
        for k in keys
    )
    return table(("key", "what", "default", "unit", "allowed"), rows)


def _unit(key: ConfigKey) -> str:
    return key.unit.replace("um2", "µm²").replace("um", "µm")


def python_api() -> str:
    """Return the page of all public names, whose texts are their docstrings."""
    found: dict[str, list[tuple[str, str]]] = {title: [] for title in dict.fromkeys(PARTS.values())}
    for module, name in re.findall(r"^from \.([\w.]+) import (\w+) as", PUBLIC.read_text("utf-8"), re.M):
        found[PARTS[module.partition(".")[0]]].append((module, name))
    text = [NAMES]
    for title, names in found.items():
        text += [f"## {title}\n", *(_directive(name) for _, name in names)]
    return "\n".join(text)


def _directive(name: str) -> str:
    value = getattr(pipeline, name)
    if isinstance(value, type):
        kind, options = "autoclass", "   :members:\n" if name in ("RunResults", "SearchIndex") else ""
    else:
        kind, options = ("autofunction", "") if callable(value) else ("autodata", "   :no-value:\n")
    return f"```{{eval-rst}}\n.. {kind}:: pipeline.{name}\n{options}```\n"
