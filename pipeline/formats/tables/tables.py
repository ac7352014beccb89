"""Tables as CSV for spreadsheets, floats in full precision, and as Parquet."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from pipeline.core.errors import DataError
from pipeline.system.files import check_plain, read_text, shown
from pipeline.system.whole_files import replacing

DELIMITERS = ",;\t"
# First characters of text that a spreadsheet would run as a formula. An apostrophe before them marks it as
# text (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r")
MOST_NUMBER = 2**31 - 1  # largest section number, and pixels along a side
DECIMAL_COMMA = re.compile(r"^([-+]?\d+),(\d+)$")

Columns = Mapping[str, Sequence[Any] | npt.NDArray[Any]]


def columns_of(rows: Sequence[Any], kind: type | None = None) -> dict[str, list[Any]]:
    """Turn dataclass instances into columns.

    Parameters
    ----------
    rows : sequence of dataclass instances
        All of one class.
    kind : type, optional
        Dataclass that names the columns; needed where there may be no rows.

    Returns
    -------
    dict of list
        Columns by name, in the order of the fields.

    Raises
    ------
    DataError
        Where there are neither rows nor `kind`.
    """
    if not rows and kind is None:
        raise DataError("table: no rows and no dataclass that names its columns")
    fields = dataclasses.fields(kind or type(rows[0]))
    return {field.name: [getattr(row, field.name) for row in rows] for field in fields}


def write_table(columns: Columns, path_csv: Path, path_parquet: Path | None = None) -> None:
    """Write columns as CSV and as Parquet.

    Parameters
    ----------
    columns : mapping of sequences
        Columns by name, all of one length.
    path_csv : Path
        CSV file: floats with every digit, NaN and None as empty cells.
    path_parquet : Path, optional
        Parquet file; None: CSV only.
    """
    table = pyarrow.table({name: pyarrow.array(_plain(values)) for name, values in columns.items()})
    write_csv(path_csv, columns)
    if path_parquet is not None:
        with replacing(path_parquet) as fresh, fresh.open("wb") as file:  # pyarrow opens UTF-8 paths only
            pyarrow.parquet.write_table(table, file)


def read_table(path: Path) -> dict[str, list[Any]]:
    """Read a Parquet table.

    Parameters
    ----------
    path : Path
        Parquet file.

    Returns
    -------
    dict of list
        Columns by name.

    Raises
    ------
    DataError
        Where the file is missing or not a Parquet table.
    """
    return dict(_parquet(path).to_pydict())


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read a Parquet table as arrays, which is several times as fast as lists.

    Parameters
    ----------
    path : Path
        Parquet file.

    Returns
    -------
    dict of (n,) arrays
        Columns by name; text and columns with empty cells as objects or, of numbers, as floats with NaN.

    Raises
    ------
    DataError
        As of `read_table`.
    """
    table = _parquet(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def _parquet(path: Path) -> pyarrow.Table:
    try:
        check_plain(path, "a Parquet table")
        with path.open("rb") as file:
            return pyarrow.parquet.ParquetFile(file).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: expected a Parquet table, got {str(error).splitlines()[0]}") from error


def write_csv(path: Path, columns: Columns) -> None:
    """Write columns as CSV.

    Parameters
    ----------
    path : Path
        CSV file: a header line, floats with every digit, NaN and None as empty cells.
    columns : mapping of sequences
        Columns by name, all of one length.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(v) for v in row] for row in zip(*map(_plain, columns.values()), strict=True))
    with replacing(path) as fresh:
        fresh.write_text(text.getvalue(), encoding="utf-8")


def read_points_csv(path: Path, required: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Read points to be mapped between spaces.

    Parameters
    ----------
    path : Path
        CSV file.
    required : sequence of str
        Columns that must exist and hold numbers, such as (section_number, x, y).

    Returns
    -------
    dict of (n,) arrays
        Required columns as float64 (section_number as int64), others as text.

    Raises
    ------
    DataError
        Where a required column is missing or a cell of it is not a finite number, or a section number is not
        whole.
    """
    header, rows = read_cells(path)
    missing = [name for name in required if name not in header]
    if missing:
        raise DataError(f"{path}: expected columns {','.join(required)}, got {shown(','.join(header))}")
    columns: dict[str, npt.NDArray[Any]] = {}
    for at, name in enumerate(header):
        cells = [(line, row[at]) for line, row in rows]
        if name in required:
            numbers = np.array([number(path, line, name, cell) for line, cell in cells], np.float64)
            columns[name] = _whole(path, numbers) if name == "section_number" else numbers
        else:
            columns[name] = np.array([cell for _, cell in cells], dtype=np.str_)
    return columns


def write_points_csv(path: Path, columns: Columns) -> None:
    """Write points as CSV.

    Parameters
    ----------
    path : Path
        CSV file.
    columns : mapping of sequences
        Columns as of `read_points_csv`, with others added.
    """
    write_csv(path, columns)


def read_cells(path: Path, uneven: list[str] | None = None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read a table as text cells.

    The header line decides whether commas, semicolons or tabs separate cells. With the latter two, numbers
    may have decimal commas, as spreadsheets in many countries write them. Empty columns and lines are
    dropped.

    Parameters
    ----------
    path : Path
        CSV file.
    uneven : list of str, optional
        Receives a message for each row of too few or too many cells, which is left out; None: such a row is
        an error.

    Returns
    -------
    header : list of str
        Column names.
    rows : list of (int, list of str)
        Line number and stripped cells of each row.

    Raises
    ------
    DataError
        Where the file is missing, is not a table, or has columns without a name or with the same name.
    """
    text = read_text(path, "a table")
    first = text.split("\n", 1)[0].strip()
    delimiter = ","
    if stated := re.fullmatch(r"(?i)sep=(.)", first):  # Excel's first line that states the delimiter
        delimiter, text = stated[1], text.split("\n", 1)[1] if "\n" in text else ""
    elif first:
        delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, [_read_cell(cell) for cell in row]) for row in reader]
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num}: expected a table, got {error}; is a quote not closed?"
        ) from error
    lines = [(number, row) for number, row in lines if any(row)]
    if not lines:
        raise DataError(f"{path}: expected a header line, got an empty file")
    if delimiter != ",":
        lines = [(n, [DECIMAL_COMMA.sub(r"\1.\2", cell) for cell in row]) for n, row in lines]
    return _without_empty(path, lines, uneven)


def _read_cell(cell: str) -> str:
    """Return a cell without surrounding space and without the apostrophe that `write_csv` adds."""
    text = cell.strip()
    return text[1:] if text[:1] == "'" and text[1:2] and text[1] in "=+-@" else text


def _without_empty(
    path: Path, lines: list[tuple[int, list[str]]], uneven: list[str] | None
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return header and rows without columns that are empty throughout; uneven rows as of `read_cells`."""
    header = lines[0][1]
    while header and not header[-1]:
        header = header[:-1]
    rows = []
    for line, row in lines[1:]:
        if len(row) < len(header) or any(row[len(header) :]):
            reason = f"{path}: line {line}: expected {len(header)} cells, got {len(row)}"
            if uneven is None:
                raise DataError(reason)
            uneven.append(reason)
            continue
        rows.append((line, row[: len(header)]))
    kept = [at for at, name in enumerate(header) if name or any(row[at] for _, row in rows)]
    nameless = [at for at in kept if not header[at]]
    if nameless:
        raise DataError(f"{path}: expected a name for every column, got none for column {nameless[0] + 1}")
    header = [header[at] for at in kept]
    twice = next((name for name, count in Counter(header).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{path}: expected every column once, got {shown(twice)} twice")
    return header, [(line, [row[at] for at in kept]) for line, row in rows]


def number(path: Path, line: int, column: str, cell: str) -> float:
    """Read a cell as a finite number.

    Parameters
    ----------
    path : Path
        File, for the message.
    line : int
        Line number, for the message.
    column : str
        Column name, for the message.
    cell : str
        Text of the cell.

    Returns
    -------
    float
        The number.

    Raises
    ------
    DataError
        Where the cell is not a finite number; the message names file, line and column.
    """
    try:
        value = plain_number(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: line {line}: expected a number in column {column}, got {shown(cell)}")
    return value


def plain_number(text: str) -> float:
    """Read a number in the notation of spreadsheets.

    Parameters
    ----------
    text : str
        Such as "-1.5e3".

    Returns
    -------
    float
        The number; it may be NaN or infinite.

    Raises
    ------
    ValueError
        Where the text is not a number; also for 1_0, which Python reads as 10.

    Examples
    --------
    >>> plain_number("-1.5e3")
    -1500.0
    """
    try:
        return float("" if "_" in text else text)
    except ValueError:
        raise ValueError(f"expected a number, got {shown(text)}") from None


def _whole(path: Path, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    wrong = numbers[(numbers != np.rint(numbers)) | (np.abs(numbers) > MOST_NUMBER)]
    if wrong.size:
        raise DataError(f"{path}: expected whole section numbers, got {wrong[0]:g}")
    return numbers.astype(np.int64)


def _plain(values: Sequence[Any] | npt.NDArray[Any]) -> list[Any]:
    return list(values.tolist()) if isinstance(values, np.ndarray) else list(values)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text
