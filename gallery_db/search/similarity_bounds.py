"""Upper bounds of similarities from short vectors, so that few full vectors must be compared.

The method: each vector x of unit length is projected on few directions, those in which the vectors differ most. The
table keeps the projection Px and the length of the rest, |Rx|. For two vectors,

    x.y = Px.Py + Rx.Ry <= Px.Py + |Rx||Ry|      (Cauchy-Schwarz)

With the length as one more coordinate, the bound is itself an inner product of two short vectors. One thin matrix
product therefore bounds all similarities of the probes from above. Rows whose bound is below the similarity that is
asked for cannot matter. The others are compared in full, so that the result is exact for any directions. The directions
only decide how many rows are left: they are the leading ones of the rows themselves, found by a randomised subspace
iteration over a sample (Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review, 2011).

To find the rows with a large bound quickly, the table is searched from coarse to fine: rows form chunks, chunks form
groups, and each chunk and group has the maximum of its bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "SimilarityBounds"]

_CHUNK_ROWS = 16
"""Rows of a chunk."""

_CLASS_GROUPS = 512
"""Groups into which the chunks of a class are divided, about; a class with fewer chunks has a group for each."""

_BLOCK_COLUMNS = 64
_BLOCK_ROWS = 8192
"""Columns and rows of one matrix product. OpenBLAS takes twice as long over a wide table as over its parts."""

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


@dataclass(frozen=True, slots=True)
class _ClassRange:
    """The rows of one class in the table: `groups` groups of `chunks` chunks, from row `start` on.

    The range is stored so that as an array its axes are (row in the chunk, chunk in the group, group). The maxima of
    all chunks are then a maximum over the first axis, at the speed of the memory, and those of the groups over the
    second axis.
    """

    start: int
    chunks: int
    groups: int

    @property
    def size(self) -> int:
        return _CHUNK_ROWS * self.chunks * self.groups

    @property
    def stop(self) -> int:
        return self.start + self.size

    @classmethod
    def for_rows(cls, start: int, rows: int) -> _ClassRange:
        chunks = -(-rows // _CHUNK_ROWS)
        chunks_per_group = max(1, chunks // _CLASS_GROUPS)
        return cls(start, chunks_per_group, -(-chunks // chunks_per_group))


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
        self._ranges: dict[int, _ClassRange] = {}
        layout: list[NDArray[np.intp]] = []
        start = 0
        for code in np.unique(codes).tolist():
            rows = np.flatnonzero(codes == code)
            class_range = _ClassRange.for_rows(start, len(rows))
            padded = np.full(class_range.size, -1, np.intp)
            padded[: len(rows)] = rows
            # Neighbouring rows, which are those of one identity, share a chunk.
            layout.append(padded.reshape(class_range.groups, class_range.chunks, _CHUNK_ROWS).T.ravel())
            self._ranges[code] = class_range
            start = class_range.stop
        self._rows = np.concatenate(layout) if layout else np.empty(0, np.intp)  # -1: padding
        width = basis.shape[1] + 1
        blocks = -(-width // _BLOCK_COLUMNS)
        self._columns = [slice(width * n // blocks, width * (n + 1) // blocks) for n in range(blocks)]
        self._tables = [np.zeros((start, c.stop - c.start), np.float32) for c in self._columns]
        for begin in range(0, start, _BLOCK_ROWS):
            rows = self._rows[begin : begin + _BLOCK_ROWS]
            short = self._shorten(vectors[rows])
            short[rows < 0] = 0.0
            for table, columns in zip(self._tables, self._columns, strict=True):
                table[begin : begin + len(rows)] = short[:, columns]

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
        return sum(table.nbytes for table in self._tables) + self._rows.nbytes + self._basis.nbytes

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
            The pairs, by probe, with exact similarities: all that were asked for, and others that are less similar. And
            (P,) which probes were left out, because comparing them with all rows is as fast.
        """
        left_out = np.zeros(len(probes), bool)
        found: list[Pairs] = []
        for code in np.unique(codes).tolist():
            members = np.flatnonzero(codes == code)
            ranges = list(self._ranges.values()) if code < 0 else [self._ranges[code]] if code in self._ranges else []
            size = sum(class_range.size for class_range in ranges)
            if not size:
                continue
            step = max(1, _MAX_BOUNDS // size)
            for start in range(0, len(members), step):
                some = members[start : start + step]
                bounded = _BoundedProbes(self, probes[some], ranges, columns, penalties)
                limits = floors[some]
                if nearest is not None:
                    limits = np.maximum(limits, bounded.similarity_reached_by(nearest))
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

    def _bounds(self, class_range: _ClassRange, short: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the bounds (rows in a chunk, chunks in a group, groups, P) of probes, given in blocks of columns."""
        out = np.empty((class_range.size, short[0].shape[1]), np.float32)
        for begin in range(0, class_range.size, _BLOCK_ROWS):
            rows = slice(class_range.start + begin, min(class_range.start + begin + _BLOCK_ROWS, class_range.stop))
            some = out[begin : begin + _BLOCK_ROWS]
            # Rows times probes, not probes times rows: BLAS computes it twice as fast.
            np.matmul(self._tables[0][rows], short[0], out=some)
            for table, columns in zip(self._tables[1:], short[1:], strict=True):
                some += table[rows] @ columns
        return out.reshape(_CHUNK_ROWS, class_range.chunks, class_range.groups, -1)


class _BoundedProbes:
    """The bounds of some probes over some class ranges, with the maxima of chunks and groups."""

    def __init__(
        self,
        table: SimilarityBounds,
        probes: NDArray[np.float32],
        ranges: Sequence[_ClassRange],
        columns: NDArray[np.intp],
        penalties: NDArray[np.float32] | None,
    ) -> None:
        self._table = table
        self._probes = probes
        self._ranges = ranges
        self._columns = columns
        self._penalties = penalties
        short = table._shorten(probes).T
        blocks = [np.ascontiguousarray(short[columns]) for columns in table._columns]
        self._bounds = [table._bounds(class_range, blocks) for class_range in ranges]
        self._chunks = [bounds.max(axis=0) for bounds in self._bounds]
        self._groups = [chunks.max(axis=0) for chunks in self._chunks]

    def similarities(self, probe: int, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the exact similarities, less penalties. A pair has the same number in any set of pairs."""
        out = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _COMPARED_ROWS):
            some = slice(start, start + _COMPARED_ROWS)
            np.vecdot(self._table._vectors.take(rows[some], axis=0), self._probes[probe], out=out[some])
        if self._penalties is not None:
            out -= self._penalties[rows]
        return out

    def similarity_reached_by(self, count: int) -> NDArray[np.float64]:
        """Return (P,) a similarity that at least `count` identities reach; -inf where too few were compared."""
        all_probes = np.arange(len(self._probes))
        candidates = []
        for class_range, bounds, chunks, groups in zip(
            self._ranges, self._bounds, self._chunks, self._groups, strict=True
        ):
            # The row with the largest bound in each of the best groups; other rows of an identity are close to it.
            best = min(class_range.groups, 2 * count + 8)
            group = np.argpartition(groups, class_range.groups - best, axis=0)[-best:]
            chunk = chunks[:, group, all_probes].argmax(axis=0)
            row = bounds[:, chunk, group, all_probes].argmax(axis=0)
            candidates.append(self._rows_at(class_range, row, chunk, group))
        rows = np.concatenate(candidates)
        reached = np.full(len(self._probes), -np.inf)
        for probe in range(len(self._probes)):
            own = rows[:, probe][rows[:, probe] >= 0]
            similarities = self.similarities(probe, own)
            order = np.argsort(-similarities, kind="stable")
            _, first = np.unique(self._columns[own[order]], return_index=True)
            if len(first) >= count:
                reached[probe] = similarities[order[np.sort(first)[count - 1]]]
        return reached

    def pairs(self, floors: NDArray[np.float64], most: int) -> tuple[NDArray[np.bool_], Iterator[Pairs]]:
        """Return the pairs whose bound reaches the probe's floor.

        Args:
            floors: (P,) similarities.
            most: Rows of a probe beyond which it is not compared here.

        Returns:
            (P,) which probes have more rows than `most`; and the pairs of the others, probe by probe.
        """
        # Twice the rounding: in the bounds, and in the floor where it is a similarity itself.
        needed = (floors - 2 * _ROUNDING).astype(np.float32)
        kept: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
        for class_range, bounds, chunks, groups in zip(
            self._ranges, self._bounds, self._chunks, self._groups, strict=True
        ):
            group, probes = np.nonzero(groups >= needed)
            if 4 * len(probes) < groups.size:
                chunk, which = np.nonzero(chunks[:, group, probes] >= needed[probes])
                group, probes = group[which], probes[which]
            else:
                chunk, group, probes = np.nonzero(chunks >= needed)
            if 4 * len(probes) < chunks.size:
                row, which = np.nonzero(bounds[:, chunk, group, probes] >= needed[probes])
                chunk, group, probes = chunk[which], group[which], probes[which]
            else:
                row, chunk, group, probes = np.nonzero(bounds >= needed)
            rows = self._rows_at(class_range, row, chunk, group)
            kept.append((probes[rows >= 0], rows[rows >= 0]))
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
                yield Pairs(probes[some], rows[some], self.similarities(probe, rows[some]))

        return too_many, compare()

    def _rows_at(
        self, class_range: _ClassRange, row: NDArray[np.intp], chunk: NDArray[np.intp], group: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Return the row numbers at positions of a class range, -1 for padding."""
        positions: NDArray[np.intp] = (
            class_range.start + (row * class_range.chunks + chunk) * class_range.groups + group
        )
        return self._table._rows[positions]
