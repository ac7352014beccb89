"""AnnData (.h5ad): tables of experiments x structures, as single-cell and spatial tools read them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError
from pipeline.core.model import Float64
from pipeline.system.whole_files import replacing


@dataclass(frozen=True, eq=False)
class AnnotatedTable:
    """A matrix with what is known of its rows and columns.

    Parameters
    ----------
    rows, columns : name -> values      of equal length each; text, whole numbers or floats, nothing missing
    row_names, column_names : unique names of rows and columns
    layers : name -> (n_rows, n_columns) float64, NaN = no data
    main : str                          the layer that is X too
    about : name -> text                of the table as a whole
    """

    row_names: Sequence[str]
    rows: Mapping[str, Sequence[Any]]
    column_names: Sequence[str]
    columns: Mapping[str, Sequence[Any]]
    layers: Mapping[str, Float64]
    main: str
    about: Mapping[str, str]


def write_anndata(path: Path, table: AnnotatedTable) -> None:
    """Write a table as .h5ad; ConfigError where the optional package is not installed."""
    try:
        anndata = importlib.import_module("anndata")
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise ConfigError(
            "--format anndata: needs the package anndata; install it with pip install 'ish-pipeline[anndata]'"
        ) from None
    data = anndata.AnnData(
        X=table.layers[table.main],
        obs=pandas.DataFrame(dict(table.rows), index=list(table.row_names)),
        var=pandas.DataFrame(dict(table.columns), index=list(table.column_names)),
        layers=dict(table.layers),
        uns=dict(table.about),
    )
    with replacing(path) as fresh:
        data.write_h5ad(fresh)
