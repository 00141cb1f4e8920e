"""Result columns of exactly evaluated candidates: the Design fields from the grid's tables, the rest as decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from perflaw_jax.confidence import DISTANCE, Confidence
from perflaw_jax.design import FIELDS, Design, is_fraction
from perflaw_jax.distance import beyond, distance_of_logs
from perflaw_jax.engine import Engine, Rows, Slab

MOST_CODED_VALUES = 2**16  # more distinct values than this are written out

Column = Any  # an array, (codes, values), one number for all rows, or None: what ``store`` takes


@dataclass(frozen=True)
class Columns:
    """Makes columns for one engine's candidates.

    Attributes:
        engine: whose candidates they are.
        budget: training FLOPs that ``budget_used`` refers to, or None.
        sign: -1 where the engine's scores are negated, because less is better by the law.
        confidence: adds columns on how far the scores can be trusted, if given.
    """

    engine: Engine
    budget: float | None
    sign: int = 1
    confidence: Confidence | None = None

    @property
    def shares(self) -> list[str]:
        """The shares of data domains that the designs name."""
        return [name for name in self.engine.problem.space.tables if is_fraction(name)]

    @property
    def extra(self) -> list[str]:
        """The columns of ``full_slab`` beyond the usual ones."""
        return [*self.shares, *(DISTANCE if self.engine.problem.inputs else ())]

    @cached_property
    def _codes(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Field that an axis sets -> (code at every place of its table, distinct values)."""
        coded = {}
        for name, table in self.engine.problem.space.tables.items():
            if table.dims:
                values, codes = np.unique(table.values, return_inverse=True)
                if len(values) <= MOST_CODED_VALUES:
                    coded[name] = codes.reshape(table.values.shape).astype(np.int32), values
        return coded

    def compact_slab(self, slab: Slab) -> dict[str, Column]:
        """Id and score alone of a tile's feasible candidates."""
        score = np.asarray(slab.surveyed.score).ravel()[slab.place]
        return {"candidate_id": slab.ids, "score": score if self.sign > 0 else -score}

    def full_slab(self, slab: Slab) -> dict[str, Column]:
        """All columns of a tile's feasible candidates."""
        tile, results = self.engine.tiling.tile, slab.surveyed
        outer, inner = np.divmod(slab.place, tile[-1])

        def pick(values: Any) -> np.ndarray:
            """Per candidate, out of an array that broadcasts against the tile: with the least memory touched."""
            values = np.asarray(values)
            if values.shape[-1] == 1:
                return np.broadcast_to(values, (*tile[:-1], 1)).ravel()[outer]
            if values.size == tile[-1]:
                return values.ravel()[inner]
            return np.broadcast_to(values, tile).ravel()[slab.place]

        flops = pick(results.training_flops)
        return {
            "candidate_id": slab.ids,
            **{name: self._slab_field(name, slab, pick) for name in FIELDS},
            "total_params": pick(results.total_params),
            "active_params": pick(results.active_params),
            "training_flops": flops,
            "score": pick(results.score) if self.sign > 0 else -pick(results.score),
            "budget_used": None if self.budget is None else flops / self.budget,
            **{name: self._slab_field(name, slab, pick) for name in self.shares},
            **self._slab_distance(results.inputs, len(slab.ids), pick),
        }

    def full(self, rows: Rows) -> dict[str, Column]:
        """All columns of a result."""
        d = rows.decided
        return {
            "candidate_id": rows.ids,
            **{name: self._field(name, rows) for name in FIELDS},
            "total_params": d.total_params,
            "active_params": d.active_params,
            "training_flops": d.training_flops,
            "score": d.score if self.sign > 0 else -d.score,
            "budget_used": None if self.budget is None else d.training_flops / self.budget,
            **{name: self._field(name, rows) for name in self.shares},
            **(self.confidence.columns(self.design(rows)) if self.confidence else {}),
        }

    def design(self, rows: Rows) -> dict[str, np.ndarray]:
        """Field values of a result, float64 each."""
        fields = self.engine.problem.space.fields(rows.digits)
        return {**fields, "training_tokens": rows.decided.training_tokens}

    def costs(self, rows: Rows) -> dict[str, Column]:
        """The frontier's minimised costs."""
        return dict(zip(self.engine.problem.costs, rows.decided.costs, strict=True))

    def of(self, ids: np.ndarray, size: int | None = None) -> Rows:
        """Candidates by their ids, in that order, evaluated exactly; ``size`` as ``Engine.decide`` has it."""
        blocks, lane = self.engine.tiling.block_of(ids)
        decided, _, _ = self.engine.decide(blocks, size=size)
        pick = (np.arange(len(ids)), lane)
        flat = jax.tree.map(lambda leaf: leaf[pick], decided)
        return Rows(ids, self.engine.problem.space.digits(ids), flat)

    def _slab_distance(self, inputs: Sequence[Any], count: int, pick: Callable[[Any], np.ndarray]) -> dict[str, Column]:
        """The distance to the law's data, where the engine surveys its inputs; found once where the inner axis has no say."""
        support = self.confidence.entry.support if self.confidence and inputs else None
        if support is None:
            return {}
        with np.errstate(divide="ignore"):
            logs = [np.log(np.asarray(values)) for values in inputs]
        whole = all(log.shape[-1] == 1 for log in logs)
        shape = np.broadcast_shapes(*(log.shape for log in logs))
        points = [np.broadcast_to(log, shape).ravel() for log in logs] if whole else [pick(log) for log in logs]
        distance = distance_of_logs(support, points)
        columns = distance.astype(np.float32), beyond(support, distance)
        if whole and not distance.any():  # usual within a published range; spares a fifth of the time that this takes per row
            columns = [np.zeros(count, column.dtype) for column in columns]
        elif whole:
            columns = [pick(column.reshape(shape)) for column in columns]
        return dict(zip(DISTANCE, columns, strict=True))

    def _slab_field(self, name: str, slab: Slab, pick: Callable[[Any], np.ndarray]) -> Column:
        table = self.engine.problem.space.tables.get(name)
        if table is None:
            return pick(slab.surveyed.training_tokens) if name == "training_tokens" else Design._field_defaults[name]
        if not table.dims:
            return float(table.values)
        tiling = self.engine.tiling
        inside = np.ix_(*(tiling.clipped(d, slab.start).ravel() for d in table.dims))
        shape = [n if d in table.dims else 1 for d, n in enumerate(tiling.tile)]
        if name in self._codes:
            codes, values = self._codes[name]
            return pick(codes[inside].reshape(shape)), values
        return pick(table.values[inside].reshape(shape))

    def _field(self, name: str, rows: Rows) -> Column:
        table = self.engine.problem.space.tables.get(name)
        if table is None:
            return rows.decided.training_tokens if name == "training_tokens" else Design._field_defaults[name]
        if not table.dims:
            return float(table.values)
        place = tuple(rows.digits[i] for i in table.dims)
        if name in self._codes:
            codes, values = self._codes[name]
            return codes[place], values
        return table.values[place]
