"""A comparison of two groups of animals, as its tables, charts and page read it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.core.model import BOTH, LEFT, RIGHT, Int64
from pipeline.core.ontology import Ontology
from pipeline.groups.comparison import Compared
from pipeline.groups.power import LEVEL

SIDES = {LEFT: " left", RIGHT: " right", BOTH: ""}

Key = tuple[int, int]  # structure, hemisphere


@dataclass(frozen=True, eq=False)
class GroupComparison:
    """A comparison of two groups of animals, with everything its tables and page show.

    Attributes
    ----------
    design : str
        Path of the design.
    group : str
        Column that holds the groups.
    covariates : tuple of str
        Coefficients of the covariates.
    groups : tuple of str
        Groups, the compared two first.
    animals : tuple of str
        Animals.
    member : (animals,) int64
        Position of each animal's group.
    series : tuple of (str, str)
        Animal and run of each series.
    measure, structures : str
        What was compared, and in which set of structures.
    centred : bool
        Whether animals were put on one scale.
    keys, all_keys : tuple of (int, int)
        Structure and hemisphere of the tested rows, and of all rows.
    result : Compared
        Effects and p values.
    ontology : Ontology or None
        Names of structures.
    reference : str
        Name of the reference; empty where it is not known.
    notes : tuple of str
        Choices, and what was left out.
    """

    design: str
    group: str
    covariates: tuple[str, ...]
    groups: tuple[str, ...]
    animals: tuple[str, ...]
    member: Int64
    series: tuple[tuple[str, str], ...]
    measure: str
    structures: str
    centred: bool
    keys: tuple[Key, ...]
    all_keys: tuple[Key, ...]
    result: Compared
    ontology: Ontology | None
    reference: str
    notes: tuple[str, ...]

    @property
    def found(self) -> int:
        """Number of structures with q below .05."""
        return int(np.sum(self.result.q_value < LEVEL))

    @property
    def headline(self) -> str:
        """What was found, in one line."""
        first, second = self.groups[:2]
        counts = [int(np.sum(self.member == n)) for n in (0, 1)]
        return (
            f"{self.found} of {len(self.keys)} structures differ between {second} ({counts[1]} animals) and"
            f" {first} ({counts[0]}) at a false discovery rate of 5 %"
        )

    def label(self, key: Key) -> str:
        """Return the acronym of a row with its hemisphere.

        Parameters
        ----------
        key : (int, int)
            Structure and hemisphere.

        Returns
        -------
        str
            Such as "TH" or "TH left"; the id where no name is known.
        """
        known = self.ontology is not None and key[0] in self.ontology.by_id
        name = self.ontology.label(key[0]) if known and self.ontology is not None else str(key[0])
        return name + SIDES.get(key[1], "")

    def name(self, key: Key) -> str:
        """Return the full name of a structure.

        Parameters
        ----------
        key : (int, int)
            Structure and hemisphere.

        Returns
        -------
        str
            Its name; empty where it is not known.
        """
        structure = self.ontology.by_id.get(key[0]) if self.ontology is not None else None
        return structure.name if structure else ""

    @cached_property
    def order(self) -> list[int]:
        """Rows in the order of their p values, smallest first."""
        order: list[int] = np.argsort(self.result.tests.p_value, kind="stable").tolist()
        return order

    def columns(self) -> dict[str, list[Any]]:
        """Return `groups.csv` as columns, in the order of the hierarchy."""
        found, tests = self.result, self.result.tests
        means = [_means(found, self.member == n) for n in (0, 1)]
        return {
            "structure_id": [k[0] for k in self.keys],
            "hemisphere_id": [k[1] for k in self.keys],
            "n_1": found.counts[:, 0].tolist(),
            "n_2": found.counts[:, 1].tolist(),
            "effect": tests.effect.tolist(),
            "effect_lower": tests.lower.tolist(),
            "effect_upper": tests.upper.tolist(),
            "p_value": tests.p_value.tolist(),
            "q_value": found.q_value.tolist(),
            "acronym": [self.label((k[0], BOTH)) for k in self.keys],
            "name": [self.name(k) for k in self.keys],
            "ratio": np.exp(tests.effect).tolist(),
            "standard_error": tests.error.tolist(),
            "t": tests.t.tolist(),
            "degrees_of_freedom": tests.freedom.tolist(),
            "mean_1": means[0],
            "mean_2": means[1],
            "welch_p_value": found.welch_p.tolist(),
            "welch_q_value": found.welch_q.tolist(),
        }

    def table(self) -> list[dict[str, Any]]:
        """Return the rows of `groups.csv`, smallest p first."""
        columns = self.columns()
        return [{name: _plain(values[row]) for name, values in columns.items()} for row in self.order]


def _means(found: Compared, members: Any) -> list[float]:
    """Return the weighted mean log energy of a group, by structure."""
    weights = found.weights[:, members]
    values = np.where(weights > 0, found.values[:, members], 0.0)
    return (np.sum(weights * values, axis=1) / np.sum(weights, axis=1)).tolist()  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
