"""Upper bounds of similarities from short vectors, so that few full vectors must be compared.

The method: each vector x of unit length is projected on few directions, those in which the vectors differ most. The
table keeps the projection Px and the length of the rest, |Rx|. For two vectors,

    x.y = Px.Py + Rx.Ry <= Px.Py + |Rx||Ry|      (Cauchy-Schwarz)

With the length as one more coordinate, the bound is itself an inner product of two short vectors. One thin matrix
product therefore bounds all similarities of the probes from above. Rows whose bound is below the similarity that is
asked for cannot matter. The others are compared in full, so that the result is exact for any directions. The directions
only decide how many rows are left: they are the leading ones of the rows themselves, found by a randomised subspace
iteration over a sample (Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review, 2011).

To find the rows with a large bound quickly, each block of neighbouring rows has the maximum of its bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "SimilarityBounds"]

_BLOCK_ROWS = 512
_SMALL_BLOCK_ROWS = 128
_SMALL_TABLE_ROWS = 32_768
"""Rows of one matrix product, in a large and in a small table. For few probes, OpenBLAS takes twice as long over a long
table as over such blocks, each stored with its rows side by side."""

_BLOCKS_AT_ONCE = 32
"""Blocks whose maxima are taken while their bounds are in the processor's cache."""

_WIDTHS = (64, 96, 128, 160)
"""Columns that a table may have, the length of the rest included."""

_MAX_REST = 0.04
"""Share of the squared length that the directions may leave out on average; with more, too many rows are compared."""

_MAX_REST_AT_LARGEST_WIDTH = 0.08
_SAMPLE_ROWS = 4096

_REST_MARGIN = 1e-6
"""Added to the squared length of the rest, so that rounding does not make a bound too small."""

_ROUNDING = 1e-5
"""More than the error of float32 in a squared length and in a bound."""

_MAX_BOUNDS = 16_000_000
"""Bounds that are held at the same time, 4 bytes each."""

_COMPARED_ROWS = 256
"""Full vectors that are copied at the same time."""

_FEW_BLOCKS = 6
"""Blocks that are searched without looking for a higher floor, which costs as much."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of a probe and a row whose similarity was computed.

    Attributes:
        probes: (M,) numbers of probes.
        rows: (M,) numbers of rows.
        similarities: (M,) float32, exact, less the row's penalty.
    """

    probes: NDArray[np.intp]
    rows: NDArray[np.intp]
    similarities: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _ClassTable:
    """The short vectors of the rows of one class.

    Attributes:
        rows: (n,) numbers of the rows. Neighbouring rows, which are those of one identity, are in one block.
        blocks: (K, W + 1, B) float32: K blocks of B rows, the last one padded with zeros.
    """

    rows: NDArray[np.intp]
    blocks: NDArray[np.float32]

    @property
    def size(self) -> int:
        """Number of rows, with the padding."""
        return int(self.blocks.shape[0] * self.blocks.shape[2])


