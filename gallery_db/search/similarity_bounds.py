"""Upper bounds of similarities from short vectors, so that few long ones must be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs", "SimilarityBounds"]

_CHUNK = 16
"""Rows that share one maximum of their bounds; several chunks, a group, share one again."""

_GROUPS = 512
"""About as many groups are there of the rows of a class, or of their chunks where those are fewer."""

_BLOCK = 64
_AT_ONCE = 8192
"""Columns and rows of one product. OpenBLAS takes twice as long over a wide table as over its parts."""

_WIDTHS = (64, 96, 128, 160)
_ENOUGH = 0.04
"""Share of the squared length that may be left out on average: beyond it too many rows must be looked at again."""

_AT_MOST = 0.08
_SAMPLE = 4096
_LEFT_OUT = 1e-6
_ROUNDING = 1e-5
"""More than float32 can be wrong by, in a squared length and in a bound."""

_BUFFER = 16_000_000
"""Bounds that are held at once, 4 bytes each."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Probes and rows whose similarity was computed.

    Attributes:
        probes: (M,) numbers of probes.
        rows: (M,) numbers of rows.
        similarities: (M,) float32, exact, less what the row loses.
    """

    probes: NDArray[np.intp]
    rows: NDArray[np.intp]
    similarities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one class in the table: from `start` on, `groups` groups of `chunks` chunks.

    Seen as an array, its axes are the row in the chunk, the chunk in the group, the group. So the maxima of all
    chunks are a maximum over the first axis, which runs at the speed of the memory; those of groups over the next.
    """

    start: int
    chunks: int
    groups: int

    @property
    def size(self) -> int:
        return _CHUNK * self.chunks * self.groups

    @property
    def stop(self) -> int:
        return self.start + self.size

    @classmethod
    def of(cls, start: int, rows: int) -> _Part:
        chunks = -(-rows // _CHUNK)
        in_group = max(1, chunks // _GROUPS)
        return cls(start, in_group, -(-chunks // in_group))


class SimilarityBounds:
    """Rows of unit length by their share in few directions, and the length of what is left of them.

    For unit vectors x and y split by an orthogonal projection, ``x.y = Px.Py + Rx.Ry <= Px.Py + |Rx||Ry|``
    (Cauchy-Schwarz). With the lengths as one more coordinate the bound is itself an inner product, so that one
    thin matrix product bounds all pairs, and only rows whose bound reaches far enough are compared in full: what
    comes out is exact, whatever the directions. How few rows those are does depend on them. They are the
    leading ones of the rows themselves (a randomised subspace iteration over a sample; Halko, Martinsson and
    Tropp, 2011).

    Args:
        vectors: (N, D) float32, rows of unit length; kept, not copied.
        codes: (N,) a class number each; the rows of a class are bounded alone.
        basis: (D, W) float32, orthonormal columns.
    """

    def __init__(self, vectors: NDArray[np.float32], codes: NDArray[np.intp], basis: NDArray[np.float32]) -> None:
        self._vectors = vectors
        self._basis = basis
        self._parts: dict[int, _Part] = {}
        layout: list[NDArray[np.intp]] = []
        start = 0
        for code in np.unique(codes).tolist():
            rows = np.flatnonzero(codes == code)
            part = _Part.of(start, len(rows))
            padded = np.full(part.size, -1, np.intp)
            padded[: len(rows)] = rows
            # Neighbours, which are the rows of one identity, share a chunk.
            layout.append(padded.reshape(part.groups, part.chunks, _CHUNK).T.ravel())
            self._parts[code] = part
            start = part.stop
        self._rows = np.concatenate(layout) if layout else np.empty(0, np.intp)
        width = basis.shape[1] + 1
        blocks = -(-width // _BLOCK)
        self._columns = [slice(width * n // blocks, width * (n + 1) // blocks) for n in range(blocks)]
        self._tables = [np.zeros((start, c.stop - c.start), np.float32) for c in self._columns]
        for begin in range(0, start, _AT_ONCE):
            rows = self._rows[begin : begin + _AT_ONCE]
            short = self._shortened(vectors[rows])
            short[rows < 0] = 0.0
            for table, columns in zip(self._tables, self._columns, strict=True):
                table[begin : begin + len(rows)] = short[:, columns]

    @classmethod
    def learn(cls, vectors: NDArray[np.float32], codes: NDArray[np.intp]) -> SimilarityBounds | None:
        """A sketch of rows, or None where their directions are too many for one to be of use.

        Args:
            vectors: (N, D) float32, rows of unit length; kept, not copied.
            codes: (N,) a class number each.
        """
        count, dimension = vectors.shape
        widest = min(max(_WIDTHS), dimension // 2)
        if not count or widest < min(_WIDTHS):
            return None
        sample = np.ascontiguousarray(vectors[:: -(-count // _SAMPLE)])
        directions = np.random.default_rng(0).standard_normal((dimension, widest + 16), np.float32)
        for _ in range(3):
            directions = np.linalg.qr(sample.T @ (sample @ directions))[0]
        # In float64 from here on: the bound needs them orthonormal to the last bit of float32.
        directions = np.linalg.qr(directions.astype(np.float64))[0]
        inside = sample @ directions.astype(np.float32)
        energy, turn = np.linalg.eigh((inside.T @ inside).astype(np.float64) / len(sample))
        directions = directions @ turn[:, ::-1]
        kept = np.cumsum(energy[::-1])
        for width in _WIDTHS:
            # One column is for the length of what is left: the table's rows are whole cache lines.
            if width <= widest and 1.0 - kept[width - 2] <= (_AT_MOST if width == _last(widest) else _ENOUGH):
                return cls(vectors, codes, np.ascontiguousarray(directions[:, : width - 1], dtype=np.float32))
        return None

    @property
    def nbytes(self) -> int:
        """Memory that it takes beside the vectors."""
        return sum(table.nbytes for table in self._tables) + self._rows.nbytes + self._basis.nbytes

    def _shortened(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        short = np.empty((len(vectors), self._basis.shape[1] + 1), np.float32)
        inner = short[:, :-1]
        np.matmul(vectors, self._basis, out=inner)
        left = 1.0 - np.einsum("ij,ij->i", inner, inner, dtype=np.float64)
        short[:, -1] = np.sqrt(np.maximum(left, 0.0) + _LEFT_OUT)
        return short

    def _bounds(self, part: _Part, short: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(rows in a chunk, chunks in a group, groups, P) the bounds, of probes given in blocks of columns."""
        out = np.empty((part.size, short[0].shape[1]), np.float32)
        for begin in range(0, part.size, _AT_ONCE):
            rows = slice(part.start + begin, min(part.start + begin + _AT_ONCE, part.stop))
            some = out[begin : begin + _AT_ONCE]
            # Rows times probes, not the other way about: BLAS takes that twice as fast.
            np.matmul(self._tables[0][rows], short[0], out=some)
            for table, columns in zip(self._tables[1:], short[1:], strict=True):
                some += table[rows] @ columns
        return out.reshape(_CHUNK, part.chunks, part.groups, -1)

    def at_least(
        self,
        probes: NDArray[np.float32],
        codes: NDArray[np.intp],
        floors: NDArray[np.float64],
        *,
        columns: NDArray[np.intp],
        loss: NDArray[np.float32] | None,
        nearest: int | None = None,
    ) -> tuple[Pairs, NDArray[np.bool_]]:
        """All rows that are at least so similar to a probe.

        Args:
            probes: (P, D) float32, of unit length.
            codes: (P,) the class that each asks for; -1 for all of them.
            floors: (P,) similarities.
            columns: (N,) the identity of each row, as a number.
            loss: (N,) what each row's similarity is less by, >= 0; None for nothing.
            nearest: Only as far down as that many identities go.

        Returns:
            The pairs, by probe, with their exact similarities: every one that is asked for, and others. And
            (P,) which probes were passed over, because a plain product is as quick for them.
        """
        passed_over = np.zeros(len(probes), bool)
        found: list[Pairs] = []
        for code in np.unique(codes).tolist():
            members = np.flatnonzero(codes == code)
            parts = list(self._parts.values()) if code < 0 else [self._parts[code]] if code in self._parts else []
            size = sum(part.size for part in parts)
            if not size:
                continue
            step = max(1, _BUFFER // size)
            for start in range(0, len(members), step):
                some = members[start : start + step]
                asked = _Asked(self, probes[some], parts, columns, loss)
                limits = floors[some]
                if nearest is not None:
                    limits = np.maximum(limits, asked.reached_by(nearest))
                wide, pairs = asked.pairs(limits, most=size // 16)
                passed_over[some[wide]] = True
                found += [Pairs(some[one.probes], one.rows, one.similarities) for one in pairs]
        if not found:
            none = np.empty(0, np.intp)
            return Pairs(none, none, np.empty(0, np.float32)), passed_over
        return Pairs(
            np.concatenate([one.probes for one in found]),
            np.concatenate([one.rows for one in found]),
            np.concatenate([one.similarities for one in found]),
        ), passed_over


def _last(widest: int) -> int:
    return max(width for width in _WIDTHS if width <= widest)


class _Asked:
    """The bounds of some probes over some parts of a sketch."""

    def __init__(
        self,
        sketch: SimilarityBounds,
        probes: NDArray[np.float32],
        parts: Sequence[_Part],
        columns: NDArray[np.intp],
        loss: NDArray[np.float32] | None,
    ) -> None:
        self._sketch = sketch
        self._probes = probes
        self._parts = parts
        self._columns = columns
        self._loss = loss
        short = sketch._shortened(probes).T
        blocks = [np.ascontiguousarray(short[columns]) for columns in sketch._columns]
        self._bounds = [sketch._bounds(part, blocks) for part in parts]
        self._chunks = [bounds.max(axis=0) for bounds in self._bounds]
        self._groups = [chunks.max(axis=0) for chunks in self._chunks]

    def similarities(self, probe: int, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Exact, less the loss. Each pair's is the same number whatever else is asked."""
        out = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            np.vecdot(self._sketch._vectors.take(rows[some], axis=0), self._probes[probe], out=out[some])
        if self._loss is not None:
            out -= self._loss[rows]
        return out

    def reached_by(self, count: int) -> NDArray[np.float64]:
        """(P,) a similarity that at least `count` identities reach; -inf where that many were not met."""
        every = np.arange(len(self._probes))
        met = []
        for part, bounds, chunks, groups in zip(self._parts, self._bounds, self._chunks, self._groups, strict=True):
            # The most promising row of each of the most promising groups: of an identity the others are near it.
            look = min(part.groups, 2 * count + 8)
            group = np.argpartition(groups, part.groups - look, axis=0)[-look:]
            chunk = chunks[:, group, every].argmax(axis=0)
            inside = bounds[:, chunk, group, every].argmax(axis=0)
            met.append(self._rows_at(part, inside, chunk, group))
        rows = np.concatenate(met)
        reached = np.full(len(self._probes), -np.inf)
        for probe in range(len(self._probes)):
            own = rows[:, probe][rows[:, probe] >= 0]
            near = self.similarities(probe, own)
            order = np.argsort(-near, kind="stable")
            _, earliest = np.unique(self._columns[own[order]], return_index=True)
            if len(earliest) >= count:
                reached[probe] = near[order[np.sort(earliest)[count - 1]]]
        return reached

    def _rows_at(
        self, part: _Part, inside: NDArray[np.intp], chunk: NDArray[np.intp], group: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        places: NDArray[np.intp] = part.start + (inside * part.chunks + chunk) * part.groups + group
        return self._sketch._rows[places]

    def pairs(self, floors: NDArray[np.float64], most: int) -> tuple[NDArray[np.bool_], Iterator[Pairs]]:
        """Which probes more than `most` rows may be near enough to; and the pairs of all the others."""
        # Twice rounding: in the bounds, and in the floor where that is a similarity.
        needed = (floors - 2 * _ROUNDING).astype(np.float32)
        kept: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
        for part, bounds, chunks, groups in zip(self._parts, self._bounds, self._chunks, self._groups, strict=True):
            group, probes = np.nonzero(groups >= needed)
            if 4 * len(probes) < groups.size:
                chunk, which = np.nonzero(chunks[:, group, probes] >= needed[probes])
                group, probes = group[which], probes[which]
            else:
                chunk, group, probes = np.nonzero(chunks >= needed)
            if 4 * len(probes) < chunks.size:
                inside, which = np.nonzero(bounds[:, chunk, group, probes] >= needed[probes])
                chunk, group, probes = chunk[which], group[which], probes[which]
            else:
                inside, chunk, group, probes = np.nonzero(bounds >= needed)
            rows = self._rows_at(part, inside, chunk, group)
            kept.append((probes[rows >= 0], rows[rows >= 0]))
        probes = np.concatenate([pair[0] for pair in kept])
        rows = np.concatenate([pair[1] for pair in kept])
        order = np.lexsort((rows, probes))
        probes, rows = probes[order], rows[order]
        counts = np.bincount(probes, minlength=len(self._probes))
        wide = counts > most
        ends = np.cumsum(counts)

        def each() -> Iterator[Pairs]:
            for probe in np.flatnonzero((counts > 0) & ~wide).tolist():
                some = slice(int(ends[probe] - counts[probe]), int(ends[probe]))
                yield Pairs(probes[some], rows[some], self.similarities(probe, rows[some]))

        return wide, each()
