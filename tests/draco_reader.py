"""A reader of Draco's plain meshes, written by the format's specification."""

from __future__ import annotations

import numpy as np


class Reader:
    """Draco's bitstream 2.2 as far as plain sequential meshes of one attribute go."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, count: int) -> bytes:
        found = self.content[self.at : self.at + count]
        assert len(found) == count, "the stream ends early"
        self.at += count
        return found

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            one = self.byte()
            value |= (one & 0x7F) << shift
            shift += 7
            if one < 0x80:
                return value

    def corner(self, points: int) -> int:
        if points < 256:
            return self.byte()
        if points < 65536:
            return int.from_bytes(self.take(2), "little")
        return self.varint() if points < 2**21 else int.from_bytes(self.take(4), "little")

    def mesh(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.take(5) == b"DRACO"
        assert (self.byte(), self.byte()) == (2, 2)
        assert (self.byte(), self.byte()) == (1, 0), "a triangular mesh, encoded sequentially"
        assert self.take(2) == b"\0\0"
        faces, points = self.varint(), self.varint()
        assert self.byte() == 1, "corners are not compressed"
        corners = [self.corner(points) for _ in range(3 * faces)]
        assert (self.byte(), self.varint()) == (1, 1), "one decoder with one attribute"
        assert (self.byte(), self.byte(), self.byte(), self.byte()) == (0, 9, 3, 0), "places, three float32"
        assert (self.varint(), self.byte()) == (0, 0), "values as they are"
        places = np.frombuffer(self.take(12 * points), "<f4").reshape(points, 3)
        assert self.at == len(self.content), "the stream goes on"
        return places, np.array(corners, np.int64).reshape(faces, 3)
