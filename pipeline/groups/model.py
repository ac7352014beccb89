"""The linear model of a design: groups, covariates, and whether the groups can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.model import Float64, Int64

LEAST_ANIMALS = 3  # of a group


@dataclass(frozen=True, eq=False)
class Model:
    """Design of a comparison of two groups.

    Attributes
    ----------
    groups : tuple of str
        All groups; the compared two first, the one that the other is subtracted from second.
    member : (animals,) int64
        Position of each animal's group.
    columns : tuple of str
        Names of the coefficients.
    matrix : (animals, coefficients) float64
        A column for each group, then covariates, centred.
    contrast : (coefficients,) float64
        Second group minus first.
    """

    groups: tuple[str, ...]
    member: Int64
    columns: tuple[str, ...]
    matrix: Float64
    contrast: Float64


def build_model(
    labels: Sequence[str], pair: tuple[str, str], covariates: Mapping[str, Sequence[str] | Float64], what: str
) -> Model:
    """Build the model of a design.

    Parameters
    ----------
    labels : sequence of str
        Group of each animal.
    pair : (str, str)
        The compared groups, first and second.
    covariates : mapping of str to sequence of str or (animals,) float64
        Categories, or numbers.
    what : str
        Name of the group column, for messages.

    Returns
    -------
    Model
        Matrix and contrast.

    Raises
    ------
    ConfigError
        Where a group has fewer than 3 animals, a covariate equals or determines the group or another
        covariate, or no degree of freedom is left.
    """
    groups = (*pair, *(g for g in dict.fromkeys(labels) if g not in pair))
    member = np.array([groups.index(label) for label in labels], np.int64)
    _check_counts(groups, member, what)
    names = list(groups)
    matrix = np.eye(len(groups))[member]
    for name, values in covariates.items():
        added = _columns(name, values)
        wider = np.column_stack([matrix, *added.values()])
        if np.linalg.matrix_rank(wider) < wider.shape[1]:
            raise ConfigError(_confounded(name, list(added.values()), groups, member, what))
        names += added
        matrix = wider
    if len(labels) <= matrix.shape[1]:
        raise ConfigError(
            f"{len(labels)} animals for {matrix.shape[1]} coefficients ({', '.join(names)}): expected more"
            " animals than coefficients; leave a covariate out, or name it as NAME:number"
        )
    contrast = np.zeros(matrix.shape[1])
    contrast[:2] = -1, 1
    return Model(groups, member, tuple(names), matrix, contrast)


def _check_counts(groups: Sequence[str], member: Int64, what: str) -> None:
    for number, group in enumerate(groups[:2]):
        count = int(np.sum(member == number))
        if count < LEAST_ANIMALS:
            raise ConfigError(
                f"group {group} of {what}: expected at least {LEAST_ANIMALS} animals, got {count}; fewer say"
                " nothing of their scatter"
            )


def _columns(name: str, values: Sequence[str] | Float64) -> dict[str, Float64]:
    """Return the columns of a covariate: standardised numbers, or all categories but the first, centred.

    A covariate that is the same for all animals has none.
    """
    if isinstance(values, np.ndarray):
        spread = float(values.std())
        return {name: (values - values.mean()) / spread} if spread > 0 else {}
    levels = list(dict.fromkeys(values))
    found = {f"{name}={level}": np.array([float(v == level) for v in values]) for level in levels[1:]}
    return {key: column - column.mean() for key, column in found.items()}


def _confounded(name: str, added: Sequence[Float64], groups: Sequence[str], member: Int64, what: str) -> str:
    """Say whether a covariate is tied to the groups or to the covariates before it."""
    plain = np.column_stack([np.eye(len(groups))[member], *added])
    if np.linalg.matrix_rank(plain) < plain.shape[1]:
        return (
            f"covariate {name}: determines {what}, or is determined by it: no animals differ in one alone, so"
            f" their effects cannot be told apart; leave {name} out, or measure animals that break the tie"
        )
    return (
        f"covariate {name}: follows from the covariates before it together with {what}, so their effects"
        f" cannot be told apart; leave {name} out"
    )
