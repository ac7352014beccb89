"""YAML with bounds, without code execution and without the surprises of YAML 1.1.

A number with leading zeros, a date, a time such as 12:30, yes, no, on and off are text. Refused are aliases,
which can expand a few lines to gigabytes, and all tags except those of plain values.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, NoReturn

import yaml

from pipeline.core.errors import DataError
from pipeline.system.files import MOST_DIGITS, shown

DEEPEST = 30  # nesting depth; our files have five levels
MOST_NODES = 100_000  # keys, values and lists, read in seconds; polygons drawn by hand have hundreds
PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
SURROGATE = re.compile("[\ud800-\udfff\0]")  # half of a UTF-16 pair, or NUL


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds and other rules for plain scalars."""

    depth = 0
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node; refuse aliases, nesting too deep, and tags that do not fit the value."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            _refuse("an alias (*name)", mark)
        self.depth += 1
        self.nodes += 1
        if self.depth > DEEPEST:
            _refuse(f"lists nested more than {DEEPEST} deep", mark)
        if self.nodes > MOST_NODES:
            _refuse(f"more than {MOST_NODES} values", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None:
            self._check_tag(node)
        return node

    def _check_tag(self, node: yaml.Node) -> None:
        """Refuse an explicit tag that changes the value: in YAML 1.1, `!!int 0123` is 83."""
        if node.tag not in PLAIN:
            _refuse(f"the tag {node.tag[-40:]}", node.start_mark)
        if isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":str"):
            usual = self.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
            if usual != node.tag and not (usual.endswith(":int") and node.tag.endswith(":float")):
                _refuse(f"{shown(node.value)} under the tag !!{node.tag.rpartition(':')[2]}", node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a mapping; a repeated key is an error instead of the last one taking effect."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                _refuse(f"{shown(key)} as a key", key_node.start_mark)
            if key in seen:
                _refuse(f"the key {shown(key)} twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Construct a scalar; refuse half characters, NUL and numbers of very many digits."""
        value = super().construct_scalar(node)
        if isinstance(value, str) and SURROGATE.search(value):
            _refuse(f"half a character or NUL in {shown(value)}", node.start_mark)
        if node.tag.endswith((":int", ":float")) and len(str(value)) > MOST_DIGITS:
            _refuse(f"a number of {len(str(value))} digits", node.start_mark)
        return value


def _refuse(what: str, mark: yaml.Mark) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=what, problem_mark=mark)


_Loader.yaml_implicit_resolvers = {}
for _tag, _form, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_form})\\Z"), list(_first))


def parse_yaml(text: str, where: str) -> Any:
    """Parse the single document of a YAML text.

    Parameters
    ----------
    text : str
        YAML.
    where : str
        File name for messages.

    Returns
    -------
    object
        Nested dicts, lists and plain values.

    Raises
    ------
    DataError
        Where the text is not valid or is refused; the message has line and reason.

    Examples
    --------
    >>> parse_yaml("{id: 0123, gene: NO, age: 2024-13-45, thickness: 1e2, at: 12:30}", "x")
    {'id': '0123', 'gene': 'NO', 'age': '2024-13-45', 'thickness': 100.0, 'at': '12:30'}
    """
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        raise DataError(f"{where}{_place(error)}: expected YAML, got {_problem(error)}") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise DataError(f"{where}: expected YAML, got {' '.join(str(error).split())[:200]}") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        # constructors raise these for a tag that does not fit its value, as in !!int abc
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{where}: expected YAML, got a value that cannot be read ({what})") from None


def _place(error: yaml.MarkedYAMLError) -> str:
    """Return line number and text of the place of an error."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return ""
    text = (mark.get_snippet(indent=0, max_length=60) or "").partition("\n")[0].strip()
    return f": line {mark.line + 1}" + (f" ({shown(text)})" if text else "")


def _problem(error: yaml.MarkedYAMLError) -> str:
    """Return the problem in one line, together with PyYAML's description of what it was reading."""
    return " ".join(f"{error.problem or ''} {error.context or ''}".split())[:200]
