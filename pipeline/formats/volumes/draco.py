"""Surfaces in Google's Draco, in which BrainGlobe keeps its meshes.

Written is the simplest stream that the format has: faces as a list, places as they are. Every reader of Draco
takes it; it is not compressed.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC, VERSION = b"DRACO", (2, 2)
_TRIANGLES, _SEQUENTIAL, _NO_FLAGS = 1, 0, 0  # kind of geometry, and how it is encoded
_PLAIN_FACES = 1
_POSITION, _FLOAT32, _COMPONENTS, _AS_THEY_ARE, _FIRST_ID = 0, 9, 3, 0, 0
_GENERIC = 0  # values as they are
_MOST_OF_TYPE = ((1 << 8, np.uint8), (1 << 16, np.dtype("<u2")))  # points, and the type of their indices
_MOST_VARINT = 1 << 21  # points whose indices take up to three bytes, seven bits in each


def encode_mesh(vertices: npt.NDArray[Any], faces: npt.NDArray[Any]) -> bytes:
    """Encode a surface.

    Parameters
    ----------
    vertices : (n, 3) array
        Places; kept as float32.
    faces : (m, 3) array of int
        Indices of vertices.

    Returns
    -------
    bytes
        A file of Draco's bitstream version 2.2 (google.github.io/draco/spec): a triangular mesh, encoded
        sequentially, one attribute.
    """
    header = MAGIC + struct.pack("<BBBBH", *VERSION, _TRIANGLES, _SEQUENTIAL, _NO_FLAGS)
    count = len(vertices)
    connectivity = varints(np.array([len(faces), count])) + bytes([_PLAIN_FACES])
    attribute = bytes([1, 1, _POSITION, _FLOAT32, _COMPONENTS, _AS_THEY_ARE, _FIRST_ID, _GENERIC])
    places = np.ascontiguousarray(vertices, "<f4").tobytes()
    return header + connectivity + _indices(np.asarray(faces), count) + attribute + places


def varints(numbers: npt.NDArray[Any]) -> bytes:
    """Encode numbers in as few bytes as each needs (LEB128).

    Parameters
    ----------
    numbers : (n,) array of int
        From 0 to 2**32 - 1.

    Returns
    -------
    bytes
        Seven bits a byte, the lowest first; the highest bit tells that more follow.

    Examples
    --------
    >>> varints(np.array([5, 300])).hex(" ")
    '05 ac 02'
    """
    parts = np.asarray(numbers, np.int64).reshape(-1, 1) >> (7 * np.arange(5))
    more = np.column_stack([parts[:, 1:] > 0, np.zeros(len(parts), bool)])
    there = np.column_stack([np.ones(len(parts), bool), more[:, :-1]])
    stored = np.asarray((parts & 0x7F) | (more << 7), np.uint8)
    return bytes(stored[there])


def _indices(faces: npt.NDArray[Any], points: int) -> bytes:
    """Return the corners of the faces in the type that their number of points asks for."""
    for most, kind in _MOST_OF_TYPE:
        if points < most:
            return bytes(np.ascontiguousarray(faces, kind).data)
    if points < _MOST_VARINT:
        return varints(faces.ravel())
    return np.ascontiguousarray(faces, "<u4").tobytes()
