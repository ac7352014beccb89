"""AnnData (.h5ad): tables of experiments x structures for single-cell and spatial transcriptomics tools."""

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
    """A matrix with descriptions of its rows and columns.

    Attributes
    ----------
    row_names : sequence of str
        Unique names of the rows.
    rows : mapping of sequences
        Descriptions by name, one value a row: text, integers or floats, none missing.
    column_names : sequence of str
        Unique names of the columns.
    columns : mapping of sequences
        Descriptions by name, one value a column.
    layers : mapping of (n_rows, n_columns) float64
        Matrices by name, NaN = no data.
    main : str
        Name of the layer that becomes X as well.
    about : mapping of str
        Descriptions of the table as a whole, by name.
    """

    row_names: Sequence[str]
    rows: Mapping[str, Sequence[Any]]
    column_names: Sequence[str]
    columns: Mapping[str, Sequence[Any]]
    layers: Mapping[str, Float64]
    main: str
    about: Mapping[str, str]


def write_anndata(path: Path, table: AnnotatedTable) -> None:
    """Write a table as .h5ad.

    Parameters
    ----------
    path : Path
        File to write.
    table : AnnotatedTable
        Rows become observations (obs), columns variables (var).

    Raises
    ------
    ConfigError
        Where the optional package anndata is not installed.
    """
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
