"""The known word that a mistyped one was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pipeline.core.errors import ConfigError

LIKENESS = 0.5  # least ratio of difflib, 0-1: half of the letters in order


def nearest(word: object, known: Iterable[str], most: int = 1, likeness: float = LIKENESS) -> list[str]:
    """Return the known words that look most like a given one.

    Parameters
    ----------
    word : object
        What was given, as text.
    known : iterable of str
        The words that would have been understood.
    most : int
        Return at most this many.
    likeness : float, 0-1
        Least ratio of matching letters (Ratcliff and Metzener 1988, as in `difflib`).

    Returns
    -------
    list of str
        Best first; empty where none is alike.

    Examples
    --------
    >>> nearest("smothing_um", ["smoothing_um", "voxel_um"])
    ['smoothing_um']
    """
    return difflib.get_close_matches(str(word), list(known), most, likeness)


def hint(word: object, known: Iterable[str]) -> str:
    """Return how an error about an unknown word ends: with the nearest known one, or with all.

    Parameters
    ----------
    word : object
        What was given, as text.
    known : iterable of str
        The words that would have been understood.

    Returns
    -------
    str
        Without a leading separator.

    Examples
    --------
    >>> hint("coronel", ["coronal", "sagittal"]), hint("x", ["coronal", "sagittal"])
    ('did you mean coronal?', 'known: coronal, sagittal')
    """
    words = list(known)
    near = nearest(word, words)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(words)}"


def unknown_word(where: str, word: object, known: Iterable[str]) -> ConfigError:
    """Return the error about a word of a configuration that is none of those allowed.

    Parameters
    ----------
    where : str
        The key whose value it is.
    word : object
        What was given.
    known : iterable of str
        The words that are allowed there.

    Returns
    -------
    ConfigError
        One line: what was expected, what came, what was meant.
    """
    words = list(known)
    near = nearest(word, words)
    meant = f"; did you mean {near[0]}?" if near else ""
    return ConfigError(f"{where}: expected one of {', '.join(words)}; got {word!r}{meant}")
