"""What images say of displacements: Gauss-Newton forms summed to nodes, robust."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.core.model import Bool, Float32, Float64
from pipeline.sections.medians import MAD_TO_SIGMA

ROBUST = 2.5  # residual at which a weight is down to a quarter, in standard deviations


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes over a raster, each with a tent of weights that add up to 1 everywhere.

    Attributes
    ----------
    rows : (node rows, rows) float32
        Tents along the rows.
    columns : (node columns, columns) float32
        Tents along the columns.
    step_um : float, um
        Distance of the nodes.
    """

    rows: Float32
    columns: Float32
    step_um: float

    @classmethod
    def over(cls, shape: tuple[int, int], um: float, step_um: float) -> Nodes:
        """Return the nodes over a raster.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the raster.
        um : float, um
            Their distance.
        step_um : float, um
            Distance of the nodes.

        Returns
        -------
        Nodes
            From the first cell to beyond the last.
        """
        return cls(_tents(shape[0], step_um / um), _tents(shape[1], step_um / um), step_um)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of nodes."""
        return len(self.rows), len(self.columns)

    def places_um(self) -> Float64:
        """Return where the nodes lie.

        Returns
        -------
        (rows, columns, 2) float64, um
            (row, column).
        """
        rows, columns = (self.step_um * np.arange(n, dtype=np.float64) for n in self.shape)
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)

    def summed(self, image: Float32) -> Float64:
        """Return the sum of an image under each tent, (node rows, node columns).

        Parameters
        ----------
        image : (rows, columns) float32
            Values.

        Returns
        -------
        (node rows, node columns) float64
            Their sum over all nodes is that of the image.
        """
        return np.asarray(self.rows @ image @ self.columns.T, np.float64)

    def at_cells(self, field: Float64) -> Float32:
        """Return values at the cells of the raster, bilinear between nodes.

        Parameters
        ----------
        field : (node rows, node columns) float64
            Values at the nodes.

        Returns
        -------
        (rows, columns) float32
            Values at the cells.
        """
        return np.asarray(self.rows.T @ field.astype(np.float32) @ self.columns)


def _tents(count: int, step: float) -> Float32:
    nodes = int(np.ceil((count - 1) / step)) + 1
    away = np.abs(np.arange(count)[None, :] / step - np.arange(nodes)[:, None])
    return np.asarray(np.maximum(1.0 - away, 0.0), np.float32)


def blurred(image: Float32, known: Bool, sigma_px: float) -> tuple[Float32, Float32]:
    """Return an image blurred over what is known of it.

    Parameters
    ----------
    image : (rows, columns) float32
        Values; anything where nothing is known.
    known : (rows, columns) bool
        Where the values count.
    sigma_px : float, px
        Standard deviation of the Gaussian.

    Returns
    -------
    values : (rows, columns) float32
        Normalised by the weights, 0 where these vanish.
    weights : (rows, columns) float32
        Share of the Gaussian that is known.
    """
    ones = known.astype(np.float32)
    values = np.where(known, image, np.float32(0)).astype(np.float32)
    soft, weights = (
        cv2.GaussianBlur(part, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE) for part in (values, ones)
    )
    return np.where(weights > 1e-3, soft / np.maximum(weights, np.float32(1e-3)), np.float32(0)), weights


def gradient(image: Float32) -> tuple[Float32, Float32]:
    """Return the central differences of an image along rows and columns, a cell.

    Parameters
    ----------
    image : (rows, columns) float32
        Values.

    Returns
    -------
    down, across : (rows, columns) float32
        Differences.
    """
    kernel = np.array([-0.5, 0.0, 0.5], np.float32)
    one = np.ones(1, np.float32)
    return (
        cv2.sepFilter2D(image, cv2.CV_32F, one, kernel),
        cv2.sepFilter2D(image, cv2.CV_32F, kernel, one),
    )


def normal_form(
    nodes: Nodes, slopes: tuple[Float32, Float32], residual: Float32, weights: Float32
) -> tuple[Float64, Float64]:
    """Return the quadratic form that squares of a residual are in a displacement.

    Parameters
    ----------
    nodes : Nodes
        Nodes over the raster.
    slopes : two of (rows, columns) float32, 1/um
        Derivative of the residual by a displacement along rows and along columns.
    residual : (rows, columns) float32
        Its value without displacement.
    weights : (rows, columns) float32
        Weight of each cell's square.

    Returns
    -------
    weight : (node rows, node columns, 2, 2) float64
        Normal matrices.
    pull : (node rows, node columns, 2) float64
        Right sides.
    """
    down, across = slopes
    form = np.empty((*nodes.shape, 2, 2))
    form[..., 0, 0] = nodes.summed(weights * down * down)
    form[..., 1, 1] = nodes.summed(weights * across * across)
    form[..., 0, 1] = form[..., 1, 0] = nodes.summed(weights * down * across)
    pull = np.stack([-nodes.summed(weights * slope * residual) for slope in slopes], axis=-1)
    return form, pull


def robust_weights(residual: Float32, known: Float32, spread: float) -> Float32:
    """Return weights that let outliers go (Geman and McClure 1987).

    Parameters
    ----------
    residual : (rows, columns) float32
        Residuals.
    known : (rows, columns) float32
        Their weights before.
    spread : float
        Standard deviation of the residuals.

    Returns
    -------
    (rows, columns) float32
        Weights.
    """
    scale = np.float32((ROBUST * max(spread, 1e-6)) ** 2)
    return np.asarray(known * (scale / (scale + residual**2)) ** 2)


def spread_of(residual: Float32, where: Bool) -> float:
    """Return the robust standard deviation of residuals.

    Parameters
    ----------
    residual : array of float32
        Residuals.
    where : array of bool
        Those that count.

    Returns
    -------
    float
        From the median absolute deviation from 0; 0 where none counts.
    """
    values = residual[where]
    return float(MAD_TO_SIGMA * np.median(np.abs(values))) if values.size else 0.0
