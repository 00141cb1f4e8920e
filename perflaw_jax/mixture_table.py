"""The rows that a mixture law is fitted on: FLOPs, shares of the sources, losses and scores, one per checkpoint.

Columns of a table (see ``fit_table``):

- ``training_flops`` and ``data_fraction.<source>``, or in place of both the FLOPs per source, ``flops.<source>``; a table
  without shares has one source;
- one column per validation domain, ``loss_<domain>`` unless named, nats per token;
- the score to predict, if any, blank where it is not known; ``run`` where a run has several rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perflaw_jax.design import FRACTION, is_fraction, nearest
from perflaw_jax.fit_table import Table

WHOLE = 1e-3  # shares are published with three decimals: so far may their sum be from 1, times the number of sources
PER_SOURCE = "flops."
LOSS = "loss_"


class MixtureTable(NamedTuple):
    """Rows ``n``, sources ``S`` (1 without names), validation domains ``D``."""

    flops: np.ndarray  # [n]
    shares: np.ndarray  # [n, S], rows sum to 1
    losses: np.ndarray  # [n, D]
    sources: tuple[str, ...] = ()  # empty where there is one
    domains: tuple[str, ...] = ()  # names of the losses; counted where empty
    scores: np.ndarray | None = None  # [n], NaN where unknown
    run: np.ndarray | None = None  # which run a row is of, [n]; None where every row is its own
    final: np.ndarray | None = None  # which rows end a run, bool [n]; None: those with the most FLOPs
    target: str = ""  # what the scores are of
    counted: str = "training_flops"  # the quantity of a design that the FLOPs are
    file: str = ""
    sha256: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the losses."""
        return self.domains or tuple(str(i) for i in range(self.losses.shape[1]))

    def ends(self) -> np.ndarray:
        """Rows that end a run, in the order of the table."""
        if self.final is not None:
            return np.flatnonzero(self.final)
        if self.run is None:
            return np.arange(len(self.flops))
        last: dict[int, int] = {}
        for row, run in enumerate(self.run):
            if run not in last or self.flops[row] > self.flops[last[run]]:
                last[run] = row
        return np.array(sorted(last.values()), int)

    def take(self, rows: np.ndarray) -> MixtureTable:
        """Some of the rows."""
        columns = ("flops", "shares", "losses", "scores", "run", "final")
        return self._replace(**{name: getattr(self, name)[rows] for name in columns if getattr(self, name) is not None})


def mixture_table(
    table: Table, *, target: str | None = None, losses: Sequence[str] = (), runs: str | None = None
) -> MixtureTable:
    """The rows of a table.

    Args:
        table: as ``fit_table.read_table`` reads it, with the rows that count.
        target: column of the score; None where only the losses are to be predicted.
        losses: columns of the losses; those that begin with ``loss_`` if none are named.
        runs: column that tells runs apart; ``run``, where there is one, if not given.

    Raises:
        ValueError: a column is missing, or values make no sense; the message names the column and the lines of the file.
    """
    columns = [str(name) for name in table.frame.columns]
    chosen = [*losses] or [name for name in columns if name.startswith(LOSS)]
    if not chosen:
        raise ValueError(f"{table.file}: no column of a loss: they are named {LOSS}<domain>")
    if target is not None and target not in columns:
        raise ValueError(f"{table.file}: no column {target!r}; {nearest(target, columns)}")
    spent = [name for name in columns if name.startswith(PER_SOURCE)]
    sources, flops, shares = _sources(table, spent, [name for name in columns if is_fraction(name)])
    run = table.runs(runs)
    rows = MixtureTable(
        flops=flops,
        shares=shares,
        losses=np.stack([table.positive(name) for name in chosen], axis=1),
        sources=sources if len(sources) > 1 else (),
        domains=tuple(name.removeprefix(LOSS) for name in chosen),
        scores=None if target is None else table.column(target),
        run=run,
        final=table.final(run, flops),
        target=target or "",
        counted="training_flops" if spent else table.flops_name(),
        file=table.file,
        sha256=table.sha256,
    )
    return checked(rows, np.asarray(table.frame.index) + 2)


def _sources(table: Table, spent: list[str], shared: list[str]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names of the sources, FLOPs [n] and shares [n, S]."""
    if spent and shared:
        raise ValueError(f"{table.file}: has both {spent[0]} and {shared[0]}: give FLOPs per source, or shares and FLOPs")
    if not spent:
        shares = [table.column(name) for name in shared] or [np.ones(len(table.frame))]
        names = tuple(name.removeprefix(FRACTION) for name in shared) or ("",)
        return names, table.quantity("training_flops"), np.stack(shares, axis=1)
    amounts = np.stack([table.column(name) for name in spent], axis=1)
    for name, amount in zip(spent, amounts.T, strict=True):
        table.refuse(name, ~(amount >= 0), "must be >= 0")
    total = amounts.sum(axis=1)
    table.refuse(spent[0], ~(total > 0), "and the FLOPs of the other sources must not all be 0")
    return tuple(name.removeprefix(PER_SOURCE) for name in spent), total, amounts / total[:, None]


def checked(table: MixtureTable, lines: np.ndarray | None = None) -> MixtureTable:
    """The rows with every share divided by its row's sum; a ValueError of one line names column and lines (or rows, from 0)."""

    def refuse(wrong: np.ndarray, name: str, what: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            shown = ", ".join(str(row if lines is None else lines[row]) for row in rows[:5])
            more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
            where = f"{'row' if lines is None else 'line'} {shown}{more}"
            raise ValueError(f"{table.file}: {name}: {what} ({where})".removeprefix(": "))

    refuse(~(table.flops > 0) | np.isinf(table.flops), table.counted, "must be > 0")
    for name, share in zip(table.sources or ("",), table.shares.T, strict=True):
        refuse(~((share >= 0) & (share <= 1 + WHOLE)), FRACTION + name, "must be between 0 and 1")
    for name, loss in zip(table.names, table.losses.T, strict=True):
        refuse(~(loss > 0) | np.isinf(loss), f"loss {name}", "must be > 0")
    if table.scores is not None:
        refuse(np.isinf(table.scores), table.target or "score", "must be a number")
    total = table.shares.sum(axis=1)
    refuse(abs(total - 1) > WHOLE * table.shares.shape[1], "shares of the sources", "must sum to 1")
    known = np.hstack([table.flops[:, None], table.shares, table.losses])
    _, first, which = np.unique(known, axis=0, return_index=True, return_inverse=True)
    again = first[which.ravel()] != np.arange(len(known))
    refuse(again, "duplicate runs", "FLOPs, shares and losses are those of an earlier line")
    return table._replace(shares=table.shares / total[:, None])
