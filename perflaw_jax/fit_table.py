"""The table of runs that a law is fitted on: its columns found under the names that people use, its values checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from perflaw_jax.accounting import quantity
from perflaw_jax.design import FIELDS, FLAGS, Design, nearest
from perflaw_jax.objective import make_design

if TYPE_CHECKING:
    from pandas import DataFrame

OTHER_NAMES = {  # quantity -> (column, unit) under which tables have it
    "total_params": (("params", 1.0), ("total_params_b", 1e9), ("params_b", 1e9)),
    "active_params": (("active_params_b", 1e9),),
    "training_tokens": (("tokens", 1.0), ("tokens_t", 1e12), ("tokens_b", 1e9)),
    "training_flops": (("flops", 1.0),),
}
LEAST = {  # less than this of a quantity is no run of a language model, but another unit
    "total_params": (500.0, "total_params_b"),
    "training_tokens": (1e5, "tokens_b or tokens_t"),
    "training_flops": (1e7, "flops, in FLOPs"),
}
TOKENS = ("training_tokens",)  # what no architecture tells
SHAPE = ("num_hidden_layers", "hidden_size")  # with these in the table, designs can be counted
SAME_COUNT = 0.02  # relative: FLOPs so close to 6 x non_embedding_params x tokens were counted that way


@dataclass(frozen=True)
class Table:
    """Rows of runs, and where they are from.

    Attributes:
        frame: the rows that are left.
        file: its name.
        sha256: of the whole file.
        notes: what was left out, in sentences.
    """

    frame: DataFrame
    file: str
    sha256: str
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> np.ndarray:
        """A column of numbers, blank where there is none; a ValueError names what is missing or wrong."""
        import pandas as pd

        if name not in self.frame:
            raise ValueError(f"{self.file}: no column {name!r}; {nearest(name, map(str, self.frame.columns))}")
        values = np.asarray(pd.to_numeric(self.frame[name], errors="coerce"), float)
        blank = np.asarray(self.frame[name].isna(), bool)
        self.refuse(name, ~np.isfinite(values) & ~blank, "must be a finite number")
        return values

    def positive(self, name: str) -> np.ndarray:
        """A column of numbers > 0."""
        values = self.column(name)
        self.refuse(name, ~(values > 0) & ~np.isnan(values), "must be > 0")
        return values

    def quantity(self, name: str) -> np.ndarray:
        """A quantity of the design: a column of that name, or counted from the architecture, or a column of a usual name."""
        if name in self.frame:
            return self._plain(name, name)
        if name not in TOKENS and {*SHAPE} <= {*self.frame.columns}:
            counted = self._counted(name)
            self.refuse(name, ~(counted > 0) & ~np.isnan(counted), "as counted from the architecture must be > 0")
            return counted
        for column, unit in OTHER_NAMES.get(name, ()):
            if column in self.frame:
                return self._plain(column, name) if unit == 1 else self.positive(column) * unit
        if name == "non_embedding_flops" and self.flops_name() == name:
            return self.quantity("training_flops")
        if name == "training_flops" and self._has("total_params") and self._has("training_tokens"):
            return 6 * self.quantity("total_params") * self.quantity("training_tokens")
        if name == "training_tokens" and self._has("total_params") and self._has("training_flops"):
            return self.quantity("training_flops") / (6 * self.quantity("total_params"))
        known = " or ".join((name, *(column for column, _ in OTHER_NAMES.get(name, ()))))
        raise ValueError(f"{self.file}: missing column {known}; has: {', '.join(map(str, self.frame.columns))}")

    def _plain(self, column: str, name: str) -> np.ndarray:
        """A column in the unit of the quantity itself: one in billions would be fitted as well, and mislead."""
        values = self.positive(column)
        least, other = LEAST.get(name, (0.0, ""))
        self.refuse(column, values < least, f"must be at least {least:g} (in another unit the column is {other})")
        return values

    def flops_name(self) -> str:
        """How the table counts its FLOPs: without embeddings where they are 6 x non_embedding_params x tokens."""
        if all(map(self._has, ("non_embedding_params", "training_tokens", "training_flops"))):
            plain = 6 * self.positive("non_embedding_params") * self.quantity("training_tokens")
            if np.nanmax(abs(self.quantity("training_flops") / plain - 1)) <= SAME_COUNT:
                return "non_embedding_flops"
        return "training_flops"

    def _has(self, name: str) -> bool:
        return any(column in self.frame for column in (name, *(column for column, _ in OTHER_NAMES.get(name, ()))))

    def where(self, conditions: Iterable[str]) -> Table:
        """The rows that meet every ``COLUMN=VALUE``."""
        table = self
        for condition in conditions:
            name, equals, value = (part.strip() for part in condition.partition("="))
            if not equals:
                raise ValueError(f"--where: must be COLUMN=VALUE, not {condition!r}")
            if name not in table.frame:
                raise ValueError(f"--where: no column {name!r}; {nearest(name, map(str, table.frame.columns))}")
            kept = np.array([str(cell) == value for cell in table.frame[name]], bool)
            if not kept.any():
                seen = ", ".join(sorted({str(cell) for cell in table.frame[name]})[:8])
                raise ValueError(f"--where: no row with {condition}; there are {seen}")
            table = table.keep(kept)
        return table

    def renamed(self, names: Iterable[str]) -> Table:
        """The table with columns under other names, each ``NAME=COLUMN``."""
        new = {}
        for pair in names:
            name, equals, column = (part.strip() for part in pair.partition("="))
            if not (equals and name):
                raise ValueError(f"--column: must be NAME=COLUMN, such as params='Model Size', not {pair!r}")
            if column not in self.frame:
                raise ValueError(f"--column: no column {column!r}; {nearest(column, map(str, self.frame.columns))}")
            new[column] = name
        kept = [column for column in self.frame.columns if column in new or column not in new.values()]
        return replace(self, frame=self.frame[kept].set_axis([new.get(column, column) for column in kept], axis=1))

    def keep(self, kept: np.ndarray, why: str = "") -> Table:
        """The rows of a mask; with ``why``, those that go are counted in the notes."""
        gone = int((~kept).sum())
        notes = (*self.notes, f"{gone} of {len(kept)} rows left out: {why}") if why and gone else self.notes
        return replace(self, frame=self.frame.loc[kept], notes=notes)

    def refuse(self, name: str, wrong: np.ndarray, what: str) -> None:
        """ValueError for the first of the rows that are wrong, by its line in the file."""
        if wrong.any():
            lines = [str(index + 2) for index in self.frame.index[wrong][:5]]
            value = self.frame[name].iloc[int(wrong.argmax())] if name in self.frame else "so"
            more = f" and {int(wrong.sum()) - 5} more" if wrong.sum() > 5 else ""
            raise ValueError(f"{self.file}: {name}: {what}, not {value} (line {', '.join(lines)}{more})")

    def runs(self, name: str | None) -> np.ndarray:
        """Which run each row belongs to, 0 ... runs - 1: by the column of that name, or of ``run``; else each is its own."""
        if name is None and "run" not in self.frame:
            return np.arange(len(self.frame))
        column = name or "run"
        if column not in self.frame:
            raise ValueError(f"{self.file}: no column {column!r}; {nearest(column, map(str, self.frame.columns))}")
        return np.unique(np.asarray(self.frame[column], str), return_inverse=True)[1]

    def final(self, run: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Which rows end a run, bool [n]: those marked in ``is_final``, else the last of each by ``order``."""
        if "is_final" in self.frame:
            marked = np.array([str(cell) in ("True", "true", "1", "1.0") for cell in self.frame["is_final"]], bool)
            twice = marked & (np.bincount(run[marked], minlength=run.max(initial=-1) + 1)[run] > 1)
            self.refuse("is_final", twice, "must mark one row of a run")
            return marked
        latest = np.lexsort((order, run))
        ends = np.append(np.diff(run[latest]) > 0, True)
        return np.isin(np.arange(len(run)), latest[ends])

    def no_duplicates(self, chosen: np.ndarray, columns: Sequence[np.ndarray], what: str) -> None:
        """ValueError where two of the chosen rows are the same in all of ``columns``."""
        rows = np.flatnonzero(chosen)
        _, place, count = np.unique(
            np.stack([column[rows] for column in columns], axis=1), axis=0, return_inverse=True, return_counts=True
        )
        again = np.flatnonzero(count[place.ravel()] > 1)
        if len(again):
            same = rows[place.ravel() == place.ravel()[again[0]]]
            lines = ", ".join(str(line) for line in self.frame.index[same[:5]] + 2)
            raise ValueError(f"{self.file}: duplicate {what}: lines {lines} hold the same values")

    def _counted(self, name: str) -> np.ndarray:
        fields = {field: self.column(field) for field in FIELDS if field in self.frame}
        for field, default in Design._field_defaults.items():
            if field in fields:
                fields[field] = np.where(np.isnan(fields[field]), default, fields[field])
        fields["intermediate_size"] = np.nan_to_num(fields.get("intermediate_size", np.zeros(len(self.frame))))
        fields["training_tokens"] = self.quantity("training_tokens")
        heads = fields["hidden_size"] / fields.get("head_dim", Design._field_defaults["head_dim"])
        fields.setdefault("num_attention_heads", heads)
        with jax.enable_x64(True):
            design = make_design(fields)
            return np.broadcast_to(np.asarray(quantity(name, design), float), len(self.frame))


