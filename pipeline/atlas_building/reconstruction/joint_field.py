"""All sections moved at once: each by what it shows against the anchor and against its neighbours.

Nothing is chained. Every comparison is a quadratic form in the displacements, at nodes over the planes: of
one section, or of the difference of two. Their sum with a prior in the plane is minimised in one system.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

from pipeline.core.model import Float64, Int64

ROUNDS = 150  # of conjugate gradients at most
TOLERANCE = 1e-4  # of the right side, at which they end
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Evidence:
    """What comparisons say of the displacements, as quadratic forms at nodes.

    Attributes
    ----------
    own : (n, rows, columns, 2, 2) float64, 1/um2
        Weight of each section's displacement.
    own_pull : (n, rows, columns, 2) float64, 1/um
        Weight times the displacement that is seen.
    pairs : (m, 2) int64
        Sections i, j that are compared.
    pair : (m, rows, columns, 2, 2) float64, 1/um2
        Weight of the displacement of j minus that of i.
    pair_pull : (m, rows, columns, 2) float64, 1/um
        Weight times the difference that is seen.
    """

    own: Float64
    own_pull: Float64
    pairs: Int64
    pair: Float64
    pair_pull: Float64


@dataclass(frozen=True)
class PlanePrior:
    """What is expected of a section's displacement before it is compared with anything.

    Attributes
    ----------
    spread_um : float or (n, 1, 1, 1) float64, um
        Its usual size, of all sections or of each.
    node_um : float, um
        Distance of the nodes.
    reach_um : float, um
        Distance over which it varies.
    """

    spread_um: float | Float64
    node_um: float
    reach_um: float

    def apply(self, field: Float64) -> Float64:
        """Return the gradient of the prior: (1 - reach² Laplace)² of the field over its variance per node.

        Parameters
        ----------
        field : (n, rows, columns, 2) float64, um
            Displacements.

        Returns
        -------
        (n, rows, columns, 2) float64, 1/um
            Gradient; a Matérn field has this precision (Whittle 1954, Lindgren et al. 2011).
        """
        ratio = (self.reach_um / self.node_um) ** 2
        once = field - ratio * _laplace(field)
        return np.asarray(self._precision * (once - ratio * _laplace(once)), np.float64)

    @property
    def diagonal(self) -> float | Float64:
        """Diagonal of the precision in the middle of a plane, 1/um2."""
        ratio = (self.reach_um / self.node_um) ** 2
        return self._precision * ((1 + 4 * ratio) ** 2 + 4 * ratio**2)

    @property
    def _precision(self) -> float | Float64:
        """Factor that gives the field its variance: 1 / (4 pi reach² variance) a node's area."""
        ratio = max((self.reach_um / self.node_um) ** 2, 1 / (4 * np.pi))
        return 1.0 / (4 * np.pi * ratio * self.spread_um**2)


def _laplace(field: Float64) -> Float64:
    """Return the sum of the differences to the four neighbours; none beyond the edge."""
    total = np.zeros_like(field)
    for axis in (1, 2):
        step = np.diff(field, axis=axis)
        before, after = [slice(None)] * field.ndim, [slice(None)] * field.ndim
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        total[tuple(before)] += step
        total[tuple(after)] -= step
    return total


def solve_fields(evidence: Evidence, prior: PlanePrior, present: Float64) -> Float64:
    """Return the steps of all displacement fields.

    Parameters
    ----------
    evidence : Evidence
        What the comparisons say, linear about the present fields.
    prior : PlanePrior
        Holds the whole displacement, present and step, small and smooth.
    present : (n, rows, columns, 2) float64, um
        Present fields.

    Returns
    -------
    (n, rows, columns, 2) float64, um
        Steps: conjugate gradients, preconditioned by the 2 x 2 blocks of the diagonal.
    """
    shape = present.shape
    first, second = evidence.pairs[:, 0], evidence.pairs[:, 1]

    def apply(flat: Float64) -> Float64:
        field = flat.reshape(shape)
        out = np.einsum("nrcij,nrcj->nrci", evidence.own, field) + prior.apply(field)
        moved = np.einsum("mrcij,mrcj->mrci", evidence.pair, field[second] - field[first])
        np.add.at(out, second, moved)
        np.subtract.at(out, first, moved)
        return np.asarray(out.ravel())

    right = evidence.own_pull - prior.apply(present)
    np.add.at(right, second, evidence.pair_pull)
    np.subtract.at(right, first, evidence.pair_pull)
    blocks = evidence.own + np.asarray(prior.diagonal)[..., None] * np.eye(2)
    np.add.at(blocks, first, evidence.pair)
    np.add.at(blocks, second, evidence.pair)
    inverse = np.linalg.inv(blocks)

    def condition(flat: Float64) -> Float64:
        return np.asarray(np.einsum("nrcij,nrcj->nrci", inverse, flat.reshape(shape)).ravel())

    size = right.size
    found, _ = sparse_linalg.cg(
        sparse_linalg.LinearOperator((size, size), apply, dtype=np.float64),
        right.ravel(),
        rtol=TOLERANCE,
        maxiter=ROUNDS,
        M=sparse_linalg.LinearOperator((size, size), condition, dtype=np.float64),
    )
    return np.asarray(found.reshape(shape))


