"""A fitted law as a file: JSON with its form, coefficients, uncertainty, the data it was fitted on, and their range."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from perflaw_jax.law_forms import from_record
from perflaw_jax.laws import Ensemble, LawEntry, Support
from perflaw_jax.laws.entry import coefficients, with_coefficients

FORMAT = "perflaw-law-1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataRecord(_Part):
    """What a law was fitted on."""

    file: str
    sha256: str
    rows: int
    runs: int


class SupportRecord(_Part):
    """Where those data lie: see ``laws.Support``; ``high`` is left out where every box is a point."""

    inputs: tuple[str, ...]
    low: list[list[float]]
    high: list[list[float]] | None = None
    reach: float = 0.0


class CovarianceRecord(_Part):
    """Covariance of the fitted coefficients, over the resamples of a bootstrap or from the curvature at the optimum."""

    names: tuple[str, ...]
    matrix: list[list[float]]


class FittedLaw(_Part):
    """A fitted law, as its file holds it."""

    format: Literal["perflaw-law-1"] = FORMAT
    name: str
    metric: str
    unit: str = ""
    higher_is_better: bool = True
    experts: bool = False
    source: str
    valid: str = ""
    note: str = ""
    law: dict[str, Any]  # see ``law_forms``
    sample: dict[str, list[Any]] = {}  # coefficient -> its value in every member of the ensemble
    covariance: CovarianceRecord | None = None
    support: SupportRecord | None = None
    data: DataRecord | None = None
    fit: dict[str, Any] = {}  # how the fit went

    @property
    def resamples(self) -> int:
        """Members of its ensemble."""
        return len(next(iter(self.sample.values()), ()))

    def errors(self) -> list[float]:
        """Standard error of each coefficient that the covariance names."""
        return np.sqrt(np.diag(self.covariance.matrix)).tolist() if self.covariance else []

    def quantiles(self, share: float) -> dict[str, float]:
        """Quantile of each coefficient over the ensemble."""
        return {name: float(np.quantile(values, share)) for name, values in self.sample.items() if np.ndim(values) == 1}

    def entry(self, where: str = "law") -> LawEntry:
        """The law with what must be known of it; ValueErrors begin with ``where``."""
        point = from_record(self.law, where)
        support = None
        if self.support is not None:
            low = np.asarray(self.support.low, float)
            high = low if self.support.high is None else np.asarray(self.support.high, float)
            support = Support(self.support.inputs, low, high, self.support.reach)
        described = {name: getattr(self, name) for name in ("name", "metric", "unit", "source", "valid", "note")}
        kind = {"experts": self.experts, "higher_is_better": self.higher_is_better, "support": support}
        law = Ensemble(point, members(point, self.sample, where)) if self.sample else point
        return LawEntry(law=law, **described, **kind)


def members(point: Any, sample: Mapping[str, Any], where: str = "law") -> Any:
    """Many laws as one pytree with a leading axis: ``sample`` for the coefficients that differ, the point's for the others."""
    known = coefficients(point)
    if unknown := sorted({*sample} - {*known}):
        raise ValueError(f"{where}: sample names coefficients that the law does not have: {', '.join(unknown)}")
    stacks = {name: np.asarray(values, float) for name, values in sample.items()}
    sizes = {len(stack) for stack in stacks.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"{where}: sample needs the same number of values, at least one, for every coefficient")
    size = sizes.pop()
    return with_coefficients(
        point, {name: stacks.get(name, np.repeat(np.asarray(leaf, float)[None], size, axis=0)) for name, leaf in known.items()}
    )


def load_fitted(path: str | PathLike[str]) -> LawEntry:
    """The law in a file; a ValueError of one line where it cannot be read or describes none."""
    where = f"law: {path}"
    try:
        record = FittedLaw.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ValueError(
            f"{where}: cannot be read: no such file in the current directory, nor beside a spec that names it"
        ) from None
    except OSError as error:
        raise ValueError(f"{where}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ValueError(f"{where}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    except ValueError as error:
        raise ValueError(f"{where}: not JSON: {error}") from None
    return record.entry(where)


def save_fitted(law: FittedLaw, path: str | PathLike[str]) -> None:
    """Write a law's file, whole or not at all; the same law gives the same bytes."""
    from perflaw_jax.files import write_atomic

    text = law.model_dump_json(indent=1, exclude_defaults=False) + "\n"
    write_atomic(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def stacked(law: Any) -> dict[str, list[Any]]:
    """The coefficients of many laws (a pytree with a leading axis) as a file holds them."""
    return {name: np.asarray(leaf).tolist() for name, leaf in coefficients(law).items()}