def full_score(scores: np.ndarray) -> float:
    """The most a score can be: 1, or 100 where some are in points."""
    return 100.0 if np.any(scores > 1.5) else 1.0


def read_table(path: str | PathLike[str]) -> Table:
    """A table of runs, by its ending Parquet, JSON (lines or a list) or CSV; a ValueError of one line if it cannot be read."""
    where = Path(path)
    try:
        raw = where.read_bytes()
        frame = _frame(where)
    except OSError as error:
        raise ValueError(f"{where}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # pandas' and pyarrow's own are ValueErrors too
        raise ValueError(f"{where}: not a table: {' '.join(str(error).split())}") from None
    for flag in FLAGS:
        if flag in frame:  # true, false and blank may be read as words
            frame[flag] = [{"true": 1.0, "false": 0.0}.get(str(cell).lower(), cell) for cell in frame[flag]]
    if not len(frame):
        raise ValueError(f"{where}: has no rows")
    return Table(frame.reset_index(drop=True), where.name, hashlib.sha256(raw).hexdigest())


def _frame(where: Path) -> DataFrame:
    import pandas as pd

    if where.suffix in (".parquet", ".pq"):
        frame = pd.read_parquet(where)
    elif where.suffix in (".json", ".jsonl", ".ndjson"):
        frame = pd.read_json(where, lines=where.suffix != ".json")
    else:
        frame = pd.read_csv(where)
        if len(frame.columns) == 1 and (others := [mark for mark in ";\t" if mark in str(frame.columns[0])]):
            frame = pd.read_csv(where, sep=others[0])
    return frame.rename(columns=lambda name: str(name).strip())