def rigid_basis(places_um: Float64, arm_um: float) -> Float64:
    """Return the displacement of nodes by shifts and a turn.

    Parameters
    ----------
    places_um : (rows, columns, 2) float64, um
        Places of the nodes from the centre of the turn, (row, column).
    arm_um : float, um
        Distance at which the turn is measured as an arc.

    Returns
    -------
    (rows, columns, 2, 3) float64
        By 1 um of shift along rows, along columns, and of arc.
    """
    basis = np.zeros((*places_um.shape[:2], 2, 3))
    basis[..., 0, 0] = basis[..., 1, 1] = 1.0
    basis[..., 0, 2], basis[..., 1, 2] = -places_um[..., 1] / arm_um, places_um[..., 0] / arm_um
    return basis


@dataclass(frozen=True, eq=False)
class RigidForms:
    """Quadratic forms in the parameters of rigid sections.

    Attributes
    ----------
    own : (n, p, p) float64
        Of each section.
    own_pull : (n, p) float64
        Weight times what is seen.
    pairs : (m, 2) int64
        Sections i, j that are compared.
    pair : (m, p, p) float64
        Of the parameters of j minus those of i.
    pair_pull : (m, p) float64
        Weight times the difference that is seen.
    """

    own: Float64
    own_pull: Float64
    pairs: Int64
    pair: Float64
    pair_pull: Float64

    def softened(self, spread_um: Float64) -> RigidForms:
        """Return the forms with an error of the pairs that images do not tell.

        Parameters
        ----------
        spread_um : (m,) float64, um
            Its standard deviation: tissue itself moves from one section to the next.

        Returns
        -------
        RigidForms
            Covariances of the pairs with that variance added.
        """
        freedom = self.pair.shape[-1]
        eye = np.eye(freedom)
        mean = np.linalg.solve(self.pair + TINY * eye, self.pair_pull[..., None])
        known = eye + self.pair * (spread_um**2)[:, None, None]
        pair = np.linalg.solve(known, self.pair)  # (H^-1 + s^2)^-1, also where H is singular
        pair = 0.5 * (pair + pair.transpose(0, 2, 1))
        return replace(self, pair=pair, pair_pull=np.einsum("mpq,mq->mp", pair, mean[..., 0]))

    def solve(self) -> Float64:
        """Return the parameters of all sections, (n, p): one sparse system."""
        count, freedom = self.own_pull.shape
        own, right = self.own.copy(), self.own_pull.copy()
        first, second = self.pairs[:, 0], self.pairs[:, 1]
        np.add.at(own, first, self.pair)
        np.add.at(own, second, self.pair)
        np.add.at(right, second, self.pair_pull)
        np.subtract.at(right, first, self.pair_pull)
        blocks = np.concatenate([own, -self.pair, -self.pair])
        rows = np.concatenate([np.arange(count), first, second])
        columns = np.concatenate([np.arange(count), second, first])
        at = np.arange(freedom)
        row = np.broadcast_to(rows[:, None, None] * freedom + at[:, None], blocks.shape)
        column = np.broadcast_to(columns[:, None, None] * freedom + at, blocks.shape)
        size = count * freedom
        matrix = sparse.coo_matrix((blocks.ravel(), (row.ravel(), column.ravel())), (size, size))
        return np.asarray(sparse_linalg.spsolve(matrix.tocsc(), right.ravel()).reshape(count, freedom))


def rigid_forms(evidence: Evidence, basis: Float64) -> RigidForms:
    """Return what evidence at nodes says of rigid sections.

    Parameters
    ----------
    evidence : Evidence
        Of displacements at nodes.
    basis : (rows, columns, 2, p) float64
        Displacement of the nodes by each parameter.

    Returns
    -------
    RigidForms
        The same forms in the parameters.
    """
    own = np.einsum("rcip,nrcij,rcjq->npq", basis, evidence.own, basis, optimize=True)
    pair = np.einsum("rcip,mrcij,rcjq->mpq", basis, evidence.pair, basis, optimize=True)
    right = np.einsum("rcip,nrci->np", basis, evidence.own_pull)
    pull = np.einsum("rcip,mrci->mp", basis, evidence.pair_pull)
    return RigidForms(own, right, evidence.pairs, pair, pull)


def autoregressive_weights(z_um: Float64, correlation: float, step_um: float) -> tuple[Float64, Float64]:
    """Return the precision of residuals that are alike in neighbours, as sums of squares.

    Parameters
    ----------
    z_um : (n,) float64, um
        Places of the sections, ascending.
    correlation : float
        Of the residuals of two sections one step apart.
    step_um : float, um
        That step.

    Returns
    -------
    own : (n,) float64
        Weight of the square of each residual, over its variance.
    pair : (n - 1,) float64
        Weight of the square of the difference of neighbours.

    Notes
    -----
    A first-order autoregression along z (Ornstein and Uhlenbeck 1930) has a tridiagonal precision; its row
    sums weigh the residuals, what is beside its diagonal their differences.
    """
    rho = np.clip(correlation, 0.0, 0.995) ** (np.diff(z_um) / step_um)
    rho = np.clip(rho, TINY, 0.999)
    own = np.ones(len(z_um))
    own[:-1] += 1 / (1 + rho) - 1
    own[1:] += 1 / (1 + rho) - 1
    return own, rho / (1 - rho**2)
