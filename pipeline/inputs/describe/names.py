"""Section numbers in file names: which number it is, and when a person must decide."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.errors import ConfigError

# A pattern that is found in every name decides; other numbers are then ignored.
DECIDING = (
    (r"_[sS](\d+)(?=_|$)", "after _s"),
    (r"(?i)(?<![a-z])(?:section|slice|sect|sec)[ _-]*(\d+)", "after the word section or slice"),
)
# Numbers that are not section numbers: a date with or without a time, a channel, a magnification or length.
DATE = re.compile(
    r"(?<!\d)(?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)"
    r"(?:[-_. T]{0,2}[0-2]\d[-_.h:]?[0-5]\d(?:[-_.m:]?[0-5]\d)?(?!\d))?"
)
CHANNEL = re.compile(r"(?i)(?<![a-z0-9])(?:ch|channel|c)[ _-]?\d{1,2}(?!\d)")
MEASURE = re.compile(r"(?<![\d.])\d+(?:[.,]\d+)?[ ]?(?:[xX](?![A-Za-z])|um|µm|μm|nm|mm|dpi)")
MOST_DIGITS = 4  # of a section number, leading zeros aside
SHOWN = 3  # examples in a message


@dataclass(frozen=True)
class Reading:
    """One way to read section numbers from file names.

    Attributes
    ----------
    numbers : mapping of str to int
        Section numbers by file name.
    pattern : str
        Regular expression that reads them from a name without its suffix.
    how : str
        Description of the pattern, for a person.
    left_out : tuple of str
        Names that the pattern does not match.
    """

    numbers: Mapping[str, int]
    pattern: str
    how: str
    left_out: tuple[str, ...] = ()

    @property
    def distinguishes(self) -> bool:
        """Whether every image has a number of its own."""
        return len(set(self.numbers.values())) == len(self.numbers)

    def examples(self) -> str:
        """Return the lowest numbers as text, for a person to recognise."""
        shown = [str(n) for n in sorted(self.numbers.values())[:SHOWN]]
        return ", ".join(shown) + (" …" if len(self.numbers) > SHOWN else "")


def stem(name: str) -> str:
    """Return a file name without its suffix.

    Parameters
    ----------
    name : str
        File name; .ome.tif, .ome.zarr and .ome.btf count as one suffix.

    Returns
    -------
    str
        The name without it.

    Examples
    --------
    >>> stem("brain_013.ome.tif"), stem("brain")
    ('brain_013', 'brain')
    """
    base = re.sub(r"(?i)\.ome\.(?:tiff?|zarr|btf)$", "", name)
    return base.rpartition(".")[0] or base if base == name else base


def readings(names: Sequence[str]) -> tuple[Reading, ...]:
    """Return every way to read numbers that tell the images apart.

    A deciding pattern stands alone: where it does not tell the images apart, no other pattern is tried.

    Parameters
    ----------
    names : sequence of str
        File names of the images.

    Returns
    -------
    tuple of Reading
        Readings with different numbers.

    Examples
    --------
    >>> [r.examples() for r in readings(["Slide3_2024-05-01_013_10x.jpg", "Slide3_2024-05-01_014_10x.jpg"])]
    ['13, 14']
    """
    ordered = sorted(names)
    for pattern, how in DECIDING:
        found = _read(ordered, pattern, how)
        if found is not None:
            return (found,) if found.distinguishes else ()
    distinct: dict[tuple[int, ...], Reading] = {}
    for pattern, how in _positions(ordered):
        found = _read(ordered, pattern, how)
        if found is not None and found.distinguishes:
            distinct.setdefault(tuple(found.numbers.values()), found)
    return tuple(distinct.values())


def read_numbers(names: Sequence[str], pattern: str | None = None) -> Reading:
    """Return the section number of every name.

    Parameters
    ----------
    names : sequence of str
        File names of the images.
    pattern : str, optional
        Regular expression whose group is the number. With several groups, images are numbered 1, 2, 3 … in
        the order of the groups. Default: the only reading that tells the images apart.

    Returns
    -------
    Reading
        The numbers.

    Raises
    ------
    ConfigError
        Where names leave it open (the message has a pattern for each possibility), or the pattern does not
        serve.
    """
    if pattern is not None:
        return _by_pattern(sorted(names), pattern)
    found = readings(names)
    if len(found) == 1:
        return found[0]
    if found:
        listed = " or ".join(f"{r.examples()} (--pattern '{r.pattern}')" for r in found)
        raise ConfigError(f"section numbers: the names hold more than one: {listed}; say which")
    raise ConfigError(_none(sorted(names)))


def _positions(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return patterns for the k-th number from the end and from the start."""
    most = max(len(re.findall(r"\d+", stem(name))) for name in names) if names else 0
    found = []
    for k in range(most):
        found.append((r"(\d+)" + r"\D+\d+" * k + r"\D*$", _ordinal(k, "last")))
        found.append((r"^\D*" + r"\d+\D+" * k + r"(\d+)", _ordinal(k, "first")))
    return found


def _ordinal(k: int, end: str) -> str:
    return f"the {end} number" if k == 0 else f"number {k + 1} from the {end}"


