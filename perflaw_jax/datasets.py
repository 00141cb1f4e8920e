"""The table of real language models: reported scores to hold the laws against.

``data/models.csv`` lists 225 base models released from 2020 to 2024: architecture under Hugging Face field names, parameters
(billions), training tokens (trillions) and the reported 5-shot MMLU. It was compiled for this project from model cards,
technical reports and public configs; ``config_source`` and ``score_source`` name them per row, and ``verified`` says which of
the two was read there ("memory": neither). Blank means undisclosed. Read before use:

- About 65 models sit at chance (25 %, up to 28): they inform a law's floor, not its slope.
- The same model differs by 1 to 4 points between evaluation harnesses: no law can be right to better than that.
- Scores of post-trained models (``score_is_post_trained``) say little about pre-training; Aquila2-34B is suspected of
  contamination.
- Tokens inherited from a parent (Minitron, LLaMA-MoE, Falcon3-10B, Yi-9B, Yi-1.5, Qwen2-57B-A14B) or spent on distillation
  (Llama-3.2, Gemma-2-2B and 9B) do not mean what ``tokens_t`` means elsewhere.
- ``intermediate_size`` is the dense FFN width, in an MoE model of its ``first_k_dense_replace`` leading dense layers.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perflaw_jax.design import Design

if TYPE_CHECKING:
    from pandas import DataFrame

MODELS = Path(__file__).parent / "data" / "models.csv"

_TEXT = ("name", "released", "kind")
_NUMBERS = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
_MAY_BE_BLANK = ("intermediate_size", "tokens_t", "mmlu")
_FLAGS = ("tie_word_embeddings", "gated_ffn")
_EXPERTS = (
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "first_k_dense_replace",
)
REQUIRED = (*_TEXT, *_NUMBERS, *_MAY_BE_BLANK, *_FLAGS)

NOT_GQA = {  # name of a model or family -> how its attention departs from grouped-query attention over every layer
    "DeepSeek-V2": "multi-head latent attention",
    "DeepSeek-V3": "multi-head latent attention",
    "Gopher": "relative positions add a projection",
    "Chinchilla": "relative positions add a projection",
    "JetMoE": "attention is a mixture of experts too",
    "Hunyuan-Large": "layers share keys and values",
    "OpenMoE": "dense and MoE layers are interleaved",
    "Llama-4-Maverick": "dense and MoE layers are interleaved",
}


def load_models(path: str | PathLike[str] | None = None) -> DataFrame:
    """The project's table of real models, or the user's own at ``path`` (CSV with the same column names).

    Columns of MoE fields and ``score_is_post_trained`` may be missing, and any other may be added.

    Raises:
        ValueError: a required column is missing, or a value is wrong; the message names the column and the row.
        OSError: the file cannot be read.
    """
    import pandas as pd

    where = MODELS if path is None else Path(path)
    try:
        frame = pd.read_csv(where, dtype=dict.fromkeys(_TEXT, str))
    except ValueError as error:  # pandas' own parser errors are ValueErrors too
        raise ValueError(f"{where}: not a CSV table: {' '.join(str(error).split())}") from None
    missing = [column for column in REQUIRED if column not in frame]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise ValueError(f"{where}: missing column{plural} {', '.join(missing)}; needed: {', '.join(REQUIRED)}")
    try:
        return _typed(frame)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _typed(frame: DataFrame) -> DataFrame:
    """The table with every column that is used as float64 or bool; blank flags are those of ``Design``."""
    columns = {name: _floats(frame, name) for name in (*_NUMBERS, *_MAY_BE_BLANK, *_EXPERTS)}
    defaults = {**{name: bool(Design._field_defaults[name]) for name in _FLAGS}, "score_is_post_trained": False}
    columns |= {name: _flags(frame, name, default) for name, default in defaults.items()}
    dense, moe = (np.asarray(frame["kind"] == kind) for kind in ("dense", "moe"))
    _refuse(frame, "kind", ~(dense | moe), "must be dense or moe")
    months = np.array([re.fullmatch(r"\d{4}(-\d\d)*", str(value)) is not None for value in frame["released"]], bool)
    _refuse(frame, "released", ~months, "must be a year and month such as 2024-05")
    for name in _NUMBERS:
        _refuse(frame, name, ~(columns[name] > 0), "must be > 0")
    _refuse(frame, "intermediate_size", dense & ~(columns["intermediate_size"] > 0), "must be > 0 in a dense model")
    _refuse(frame, "num_experts", dense & (columns["num_experts"] > 0), "must be blank or 0 in a dense model")
    for name in ("num_experts", "num_experts_per_tok", "moe_intermediate_size"):
        _refuse(frame, name, moe & ~(columns[name] > 0), "must be > 0 in an MoE model")
    return frame.assign(**columns)


def _floats(frame: DataFrame, name: str) -> np.ndarray:
    import pandas as pd

    if name not in frame:
        return np.full(len(frame), np.nan)
    values = np.asarray(pd.to_numeric(frame[name], errors="coerce"), float)
    _refuse(frame, name, np.isnan(values) & ~_blank(frame, name), "must be a number")
    return values


def _flags(frame: DataFrame, name: str, default: bool) -> np.ndarray:
    if name not in frame:
        return np.full(len(frame), default)
    values, blank = np.asarray(frame[name], str), _blank(frame, name)
    _refuse(frame, name, ~np.isin(values, ("True", "False")) & ~blank, "must be True or False")
    return np.where(blank, default, values == "True")


def _blank(frame: DataFrame, name: str) -> np.ndarray:
    return np.asarray(frame[name].isna(), bool)


def _refuse(frame: DataFrame, name: str, wrong: np.ndarray, what: str) -> None:
    """ValueError for the first of the rows that are wrong."""
    if wrong.any():
        row = int(wrong.argmax())
        value = "blank" if name not in frame or _blank(frame, name)[row] else frame[name].iloc[row]
        raise ValueError(f"{name}: {what}, not {value} (row {frame['name'].iloc[row]})")


def model_fields(frame: DataFrame) -> dict[str, np.ndarray]:
    """Design field -> float64 [rows], for every row of the table; tokens (not trillions) are NaN where undisclosed.

    Fields of experts that are blank are 0, and so is a blank ``intermediate_size``, which an MoE model without leading dense
    layers does not have. Norms and biases are not in the table: counts follow the planner's convention.
    """
    fields = {name: np.asarray(frame[name], float) for name in (*_NUMBERS, *_FLAGS)}
    fields |= {name: np.nan_to_num(np.asarray(frame[name], float)) for name in ("intermediate_size", *_EXPERTS)}
    return fields | {"training_tokens": np.asarray(frame["tokens_t"], float) * 1e12}


def gqa_rows(frame: DataFrame) -> np.ndarray:
    """Which rows have attention that grouped-query attention describes, bool [rows]; the exceptions are in ``NOT_GQA``."""
    return np.array([not name.startswith(tuple(NOT_GQA)) for name in frame["name"]], bool)


def scored_rows(frame: DataFrame) -> np.ndarray:
    """Which rows a law can be held against, bool [rows]: MMLU and training tokens are both known."""
    return ~_blank(frame, "mmlu") & ~_blank(frame, "tokens_t")


def errors(frame: DataFrame, *, post_trained: bool = False) -> DataFrame:
    """How far the predictions lie from the reported scores, per year and kind, per kind, and over all.

    Args:
        frame: rows with ``predicted`` and ``mmlu`` (points), ``released`` ("2024-05") and ``kind``; a row without either
            score does not count.
        post_trained: count the rows marked ``score_is_post_trained`` as well.

    Returns:
        ``year`` and ``kind`` ("all" in totals), ``count``, ``mean_absolute_error`` and ``bias`` (predicted - reported).
    """
    import pandas as pd

    known = ~_blank(frame, "predicted") & ~_blank(frame, "mmlu")
    if not post_trained and "score_is_post_trained" in frame:
        known &= ~np.asarray(frame["score_is_post_trained"], bool)
    kept = frame.loc[known]
    bias = np.asarray(kept["predicted"], float) - np.asarray(kept["mmlu"], float)
    years = [released[:4] for released in kept["released"]]
    rows = pd.DataFrame({"year": years, "kind": kept["kind"], "count": 1, "mean_absolute_error": np.abs(bias), "bias": bias})
    tables = [rows, rows.assign(year="all"), rows.assign(year="all", kind="all")]
    measures = {"count": "sum", "mean_absolute_error": "mean", "bias": "mean"}
    return pd.concat([table.groupby(["year", "kind"]).agg(measures).reset_index() for table in tables], ignore_index=True)
