"""The cache of answers: bounded by bytes, least recently used out first."""

from __future__ import annotations

from pipeline.service.kept import Kept


def test_values_are_made_once() -> None:
    kept, made = Kept[bytes](10, len), []

    def make() -> bytes:
        made.append(1)
        return b"abc"

    assert [kept.get("a", make) for _ in range(3)] == [b"abc"] * 3
    assert len(made) == 1
    assert kept.find("b") is None


def test_the_least_recently_used_goes_first() -> None:
    kept = Kept[bytes](10, len)
    for key in "abc":
        kept.get(key, lambda: b"xxx")
    assert kept.find("a")
    kept.get("d", lambda: b"xxx")
    assert [key for key in "abcd" if kept.find(key)] == ["a", "c", "d"]


def test_what_is_too_large_is_not_kept() -> None:
    kept = Kept[bytes](10, len)
    kept.get("a", lambda: b"xxx")
    assert kept.get("large", lambda: b"x" * 11) == b"x" * 11
    assert kept.find("large") is None
    assert kept.find("a") == b"xxx"
