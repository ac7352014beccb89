"""The text of RMA to items: steps along an axis, paths and filters.

White space and `+` between tokens are nothing. A value without quotes reaches to the next comma or bracket;
inside a quoted one a quote is doubled or follows a backslash. A slash goes on along a path as parentheses do.
A comma between filters and the path after them may be missing, as in the queries that AllenSDK's pages teach.
"""

from __future__ import annotations

import re
from functools import lru_cache

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput

from pipeline.service.http.answers import RequestError
from pipeline.service.rma.syntax import Filter, Item, Path, Step, Value, Variable
from pipeline.service.served import LIMITS

GRAMMAR = r"""
start: _group? ("," _group?)*
_group: item | brackets path
?item: AXIS brackets?                                -> step
     | brackets
     | path
path: NAME brackets? ("(" path? ("," path?)* ")" | SLASH path)?
brackets: bracket+
bracket: "[" FIELD "]"
       | "[" FIELD OPERATOR value ("," value)* "]"
?value: QUOTED | VARIABLE | BARE

AXIS.2: /[a-z]+[\s+]*::[\s+]*\w+/
NAME: /[A-Za-z_]\w*/
FIELD: /[A-Za-z_]\w*(\.\w+)*/
OPERATOR: /\$[a-z]{2}/
SLASH: /\/+/
QUOTED: /'(?:[^'\\]|''|\\.)*'/s
VARIABLE: /\$[A-Za-z_]\w*/
BARE: /[^\[\],'$\s+][^\[\],']*/
%ignore /[\s+]+/
"""
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "li", "il", "in", "is")
NAMES = {
    "AXIS": "model::, service::, pipe:: or rma::",
    "NAME": "an association",
    "FIELD": "an attribute",
    "OPERATOR": "an operator such as $eq",
    "QUOTED": "a value",
    "VARIABLE": "a value",
    "BARE": "a value",
    "SLASH": "/",
    "COMMA": "a comma",
    "LSQB": "[",
    "RSQB": "]",
    "LPAR": "(",
    "RPAR": ")",
    "$END": "the end",
}


class _Items(Transformer[Token, tuple[Item, ...]]):
    """Build items while the text is parsed."""

    def start(self, children: list[Item]) -> tuple[Item, ...]:
        return tuple(children)

    def step(self, children: list[object]) -> Step:
        axis, *filters = children
        words = re.sub(r"[\s+]", "", str(axis)).split("::")
        return Step(words[0], words[1], _filters(filters))

    def path(self, children: list[object]) -> Path:
        name, *rest = children
        paths = tuple(child for child in rest if isinstance(child, Path))
        return Path(str(name), _filters(rest), paths)

    def brackets(self, children: list[Filter]) -> tuple[Filter, ...]:
        return tuple(children)

    def bracket(self, children: list[Token | Variable]) -> Filter:
        name, *rest = children
        if not rest:
            return Filter(str(name))
        return Filter(str(name), str(rest[0])[1:], tuple(map(_value, rest[1:])))


def _filters(children: list[object]) -> tuple[Filter, ...]:
    return next((child for child in children if isinstance(child, tuple)), ())


def _value(token: object) -> Value:
    kind, text = getattr(token, "type", ""), str(token)
    if kind == "VARIABLE":
        return Variable(text[1:])
    if kind == "QUOTED":
        return re.sub(r"''|\\(.)", lambda match: match[1] or "'", text[1:-1], flags=re.DOTALL)
    bare = " ".join(text.replace("+", " ").split())
    return None if bare == "null" else bare


# Quoted texts and brackets are passed over whole. Their end is optional: an open one costs no second look.
_QUOTED = r"'(?:[^'\\]|''|\\.)*+'?"
_MARKS = re.compile(rf"{_QUOTED}|\[(?:[^'\]]|{_QUOTED})*+\]?|[(),]|/+", re.DOTALL)
_PARSER = Lark(GRAMMAR, parser="lalr", transformer=_Items())


@lru_cache(256)
def items(text: str) -> tuple[Item, ...]:
    """Parse a text of RMA.

    Parameters
    ----------
    text : str
        After decoding of the URL.

    Returns
    -------
    tuple of Item
        What stands between the outermost commas.

    Raises
    ------
    RequestError
        Where it is too long, nested too deeply or no RMA; the message shows the place.

    Examples
    --------
    >>> items("model::Gene,rma::criteria,products[id$in1,3]")[2]
    Path(name='products', filters=(Filter(name='id', operator='in', values=('1', '3')),), paths=())
    """
    check_size(text)
    try:
        found: tuple[Item, ...] = _PARSER.parse(text)  # type: ignore[assignment]
    except UnexpectedInput as error:
        raise RequestError(_fault(text, error)) from None
    return found


def check_size(text: str) -> None:
    """Refuse a text that is too long or nested too deeply, before anything parses it.

    Parameters
    ----------
    text : str
        After decoding of the URL.

    Raises
    ------
    RequestError
        With 414 where it is too long, 400 where too deep or no text.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise RequestError("RMA query: it is not valid Unicode") from None
    if length > LIMITS.query_bytes:
        raise RequestError(f"RMA query: at most {LIMITS.query_bytes} bytes, got {length}", status=414)
    deepest = _depth(text)
    if deepest > LIMITS.query_depth:
        raise RequestError(f"RMA query: associations nest at most {LIMITS.query_depth} deep, got {deepest}")


def _depth(text: str) -> int:
    """Return how deep paths nest, by parentheses and by slashes, in one pass over any text."""
    depth = deepest = 0
    outer = [0]  # depth at the start of each open pair of parentheses
    for match in _MARKS.finditer(text):
        mark = match[0][0]
        if mark == "(":
            depth += 1
            outer.append(depth)
        elif mark == "/":
            depth += 1
        elif mark == ")":
            if len(outer) > 1:
                outer.pop()
            depth = outer[-1]
        elif mark == ",":
            depth = outer[-1]
        deepest = max(deepest, depth)
    return deepest


def _fault(text: str, error: UnexpectedInput) -> str:
    ended = getattr(getattr(error, "token", None), "type", "") == "$END"
    place = len(text) if ended or error.pos_in_stream is None else error.pos_in_stream
    wanted = getattr(error, "expected", None) or getattr(error, "allowed", None) or set()
    words = sorted({NAMES.get(name, name) for name in wanted})
    found = repr(text[place : place + 20]) if place < len(text) else "the end"
    return f"RMA query, character {place + 1}: expected {' or '.join(words) or 'RMA'}; got {found}"
