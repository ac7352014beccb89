"""Two brains matched: an affine map, then an elastic displacement, from coarse to fine, by any cues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.atlas_building.displacement import Displacement, from_affine
from pipeline.atlas_building.matching.cues import Cue, Evidence, LevelCue, evidence, inside
from pipeline.atlas_building.matching.elastic import NODE, node_counts, normal_equations, solve
from pipeline.atlas_building.matching.sampling import expanded
from pipeline.core.model import Float32, Float64


@dataclass(frozen=True)
class Stage:
    """Rounds at one scale.

    Attributes
    ----------
    step : int
        Working voxels a voxel of this scale, a power of two.
    blur : float, voxels
        Of both images.
    affine_rounds, rounds : int
        How often the affine map is improved first, then the displacement.
    """

    step: int
    blur: float
    affine_rounds: int
    rounds: int


STAGES = (Stage(2, 1.0, 6, 8), Stage(2, 0.6, 0, 6), Stage(1, 0.8, 0, 8), Stage(1, 0.5, 0, 6))
STIFFNESS = 30.0  # weight of the bending energy at the working voxel: what the benchmark measured best
WINDOW = 4.0  # working voxels, of the surroundings whose residual is the noise
LONGEST = 0.7  # voxels that a round moves a node at most
ROOM = 1.5  # blurs from the faces of the source's box within which nothing is compared


@dataclass(frozen=True, eq=False)
class Pair:
    """A target and a source on working grids of one voxel size.

    Attributes
    ----------
    weight : (P, I, R) float32
        1 where the target is looked at.
    source_shape : (3,) int
        Voxels of the source.
    spacing_um : float, um
        Working voxel.
    """

    weight: Float32
    source_shape: tuple[int, int, int]
    spacing_um: float


@dataclass(frozen=True, eq=False)
class State:
    """A displacement in two parts.

    Attributes
    ----------
    affine : (3, 4) float64, um to um
        Target to source.
    rest : (P, I, R, 3) float32, um
        What is added, on the working grid of the target.
    """

    affine: Float64
    rest: Float32

    def displacement(self, spacing_um: float, shape: Sequence[int] | None = None) -> Displacement:
        """Return both parts together.

        Parameters
        ----------
        spacing_um : float, um
            Working voxel.
        shape : (3,) int, optional
            Nodes, at least those of the working grid, which is the default; the second part goes on as it
            ends.

        Returns
        -------
        Displacement
            On nodes a working voxel apart.
        """
        more = [
            (0, n - own) for n, own in zip(shape or self.rest.shape[:3], self.rest.shape[:3], strict=True)
        ]
        rest = np.pad(self.rest, [*more, (0, 0)], mode="edge")
        linear = from_affine(self.affine, rest.shape[:3], spacing_um)
        return Displacement(linear.vectors + rest, spacing_um)


def start_of(affine: Float64, pair: Pair) -> State:
    """Return an affine map without more."""
    return State(affine, np.zeros((*pair.weight.shape, 3), np.float32))


def match(
    cues: Sequence[Cue],
    pair: Pair,
    state: State,
    stages: Sequence[Stage] = STAGES,
    stiffness: float = STIFFNESS,
    normal: int | None = None,
) -> State:
    """Match a source with a target.

    Parameters
    ----------
    cues : sequence of Cue
        What both show alike.
    pair : Pair
        Their grids.
    state : State
        Where to start.
    stages : sequence of Stage
        From coarse to fine.
    stiffness : float
        Weight of the bending energy.
    normal : int, optional
        Axis along which the target's sections are stacked, where each lies by itself.

    Returns
    -------
    State
        From target to source.
    """
    for stage in stages:
        state = _stage(cues, pair, state, stage, (stiffness / stage.step**2, normal))
    return state


def _stage(
    cues: Sequence[Cue], pair: Pair, state: State, stage: Stage, stiff: tuple[float, int | None]
) -> State:
    um, step = pair.spacing_um * stage.step, stage.step
    levels = [cue.at(step, stage.blur) for cue in cues]
    weight = np.ascontiguousarray(pair.weight[::step, ::step, ::step])
    source_shape = tuple((n - 1) // step + 1 for n in pair.source_shape)
    affine, shape = state.affine, weight.shape
    nodes = _at_nodes(state.rest, shape, step) / np.float32(um)

    def facts() -> list[Evidence]:
        linear = from_affine(affine, shape, um).vectors / np.float32(um)
        field = linear + expanded(nodes, shape, NODE)
        usable = weight * inside(field, source_shape, ROOM * stage.blur + 0.5)
        return [_facts(level, field, usable, step) for level in levels]

    for _ in range(stage.affine_rounds):
        affine = affine_step(affine, facts(), um)
    for _ in range(stage.rounds):
        normals = normal_equations([(f.residual, f.slope, f.weight) for f in facts()])
        nodes = nodes + _short(solve(normals, nodes, *stiff))
    rest = expanded(nodes, state.rest.shape[:3], NODE * step) * np.float32(um)
    return State(affine, rest)


def _facts(level: LevelCue, field: Float32, weight: Float32, step: int) -> Evidence:
    return evidence(level.seen(field), weight, WINDOW / step)


def _at_nodes(rest: Float32, shape: Sequence[int], step: int) -> Float32:
    """Return the displacement at the nodes of a scale."""
    at = [
        np.minimum(np.arange(n) * NODE * step, full - 1)
        for n, full in zip(node_counts(shape), rest.shape[:3], strict=True)
    ]
    return rest[np.ix_(*at)]


def _short(step: Float32) -> Float32:
    length = np.linalg.norm(step, axis=-1, keepdims=True)
    return np.asarray(step * np.minimum(1.0, LONGEST / np.maximum(length, 1e-9)), np.float32)


def affine_step(affine: Float64, facts: Sequence[Evidence], um: float) -> Float64:
    """Return an affine map improved by one Gauss-Newton step.

    Parameters
    ----------
    affine : (3, 4) float64, um to um
        Target to source.
    facts : sequence of Evidence
        What the cues say, by voxels.
    um : float, um
        Voxel size.

    Returns
    -------
    (3, 4) float64, um to um
        With the linear map added that explains the residuals best; as it is where nothing varies.
    """
    squares, pulls = np.zeros((12, 12)), np.zeros(12)
    shape = facts[0].weight.shape
    scale = float(max(shape))
    for fact in facts:
        used = fact.weight > 0
        places = (np.argwhere(used) - np.array(shape) / 2) / scale
        slope = fact.slope[used].astype(np.float64)
        terms = np.concatenate([slope * places[:, [k]] for k in range(3)] + [slope], axis=1)
        squares += terms.T @ terms
        pulls += terms.T @ fact.residual[used].astype(np.float64)
    if not squares.any():  # nothing that varies is seen: the brains lie apart
        return affine
    found = np.linalg.solve(squares + 1e-6 * np.trace(squares) / 12 * np.eye(12), pulls)
    linear = found[:9].reshape(3, 3).T / scale
    middle = np.array(shape) * um / 2
    return affine + np.column_stack([linear, found[9:] * um - linear @ middle])