def _read(names: Sequence[str], pattern: str, how: str) -> Reading | None:
    """Return the numbers that a pattern reads; None where a name has none, or one of another meaning."""
    compiled = re.compile(pattern)
    numbers: dict[str, int] = {}
    for name in names:
        text = stem(name)
        found = compiled.search(text)
        if found is None or _means_something_else(text, found.start(1)):
            return None
        if len(found[1].lstrip("0")) > MOST_DIGITS:
            return None
        numbers[name] = int(found[1])
    return Reading(numbers, pattern, how)


def _means_something_else(text: str, at: int) -> bool:
    return any(m.start() <= at < m.end() for kind in (DATE, MEASURE, CHANNEL) for m in kind.finditer(text))


def _by_pattern(names: Sequence[str], pattern: str) -> Reading:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--pattern {pattern!r}: not a regular expression: {error}") from None
    if compiled.groups == 0:
        raise ConfigError(
            f"--pattern {pattern!r}: expected a group such as (\\d+) round the number, got none"
        )
    matched = {name: found.groups() for name in names if (found := compiled.search(stem(name)))}
    if not matched:
        raise ConfigError(
            f"--pattern {pattern!r}: matches none of {len(names)} names such as {names[0]!r} without suffix"
        )
    left_out = tuple(name for name in names if name not in matched)
    keys = {name: tuple(_whole(pattern, name, text) for text in groups) for name, groups in matched.items()}
    _check_different(keys, f"--pattern {pattern!r}: ")
    if compiled.groups == 1:
        numbers = {name: key[0] for name, key in keys.items()}
    else:
        order = sorted(keys, key=lambda name: keys[name])
        numbers = {name: at for at, name in enumerate(order, start=1)}
    return Reading(numbers, pattern, "by --pattern", left_out)


def _whole(pattern: str, name: str, text: str | None) -> int:
    if text is None or not text.isdecimal():
        raise ConfigError(f"--pattern {pattern!r}: expected digits in every group, got {text!r} from {name}")
    return int(text)


def _check_different(keys: Mapping[str, tuple[int, ...]], where: str) -> None:
    first: dict[tuple[int, ...], str] = {}
    for name, key in keys.items():
        other = first.setdefault(key, name)
        if other != name:
            raise ConfigError(
                f"{where}{other} and {name} both give {'-'.join(map(str, key))};"
                " keep one image a section, or tell them apart with --pattern"
            )


def _none(names: Sequence[str]) -> str:
    """Return the message for names without a usable number: the reason, and what would help."""
    where = "section numbers"
    lacking = [name for name in names if not re.search(r"\d", stem(name))]
    if lacking:
        example = _example(next((n for n in names if n not in lacking), "x_s0013.jpg"))
        return (
            f"{where}: {lacking[0]} has no number in its name; rename it to …_s0013, or use --pattern such as"
            f" '{example}', which leaves out what it does not match"
        )
    stated = _twins(DECIDING[0][0], names)
    pairs = (r"(\d+)\D+(\d+)" + r"\D+\d+" * k + r"\D*$" for k in range(MOST_DIGITS))
    joint = next((pattern for pattern in pairs if _two_distinguish(pattern, names)), None)
    if joint and not stated:
        return (
            f"{where}: no single number tells {names[0]} … {names[-1]} apart, but two together do: --pattern"
            f" '{joint}' numbers the images 1, 2, 3 … in that order"
        )
    twins = stated or next((t for pattern, _ in _positions(names) if (t := _twins(pattern, names))), None)
    if twins:
        return f"{where}: {twins[0]} and {twins[1]} have the same number; keep one image a section"
    return (
        f"{where}: no number of up to {MOST_DIGITS} digits, dates and lengths aside, stands in every name and"
        f" differs in each, from {names[0]} to {names[-1]}; rename to …_s0013, or use --pattern such as"
        f" '{_example(names[0])}'"
    )


def _example(name: str) -> str:
    """Return a pattern that takes the last number of a name, made of that name.

    >>> _example("Slide3_2024_013_10x.jpg")
    'Slide3_2024_(\\\\d+)_10x'
    """
    text = stem(name)
    numbers = [m for m in re.finditer(r"\d+", text) if not _means_something_else(text, m.start())]
    if not numbers:
        return r"(\d+)"
    last = numbers[-1]
    return f"{re.escape(text[: last.start()])}(\\d+){re.escape(text[last.end() :])}"


def _two_distinguish(pattern: str, names: Sequence[str]) -> bool:
    """Return whether two numbers together differ for every image, but neither does alone."""
    found = [re.search(pattern, stem(name)) for name in names]
    keys = [tuple(map(int, m.groups())) for m in found if m and not _any_group_means_else(m)]
    alone = any(len({key[group] for key in keys}) == len(names) for group in range(2))
    return len(set(keys)) == len(names) and not alone


def _any_group_means_else(match: re.Match[str]) -> bool:
    return any(_means_something_else(match.string, match.start(g + 1)) for g in range(match.re.groups))


def _twins(pattern: str, names: Sequence[str]) -> tuple[str, str] | None:
    """Return two names with the same number, where most names differ in it."""
    first: dict[int, str] = {}
    twins = None
    for name in names:
        match = re.search(pattern, stem(name))
        if match is None or _any_group_means_else(match):
            return None
        other = first.setdefault(int(match[1]), name)
        twins = twins or ((other, name) if other != name else None)
    return twins if 2 * len(first) > len(names) else None
