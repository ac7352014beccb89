"""The joint solver against dense algebra, and against offsets that are known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.atlas_building.reconstruction.joint_field import (
    Evidence,
    PlanePrior,
    autoregressive_weights,
    rigid_basis,
    rigid_forms,
    solve_fields,
)

ROWS, COLUMNS = 3, 4


def drawn(seed: int, count: int) -> Evidence:
    """Return evidence with positive forms between all neighbours one and two apart."""
    rng = np.random.default_rng(seed)
    pairs = [(i, i + d) for d in (1, 2) for i in range(count - d)]

    def forms(n: int) -> np.ndarray:
        root = rng.normal(size=(n, ROWS, COLUMNS, 2, 2))
        return root @ root.transpose(0, 1, 2, 4, 3) * 0.01

    return Evidence(
        own=forms(count),
        own_pull=rng.normal(size=(count, ROWS, COLUMNS, 2)),
        pairs=np.array(pairs),
        pair=forms(len(pairs)),
        pair_pull=rng.normal(size=(len(pairs), ROWS, COLUMNS, 2)),
    )


def energy(evidence: Evidence, prior: PlanePrior, field: np.ndarray, present: np.ndarray) -> float:
    """Return what the solver minimises, term by term."""
    total = 0.0
    for k, own in enumerate(field):
        total += 0.5 * np.einsum("rci,rcij,rcj", own, evidence.own[k], own)
        total -= (evidence.own_pull[k] * own).sum()
    for m, (i, j) in enumerate(evidence.pairs):
        apart = field[j] - field[i]
        total += 0.5 * np.einsum("rci,rcij,rcj", apart, evidence.pair[m], apart)
        total -= (evidence.pair_pull[m] * apart).sum()
    whole = field + present
    return float(total + 0.5 * (whole * prior.apply(whole)).sum())


def test_the_step_is_the_least_of_all_terms() -> None:
    evidence, prior = drawn(1, 5), PlanePrior(60.0, 500.0, 700.0)
    present = np.random.default_rng(2).normal(size=(5, ROWS, COLUMNS, 2)) * 20
    found = solve_fields(evidence, prior, present)
    least = energy(evidence, prior, found, present)
    rng = np.random.default_rng(3)
    for _ in range(20):
        other = found + rng.normal(size=found.shape) * rng.choice([0.1, 1.0, 10.0])
        assert energy(evidence, prior, other, present) > least - 1e-6 * abs(least)


def test_the_prior_is_symmetric_and_has_its_spread() -> None:
    prior, shape = PlanePrior(60.0, 500.0, 700.0), (1, 15, 15, 1)
    matrix = np.stack([prior.apply(one.reshape(shape)).ravel() for one in np.eye(225)])
    assert np.allclose(matrix, matrix.T)
    spread = np.sqrt(np.linalg.inv(matrix).diagonal().reshape(15, 15)[7, 7])
    assert spread == pytest.approx(60.0, rel=0.2)  # on an infinite plane it is exact
    assert prior.diagonal == pytest.approx(matrix.reshape(15, 15, 225)[7, 7, 112])


def test_autoregression_is_the_inverse_of_its_covariance() -> None:
    z, rho, step = np.array([0.0, 50.0, 100.0, 250.0, 300.0]), 0.8, 50.0
    own, pair = autoregressive_weights(z, rho, step)
    precision = np.diag(own)
    for k, weight in enumerate(pair):
        precision[k : k + 2, k : k + 2] += weight * np.array([[1, -1], [-1, 1]])
    covariance = rho ** (np.abs(z[:, None] - z[None, :]) / step)
    assert np.allclose(precision @ covariance, np.eye(5))


def test_rigid_offsets_are_found_jointly() -> None:
    """Each section has an offset; pairs see the differences, one section its own place."""
    rng = np.random.default_rng(4)
    count, arm = 7, 3000.0
    rows, columns = np.meshgrid(
        np.linspace(-3000, 3000, ROWS), np.linspace(-4000, 4000, COLUMNS), indexing="ij"
    )
    basis = rigid_basis(np.stack([rows, columns], axis=-1), arm)
    true = rng.normal(size=(count, 3)) * 100
    field = np.einsum("rcip,np->nrci", basis, true)
    evidence = drawn(5, count)
    apart = field[evidence.pairs[:, 1]] - field[evidence.pairs[:, 0]]
    exact = Evidence(
        evidence.own,
        np.einsum("nrcij,nrcj->nrci", evidence.own, field),
        evidence.pairs,
        evidence.pair,
        np.einsum("mrcij,mrcj->mrci", evidence.pair, apart),
    )
    forms = rigid_forms(exact, basis)
    assert np.allclose(forms.solve(), true)
    assert np.allclose(forms.softened(np.full(len(evidence.pairs), 25.0)).solve(), true)


def test_an_error_that_images_do_not_tell_weakens_pairs_only() -> None:
    evidence = drawn(6, 4)
    basis = rigid_basis(np.zeros((ROWS, COLUMNS, 2)) + np.array([800.0, 300.0]), 3000.0)
    forms = rigid_forms(evidence, basis)
    soft = forms.softened(np.full(len(evidence.pairs), 30.0))
    for hard, weak in zip(forms.pair, soft.pair, strict=True):
        assert np.linalg.eigvalsh(hard - weak).min() > -1e-9
        assert np.linalg.eigvalsh(weak).max() <= 1 / 30.0**2 + 1e-9
    assert np.array_equal(forms.own, soft.own)
