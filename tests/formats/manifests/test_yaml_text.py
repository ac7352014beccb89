"""YAML as people mean it: no trap of YAML 1.1 changes a value, and nothing that a text holds runs away."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.errors import DataError
from pipeline.formats.manifests.yaml_text import MOST_NODES, parse_yaml

MEANT: dict[str, Any] = {
    "0123": "0123",
    "007.5": "007.5",
    "0o17": "0o17",
    "0x1F": "0x1F",
    "12:30": "12:30",
    "1_000": "1_000",
    "NO": "NO",
    "yes": "yes",
    "off": "off",
    "y": "y",
    "2024-01-05": "2024-01-05",
    "2024-13-45": "2024-13-45",
    "26,34": "26,34",
    "<<": "<<",
    "=": "=",
    "0": 0,
    "-12": -12,
    "1e3": 1000.0,
    "1.5E-2": 0.015,
    ".5": 0.5,
    "true": True,
    "~": None,
    "": None,
    "!!float 3": 3.0,
    "!!str 3": "3",
    "'3'": "3",
}


@pytest.mark.parametrize("text", MEANT)
def test_a_plain_value_is_what_it_looks_like(text: str) -> None:
    found = parse_yaml(f"a: {text}", "x")["a"]
    assert (found, type(found)) == (MEANT[text], type(MEANT[text]))


REFUSED = {
    "alias": ("a: &b [1]\nc: *b", r"x: line 2 \(.c: \*b.\): expected YAML, got an alias"),
    "bomb": ("a: &a [1]\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(9)), "an alias"),
    "deep": ("a: " + "[" * 3000 + "]" * 3000, "nested more than 30 deep"),
    "deep blocks": ("".join(f"{' ' * n}a:\n" for n in range(40)), "nested more than 30 deep"),
    "key twice": ("a: 1\nb: {c: 1,\n  c: 2}", "line 3 .*: expected YAML, got the key 'c' twice"),
    "list as key": ("? [1]\n: 2", r"got \[1\] as a key"),
    "letters": ("a: !!int abc", "'abc' under the tag !!int"),
    "octal": ("a: !!int 0123", "'0123' under the tag !!int"),
    "sexagesimal": ("a: !!int 12:30", "'12:30' under the tag !!int"),
    "yes": ("a: !!bool yes", "'yes' under the tag !!bool"),
    "python": ("a: !!python/object/apply:os.system [ls]", "the tag"),
    "set": ("a: !!set {b}", "the tag"),
    "merge": ("!!merge <<: {a: 1}", "the tag"),
    "digits": ("a: " + "9" * 401, "a number of 401 digits"),
    "surrogate": ('a: "\\uD800x"', "a: .*half a character or NUL"),
    "nul": ('a: "\\0"', "half a character or NUL"),
    "beyond Unicode": ('a: "\\U00110000"', "cannot be read"),
    "two documents": ("a: 1\n---\nb: 2", "a single document"),
    "tab": ("a:\n\tb: 1", "x: line 2 .*: expected YAML"),
    "not closed": ("a: [1, 2", "expected YAML"),
    "raw control": ("a: \x07", "special characters"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_meant_is_one_line(what: str) -> None:
    text, message = REFUSED[what]
    with pytest.raises(DataError, match=message) as caught:
        parse_yaml(text, "x")
    assert str(caught.value).startswith("x: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_number_of_values_is_bounded() -> None:
    with pytest.raises(DataError, match=f"more than {MOST_NODES} values"):
        parse_yaml("[" + "1," * (MOST_NODES + 1) + "]", "x")
