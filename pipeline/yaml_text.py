"""YAML as people mean it: safe, within bounds, and without the traps of YAML 1.1.

A number with leading zeros, a date, a time such as 12:30, yes, no, on and off are text, as they stand.
Aliases, which can make gigabytes of a few lines, and tags other than those of plain values are refused.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from pipeline.errors import DataError
from pipeline.files import MOST_DIGITS, shown

DEEPEST = 30  # lists within lists; ours nest five deep
PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
SURROGATE = re.compile("[\ud800-\udfff\0]")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with other rules for plain scalars, and bounds."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node unless it is an alias, nested too deep, or of a foreign tag."""
        if self.check_event(yaml.AliasEvent):
            self._refuse("an alias (*name)")
        self.depth += 1
        if self.depth > DEEPEST:
            self._refuse(f"lists nested more than {DEEPEST} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and node.tag not in PLAIN:
            self._refuse(f"the tag {node.tag[-40:]}", node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a mapping; a key written twice is an error instead of the last one winning."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, Hashable):
                self._refuse(f"the key {shown(key)}", node.start_mark)
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{shown(key)} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Construct a scalar; whole numbers of very many digits are refused."""
        value = super().construct_scalar(node)
        if isinstance(value, str) and SURROGATE.search(value):
            self._refuse(f"half a character or NUL in {shown(value)}", node.start_mark)
        if node.tag.endswith((":int", ":float")) and len(str(value)) > MOST_DIGITS:
            self._refuse(f"a number of {len(str(value))} digits", node.start_mark)
        return value

    def _refuse(self, what: str, mark: yaml.Mark | None = None) -> None:
        raise yaml.constructor.ConstructorError(None, None, f"expected plain values, got {what}", mark)


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
    """Return the one document of a YAML text; DataError in one line with place and reason.

    >>> parse_yaml("{id: 0123, gene: NO, age: 2024-13-45, thickness: 1e2, at: 12:30}", "x")
    {'id': '0123', 'gene': 'NO', 'age': '2024-13-45', 'thickness': 100.0, 'at': '12:30'}
    """
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise DataError(f"{where}: expected YAML, got {' '.join(str(error).split())[:300]}") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        # what constructors raise on a tag that does not fit its value, as in !!int abc
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{where}: expected YAML, got a value that cannot be read ({what})") from None
