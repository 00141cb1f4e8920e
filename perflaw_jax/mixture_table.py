"""The table that a mixture law is fitted on: FLOPs, shares of the sources, losses and scores, one row per checkpoint.

Columns of a file (CSV or Parquet):

- ``training_flops`` (or as named) and ``data_fraction.<source>``, or in place of both the FLOPs per source, ``flops.<source>``;
  a table without shares has one source;
- one column per validation domain, ``loss_<domain>`` unless named, nats per token;
- the score to predict, if any; ``run`` where a run has several rows, of which the one with the most FLOPs is its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from perflaw_jax.design import FRACTION, is_fraction, nearest

if TYPE_CHECKING:
    from pandas import DataFrame

WHOLE = 1e-3  # shares are published with three decimals: so far may their sum be from 1, times the number of sources
PER_SOURCE = "flops."
LOSS = "loss_"


class MixtureTable(NamedTuple):
    """Rows ``n``, sources ``S`` (1 without names), validation domains ``D``."""

    flops: np.ndarray  # [n]
    shares: np.ndarray  # [n, S], rows sum to 1
    losses: np.ndarray  # [n, D]
    sources: tuple[str, ...] = ()  # empty where there is one
    domains: tuple[str, ...] = ()  # names of the losses
    scores: np.ndarray | None = None  # [n]
    runs: np.ndarray | None = None  # [n] names; None where every row is a run of its own
    target: str = ""  # what the scores are of
    file: str = ""
    sha256: str = ""

    def ends(self) -> np.ndarray:
        """Row of every run's last checkpoint, in the order of the table."""
        if self.runs is None:
            return np.arange(len(self.flops))
        last: dict[str, int] = {}
        for row, run in enumerate(self.runs):
            if run not in last or self.flops[row] > self.flops[last[run]]:
                last[run] = row
        return np.array(sorted(last.values()), int)

    def take(self, rows: np.ndarray) -> MixtureTable:
        """Some of the rows."""
        columns = ("flops", "shares", "losses", "scores", "runs")
        taken = {name: getattr(self, name)[rows] for name in columns if getattr(self, name) is not None}
        return self._replace(**taken)


def checked(table: MixtureTable) -> MixtureTable:
    """The table with every share divided by its row's sum; a ValueError of one line that names column and rows."""
    names = table.sources or ("the only source",)
    domains = table.domains or tuple(str(i) for i in range(table.losses.shape[1]))
    _refuse(~(table.flops > 0) | np.isinf(table.flops), "training FLOPs", "must be > 0")
    for name, column in zip(names, table.shares.T, strict=True):
        _refuse(~((column >= 0) & (column <= 1)), FRACTION + name, "must be between 0 and 1")
    for name, column in zip(domains, table.losses.T, strict=True):
        _refuse(~(column > 0) | np.isinf(column), f"loss {name}", "must be > 0")
    if table.scores is not None:
        _refuse(~np.isfinite(table.scores), f"score {table.target}".strip(), "must be a number")
    total = table.shares.sum(axis=1)
    _refuse(abs(total - 1) > WHOLE * len(names), "shares of the sources", "must sum to 1")
    known = [table.flops[:, None], table.shares, table.losses]
    _, first, which = np.unique(np.hstack(known), axis=0, return_index=True, return_inverse=True)
    twice = first[which.ravel()] != np.arange(len(table.flops))
    _refuse(twice, "duplicate runs", "the same FLOPs, shares and losses stand in the table before")
    return table._replace(shares=table.shares / total[:, None], domains=domains)


def mixture_table(
    path: str | PathLike[str],
    *,
    target: str | None = None,
    losses: Sequence[str] | None = None,
    flops: str = "training_flops",
) -> MixtureTable:
    """Read a table.

    Args:
        path: CSV, or Parquet if it ends in ``.parquet``.
        target: column of the score; None where only the losses are to be predicted.
        losses: columns of the losses; those that begin with ``loss_`` if not given.
        flops: column of the training FLOPs, not needed where there are FLOPs per source.

    Raises:
        ValueError: the file cannot be read, a column is missing, or values make no sense; the message names column and rows.
    """
    frame, digest = _read(Path(path))
    try:
        return checked(_table(frame, target, losses, flops)._replace(file=Path(path).name, sha256=digest))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _table(frame: DataFrame, target: str | None, losses: Sequence[str] | None, flops: str) -> MixtureTable:
    columns = [str(name) for name in frame.columns]
    names = [name for name in columns if name.startswith(LOSS)] if losses is None else list(losses)
    if not names:
        raise ValueError(f"no column of a loss: they are named {LOSS}<domain>")
    shared, spent = [c for c in columns if is_fraction(c)], [c for c in columns if c.startswith(PER_SOURCE)]
    if spent and shared:
        raise ValueError(f"has both {spent[0]} and {shared[0]}: give FLOPs per source, or shares and FLOPs")
    needed = [*names, *([] if spent else [flops]), *([] if target is None else [target])]
    if missing := [name for name in needed if name not in columns]:
        raise ValueError(f"missing column {missing[0]}; {nearest(missing[0], columns)}")
    if spent:
        amounts = _numbers(frame, spent)
        for name, column in zip(spent, amounts.T, strict=True):
            _refuse(~(column >= 0), name, "must be >= 0")
        total = amounts.sum(axis=1)
        shares, sources = amounts / np.where(total > 0, total, 1)[:, None], [name.removeprefix(PER_SOURCE) for name in spent]
    else:
        total = _numbers(frame, [flops])[:, 0]
        shares = _numbers(frame, shared) if shared else np.ones((len(frame), 1))
        sources = [name.removeprefix(FRACTION) for name in shared]
    return MixtureTable(
        flops=total,
        shares=shares,
        losses=_numbers(frame, names),
        sources=tuple(sources) if len(sources) > 1 else (),
        domains=tuple(name.removeprefix(LOSS) for name in names),
        scores=None if target is None else _numbers(frame, [target])[:, 0],
        runs=np.asarray(frame["run"], str) if "run" in columns else None,
        target=target or "",
    )


def _read(path: Path) -> tuple[DataFrame, str]:
    """The table and the SHA-256 of its file."""
    from io import BytesIO

    import pandas as pd

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        frame = pd.read_parquet(BytesIO(data)) if path.suffix == ".parquet" else pd.read_csv(BytesIO(data))
    except Exception as error:  # pyarrow and pandas each have their own errors for a file that is no table
        raise ValueError(f"{path}: not a table: {' '.join(str(error).split())}") from None
    if not len(frame):
        raise ValueError(f"{path}: has no rows")
    return frame, sha256(data).hexdigest()


def _numbers(frame: DataFrame, names: Sequence[str]) -> np.ndarray:
    """Columns as float64 [n, names]."""
    import pandas as pd

    columns = []
    for name in names:
        column = np.asarray(pd.to_numeric(frame[name], errors="coerce"), float)
        _refuse(np.isnan(column), name, "must be a number")
        columns.append(column)
    return np.stack(columns, axis=1)


def _refuse(wrong: np.ndarray, name: str, what: str) -> None:
    """ValueError where any row is wrong; rows are counted from 1, without the header."""
    rows = np.flatnonzero(wrong) + 1
    if len(rows):
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        raise ValueError(f"{name}: {what} (row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:5]))}{more})")