class SimilarityBounds:
    """A table of short vectors that bound the similarities of probes to rows; see the module for the method.

    Args:
        vectors: (N, D) float32, rows of unit length; kept, not copied.
        codes: (N,) the class number of each row; each class has its own range of the table.
        basis: (D, W) float32, orthonormal columns: the directions.
    """

    def __init__(self, vectors: NDArray[np.float32], codes: NDArray[np.intp], basis: NDArray[np.float32]) -> None:
        self._vectors = vectors
        self._basis = basis
        self._tables: dict[int, _ClassTable] = {}
        for code in np.unique(codes).tolist():
            rows = np.flatnonzero(codes == code)
            size = _SMALL_BLOCK_ROWS if len(rows) < _SMALL_TABLE_ROWS else _BLOCK_ROWS
            blocks = np.zeros((-(-len(rows) // size), basis.shape[1] + 1, size), np.float32)
            for block, first in zip(blocks, range(0, len(rows), size), strict=True):
                short = self._shorten(vectors[rows[first : first + size]])
                block[:, : len(short)] = short.T
            self._tables[code] = _ClassTable(rows, blocks)

    @classmethod
    def learn(cls, vectors: NDArray[np.float32], codes: NDArray[np.intp]) -> SimilarityBounds | None:
        """Return bounds for rows, with directions learned from them; None where bounds would not help.

        They do not help where the rows differ in too many directions, such as noise.

        Args:
            vectors: (N, D) float32, rows of unit length; kept, not copied.
            codes: (N,) the class number of each row.
        """
        count, dimension = vectors.shape
        widest = min(max(_WIDTHS), dimension // 2)
        if not count or widest < min(_WIDTHS):
            return None
        largest_width = max(width for width in _WIDTHS if width <= widest)
        sample = np.ascontiguousarray(vectors[:: -(-count // _SAMPLE_ROWS)])
        directions = np.random.default_rng(0).standard_normal((dimension, widest + 16), np.float32)
        for _ in range(3):
            directions = np.linalg.qr(sample.T @ (sample @ directions))[0]
        # In float64 from here on: the bound needs directions that are orthonormal to the last bit of float32.
        directions = np.linalg.qr(directions.astype(np.float64))[0]
        projected = sample @ directions.astype(np.float32)
        energies, rotation = np.linalg.eigh((projected.T @ projected).astype(np.float64) / len(sample))
        directions = directions @ rotation[:, ::-1]
        covered = np.cumsum(energies[::-1])
        for width in _WIDTHS:
            if width > widest:
                break
            # One column holds the length of the rest, so that the table's rows are whole cache lines.
            allowed = _MAX_REST_AT_LARGEST_WIDTH if width == largest_width else _MAX_REST
            if 1.0 - covered[width - 2] <= allowed:
                return cls(vectors, codes, np.ascontiguousarray(directions[:, : width - 1], dtype=np.float32))
        return None

    @property
    def nbytes(self) -> int:
        """Memory in bytes, without the full vectors."""
        tables = self._tables.values()
        return sum(table.blocks.nbytes + table.rows.nbytes for table in tables) + self._basis.nbytes

    def find_pairs(
        self,
        probes: NDArray[np.float32],
        codes: NDArray[np.intp],
        floors: NDArray[np.float64],
        *,
        columns: NDArray[np.intp],
        penalties: NDArray[np.float32] | None,
        nearest: int | None = None,
    ) -> tuple[Pairs, NDArray[np.bool_]]:
        """Return all pairs of a probe and a row that are at least as similar as the probe's floor.

        Args:
            probes: (P, D) float32, rows of unit length.
            codes: (P,) the class number that each probe searches; -1 for all classes.
            floors: (P,) the least similarity of each probe.
            columns: (N,) the identity of each row, as a number.
            penalties: (N,) what is subtracted from each row's similarities, >= 0; None for nothing.
            nearest: Raise the floors to the similarity of the identity that is the `nearest`-th from the probe.

        Returns:
            The pairs, with exact similarities. And (P,) which probes were left out, because comparing them with all
            rows is as fast.
        """
        left_out = np.zeros(len(probes), bool)
        found: list[Pairs] = []
        for code in np.unique(codes).tolist():
            members = np.flatnonzero(codes == code)
            if code < 0:
                tables = list(self._tables.values())
            else:
                tables = [self._tables[code]] if code in self._tables else []
            size = sum(table.size for table in tables)
            if not size:
                continue
            step = max(1, _MAX_BOUNDS // size)
            for start in range(0, len(members), step):
                some = members[start : start + step]
                bounded = _BoundedProbes(self, probes[some], tables, columns, penalties)
                limits = floors[some] if nearest is None else bounded.raise_floors(floors[some], nearest)
                too_many, pairs = bounded.pairs(limits, most=size // 16)
                left_out[some[too_many]] = True
                found += [Pairs(some[one.probes], one.rows, one.similarities) for one in pairs]
        if not found:
            none = np.empty(0, np.intp)
            return Pairs(none, none, np.empty(0, np.float32)), left_out
        return Pairs(
            np.concatenate([one.probes for one in found]),
            np.concatenate([one.rows for one in found]),
            np.concatenate([one.similarities for one in found]),
        ), left_out

    def _shorten(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return short vectors (n, W + 1): the projection, and the length of the rest."""
        short = np.empty((len(vectors), self._basis.shape[1] + 1), np.float32)
        projected = short[:, :-1]
        np.matmul(vectors, self._basis, out=projected)
        rest = 1.0 - np.einsum("ij,ij->i", projected, projected, dtype=np.float64)
        short[:, -1] = np.sqrt(np.maximum(rest, 0.0) + _REST_MARGIN)
        return short


class _BoundedProbes:
    """The bounds of P probes over some class tables, with the maxima of blocks."""

    def __init__(
        self,
        bounds: SimilarityBounds,
        probes: NDArray[np.float32],
        tables: Sequence[_ClassTable],
        columns: NDArray[np.intp],
        penalties: NDArray[np.float32] | None,
    ) -> None:
        self._vectors = bounds._vectors
        self._probes = probes
        self._tables = tables
        self._columns = columns
        self._penalties = penalties
        short = bounds._shorten(probes)
        self._bounds: list[NDArray[np.float32]] = []  # (K, P, B)
        self._maxima: list[NDArray[np.float32]] = []  # (K, P)
        for table in tables:
            count, _, size = table.blocks.shape
            bounds_of_rows = np.empty((count, len(probes), size), np.float32)
            maxima = np.empty((count, len(probes)), np.float32)
            for first in range(0, count, _BLOCKS_AT_ONCE):
                some = slice(first, first + _BLOCKS_AT_ONCE)
                np.matmul(short, table.blocks[some], out=bounds_of_rows[some])
                bounds_of_rows[some].max(axis=2, out=maxima[some])
            self._bounds.append(bounds_of_rows)
            self._maxima.append(maxima)

    def similarities(self, probe: int, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the exact similarities, less penalties. A pair has the same number in any set of pairs."""
        out = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _COMPARED_ROWS):
            some = slice(start, start + _COMPARED_ROWS)
            np.vecdot(self._vectors.take(rows[some], axis=0), self._probes[probe], out=out[some])
        if self._penalties is not None:
            out -= self._penalties[rows]
        return out

    def raise_floors(self, floors: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        """Return (P,) floors, raised to a similarity that `count` identities reach where many rows are left."""
        needed = _needed(floors)
        left = np.zeros(len(self._probes), np.intp)
        for maxima in self._maxima:
            left += np.count_nonzero(maxima >= needed, axis=0)
        raised = floors.copy()
        wanted = 2 * count + 8
        for probe in np.flatnonzero(left > _FEW_BLOCKS).tolist():
            # The row with the largest bound in each of the best blocks; other rows of an identity are close to it.
            candidates = []
            for table, bounds, maxima in zip(self._tables, self._bounds, self._maxima, strict=True):
                best = np.argpartition(maxima[:, probe], -min(len(maxima), wanted))[-wanted:]
                positions = best * bounds.shape[2] + bounds[best, probe].argmax(axis=1)
                candidates.append(table.rows[positions[positions < len(table.rows)]])
            rows = np.concatenate(candidates)
            similarities = self.similarities(probe, rows)
            order = np.argsort(-similarities, kind="stable")
            _, first = np.unique(self._columns[rows[order]], return_index=True)
            if len(first) >= count:
                raised[probe] = max(raised[probe], similarities[order[np.sort(first)[count - 1]]])
        return raised

    def pairs(self, floors: NDArray[np.float64], most: int) -> tuple[NDArray[np.bool_], Iterator[Pairs]]:
        """Return the pairs that reach the probe's floor.

        Args:
            floors: (P,) similarities.
            most: Rows of a probe beyond which it is not compared here.

        Returns:
            (P,) which probes have more rows with such a bound than `most`; and the pairs of the others, probe by probe.
        """
        needed = _needed(floors)
        kept: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
        for table, bounds, maxima in zip(self._tables, self._bounds, self._maxima, strict=True):
            block, probes = np.nonzero(maxima >= needed)
            if 4 * len(probes) < maxima.size:
                which, row = np.nonzero(bounds[block, probes] >= needed[probes, None])
                block, probes = block[which], probes[which]
            else:
                # Of one dimension: numpy finds these ten times as fast.
                places = np.flatnonzero(bounds >= needed[:, None])
                places, row = np.divmod(places, bounds.shape[2])
                block, probes = np.divmod(places, bounds.shape[1])
            positions = block * bounds.shape[2] + row
            inside = positions < len(table.rows)
            kept.append((probes[inside], table.rows[positions[inside]]))
        probes = np.concatenate([pair[0] for pair in kept])
        rows = np.concatenate([pair[1] for pair in kept])
        order = np.lexsort((rows, probes))
        probes, rows = probes[order], rows[order]
        counts = np.bincount(probes, minlength=len(self._probes))
        too_many = counts > most
        ends = np.cumsum(counts)

        def compare() -> Iterator[Pairs]:
            for probe in np.flatnonzero((counts > 0) & ~too_many).tolist():
                some = slice(int(ends[probe] - counts[probe]), int(ends[probe]))
                similarities = self.similarities(probe, rows[some])
                # A row that is less similar need not be the most similar one of its identity.
                reached = similarities >= floors[probe] - _ROUNDING
                yield Pairs(probes[some][reached], rows[some][reached], similarities[reached])

        return too_many, compare()


def _needed(floors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return (P,) the bounds that rows need to reach the floors."""
    # Twice the rounding: in the bounds, and in the floor where it is a similarity itself.
    return (floors - 2 * _ROUNDING).astype(np.float32)
