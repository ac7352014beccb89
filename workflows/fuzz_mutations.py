"""Ways in which a file may differ from what a program expects; see fuzz.py."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

NASTY = (
    b"", b"-1", b"0", b"1e999", b"-0", b"nan", b"inf", b"9" * 400, b"99999999999999999999", b"0123", b"0x1F",
    b"1e3", b"!!int abc", b"!!python/object:os.system", b"*a", b"&a [*a]", b"[" * 3000, b"{" * 200,
    b"2024-13-45", b"null", b"~", b"'", b"[]", b"{}", b"../../etc/passwd", b"/etc/passwd",
    b"x" * 300, b"\\uD800", b'"',
    b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\n", b"\r\n", b"\t", b";", b",", b",,,,", b"=cmd|'/c calc'!A0",
    "µ".encode("latin-1"), b"<!DOCTYPE x>", b"<a>", b"&amp;", b"%n%s", b"[bold]", b"[/x]", b"-2147483649",
    b"1.7976931348623157e308", b"true", b"NO",
)  # fmt: skip

Mutation = Callable[[Path, random.Random], None]


def flip_bits(file: Path, drawn: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(drawn.choice((1, 1, 3, 30))):
        if content:
            content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    file.write_bytes(content)


def flip_early(file: Path, drawn: random.Random) -> None:
    """Headers lie at the start."""
    content = bytearray(file.read_bytes())
    for _ in range(drawn.choice((1, 2, 4))):
        if content:
            content[drawn.randrange(min(len(content), 128))] = drawn.randrange(256)
    file.write_bytes(content)


def cut(file: Path, drawn: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: drawn.randrange(len(content) + 1)])


def insert(file: Path, drawn: random.Random) -> None:
    content, what = file.read_bytes(), drawn.choice(NASTY)
    at = drawn.randrange(len(content) + 1)
    file.write_bytes(content[:at] + what + content[at:])


def replace_token(file: Path, drawn: random.Random) -> None:
    """Put something nasty in place of a word or number."""
    content = file.read_bytes()
    tokens = list(re.finditer(rb"[\w.+-]+", content))
    if tokens:
        token = drawn.choice(tokens)
        file.write_bytes(content[: token.start()] + drawn.choice(NASTY) + content[token.end() :])


def shuffle_lines(file: Path, drawn: random.Random) -> None:
    lines = file.read_bytes().split(b"\n")
    for _ in range(drawn.choice((1, 2))):
        i, j = drawn.randrange(len(lines)), drawn.randrange(len(lines))
        how = drawn.randrange(3)
        if how == 0:
            lines[i] = lines[j]
        elif how == 1:
            lines.insert(i, lines[j])
        elif len(lines) > 1:
            lines.pop(i % len(lines))
    file.write_bytes(b"\n".join(lines))


def recode(file: Path, drawn: random.Random) -> None:
    text = file.read_bytes().decode("utf-8", "replace")
    file.write_bytes(
        text.encode(drawn.choice(("utf-16", "utf-16-le", "latin-1", "utf-8-sig", "utf-32")), "replace")
    )


def empty(file: Path, drawn: random.Random) -> None:
    file.write_bytes(b"")


def noise(file: Path, drawn: random.Random) -> None:
    file.write_bytes(drawn.randbytes(drawn.choice((1, 16, 4096))))


def lose(file: Path, drawn: random.Random) -> None:
    file.unlink()


def be_a_folder(file: Path, drawn: random.Random) -> None:
    file.unlink()
    file.mkdir()


def be_a_pipe(file: Path, drawn: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def be_a_loop(file: Path, drawn: random.Random) -> None:
    file.unlink()
    file.symlink_to(file.name)


def be_endless(file: Path, drawn: random.Random) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def json_value(file: Path, drawn: random.Random) -> None:
    """Put another value into a JSON document, or leave one out; into other files something nasty."""
    try:
        document = json.loads(file.read_bytes())
    except ValueError:
        replace_token(file, drawn)
        return
    places = list(_places(document))
    if places:
        holder, key = drawn.choice(places)
        if drawn.random() < 0.2:
            del holder[key]
        else:
            values: list[Any] = [
                None,
                [],
                {},
                "x",
                -1,
                0,
                1e308,
                10**400,
                [[[]]],
                True,
                "\ud800",
                "1",
                [1, 2],
                0.5,
            ]
            holder[key] = drawn.choice(values)
    text = json.dumps(document)
    file.write_text(text.replace("0.5", drawn.choice(("0.5", "NaN", "Infinity", "1e999"))))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in list(items):
        yield node, key
        yield from _places(child)


BINARY: tuple[Mutation, ...] = (flip_bits, flip_early, flip_early, cut, insert, noise)
TEXT: tuple[Mutation, ...] = (
    replace_token,
    replace_token,
    replace_token,
    json_value,
    insert,
    shuffle_lines,
    cut,
    recode,
    flip_bits,
)
ANY: tuple[Mutation, ...] = (empty, lose, be_a_folder, be_a_pipe, be_a_loop, be_endless)
TEXTS = {".csv", ".yaml", ".json", ".xml", ".mhd"}


def harm(files: Sequence[Path], drawn: random.Random) -> tuple[Path, str]:
    """Harm one file; return it and how."""
    file = drawn.choice(files)
    mutations = (
        ANY if drawn.random() < 0.12 else TEXT if file.suffix in TEXTS or file.suffix == "" else BINARY
    )
    mutation = drawn.choice(mutations)
    mutation(file, drawn)
    return file, mutation.__name__
