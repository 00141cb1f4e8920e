"""Everything that a user of the planner can set, checked; to and from the query of a link."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from perflaw_jax.catalogue import all_laws
from perflaw_jax.design import nearest
from perflaw_jax.hardware import ACCELERATORS, training_budget
from perflaw_jax.laws import LawEntry
from perflaw_jax.planner.grids import EXPERTS, EXPERTS_PER_TOKEN, HIDDEN_STEPS
from perflaw_jax.spec_values import Mistake, show

OWN = "own number"
PERFORMANCE_LAW = {"dense": "performance-dense", "moe": "performance-moe"}
RANKING_WORDS = {
    "performance": "performance first",
    "balance": "balance: score² / ln(1 + layers)",
    "shallow": "shallow first",
}
RANGES = ("layers", "size", "tokens", "experts", "chosen", "expert_ratio")


class InputError(ValueError):
    """What is wrong with the inputs: a message for each field that it is about ("" where it is about none)."""

    def __init__(self, messages: Mapping[str, str]):
        """``messages`` are phrases without the field's name."""
        super().__init__("; ".join(f"{field}: {message}" if field else message for field, message in messages.items()))
        self.messages = dict(messages)


class Inputs(BaseModel):
    """What the planner is asked. The defaults are those of the Performance Law authors' own program (plan.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    accelerator: str = Field(OWN, title="Accelerator", description="Sets the dense BF16 peak of one chip.")
    peak_tflops: float = Field(376, gt=0, le=1e6, title="Peak, TFLOP/s", description="Dense BF16 peak of one accelerator.")
    count: int = Field(1024, ge=1, le=10**7, title="Accelerators", description="How many train at the same time.")
    mfu: float = Field(0.4, gt=0, le=1, title="MFU", description="Share of the peak that training reaches, 0 to 1.")
    days: float = Field(30, gt=0, le=10**4, title="Days", description="Length of the training run.")

    kind: Literal["dense", "moe"] = Field("dense", title="Architecture", description="Dense, or a mixture of experts.")
    grid: Literal["authors", "fine"] = Field(
        "authors",
        title="Candidates",
        description="The authors' rules: layers mod 8 is 6 or 7, hidden size a multiple of 2048, FFN = hidden + 2048 s and a "
        "multiple of 4096, tokens in steps of 0.5T, upper ends left out. Or a fine grid of a billion designs, ends included.",
    )
    hidden_step: int = Field(
        1024, title="Hidden size in multiples of", description="At 1024 the 8 key/value heads divide the heads of 128."
    )
    min_layers: int = Field(20, ge=1, le=200, title="Layers, from", description="Number of transformer layers.")
    max_layers: int = Field(100, ge=1, le=200, title="Layers, to", description="The authors' grid leaves this end out.")
    min_size: float = Field(10, ge=0, le=1e5, title="Size from, B", description="Total parameters in billions.")
    max_size: float = Field(100, gt=0, le=1e5, title="Size to, B", description="Total parameters in billions.")
    min_tokens: float = Field(1, ge=0, le=40, title="Tokens from, T", description="Training tokens in trillions.")
    max_tokens: float = Field(20, gt=0, le=40, title="Tokens to, T", description="The authors' grid leaves this end out.")

    min_experts: int = Field(EXPERTS[0], title="Experts, from", description="Routed experts per layer.")
    max_experts: int = Field(EXPERTS[-1], title="Experts, to", description="Routed experts per layer.")
    min_chosen: int = Field(EXPERTS_PER_TOKEN[0], title="Chosen per token, from", description="Routed experts of a token.")
    max_chosen: int = Field(EXPERTS_PER_TOKEN[-1], title="Chosen per token, to", description="Routed experts of a token.")
    min_expert_ratio: float = Field(0.125, gt=0, le=4, title="Expert width from", description="In units of the hidden size.")
    max_expert_ratio: float = Field(3.5, gt=0, le=4, title="Expert width to", description="In units of the hidden size.")
    shared: int = Field(0, ge=0, le=8, title="Shared experts", description="Every token passes them; as wide as a routed one.")
    leading: int = Field(0, ge=0, le=8, title="Leading dense layers", description="Without experts; their FFN is 3 x hidden.")

    law: str | None = Field(None, title="Law", description="What scores a design.")
    gamma: float = Field(1, ge=1, le=100, title="Precision loss γ", description="Of the training hardware; 1 at BF16.")
    min_score: float = Field(50, ge=-1e3, le=1e3, title="Least score", description="Asked before the clamp at chance level.")
    ranking: Literal["performance", "balance", "shallow"] = Field(
        "performance",
        title="Ranking",
        description="Best score first; score² / ln(1 + layers); or fewest layers, then best score.",
    )

    @field_validator("accelerator")
    @classmethod
    def _known_accelerator(cls, name: str) -> str:
        if name != OWN and name not in ACCELERATORS:
            raise Mistake(f"no accelerator named {show(name)}; {nearest(name, [OWN, *ACCELERATORS])}")
        return name

    @field_validator("hidden_step")
    @classmethod
    def _known_step(cls, step: int) -> int:
        if step not in HIDDEN_STEPS:
            raise Mistake(f"must be one of {', '.join(map(str, HIDDEN_STEPS))}, not {step}")
        return step

    @model_validator(mode="after")
    def _ends_in_order(self) -> Self:
        for name in RANGES:
            low, high = self.range(name)
            if low > high:
                raise Mistake(f"the range goes from {low:g} down to {high:g}; give the lower end first", f"min_{name}")
        if self.kind == "moe" and self.grid == "authors":
            raise Mistake("the authors' rules are for dense models; take the fine grid for experts", "grid")
        return self

    @model_validator(mode="after")
    def _law_fits(self) -> Self:
        laws = offered(self.kind)
        if self.law_name not in laws:
            raise Mistake(f"no law named {show(self.law_name)} scores this; {nearest(self.law_name, laws)}", "law")
        if self.gamma != 1 and "gamma" not in laws[self.law_name].settings:
            raise Mistake(f"{self.law_name} has no precision loss; set it to 1", "gamma")
        if self.ranking == "balance" and not self.entry.higher_is_better:
            raise Mistake("balance divides a score of which more is better; by this law less is better", "ranking")
        return self

    def range(self, name: str) -> tuple[float, float]:
        """The ends of one of ``RANGES``."""
        return getattr(self, f"min_{name}"), getattr(self, f"max_{name}")

    @property
    def law_name(self) -> str:
        """The law that scores: the Performance Law for this kind of model unless another is asked for."""
        return PERFORMANCE_LAW[self.kind] if self.law is None else self.law

    @property
    def entry(self) -> LawEntry:
        """The law with its settings."""
        return offered(self.kind)[self.law_name].with_settings({} if self.gamma == 1 else {"gamma": self.gamma})

    @property
    def hardware(self) -> dict[str, float]:
        """The training budget in the words of a spec."""
        peak = self.peak_tflops * 1e12 if self.accelerator == OWN else ACCELERATORS[self.accelerator].peak_flops
        return {"accelerators": self.count, "peak_flops": peak, "mfu": self.mfu, "days": self.days}

    @property
    def budget(self) -> float:
        """Training FLOPs."""
        return training_budget(**self.hardware)

    def link(self) -> dict[str, str]:
        """The query parameters that restore these inputs: what differs from the defaults."""
        values = self.model_dump(exclude_defaults=True)
        return {name: repr(value) if isinstance(value, float) else str(value) for name, value in values.items()}


@lru_cache
def offered(kind: str) -> dict[str, LawEntry]:
    """The laws that score designs of a kind from their shape and tokens alone, the Performance Law first."""
    entries = {entry.name: entry for entry in all_laws() if not entry.domains and (entry.experts or kind == "dense")}
    first = PERFORMANCE_LAW[kind]
    return {first: entries[first], **entries}


def check(values: Mapping[str, Any]) -> Inputs:
    """The inputs that some values describe, the others at their defaults; else an `InputError`, by field."""
    for name in values:
        if name not in Inputs.model_fields:
            raise InputError({"": f"no input named {show(name)}; {nearest(name, Inputs.model_fields)}"})
    try:
        return Inputs.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(_messages(error)) from None


def _messages(error: ValidationError) -> dict[str, str]:
    messages = {}
    for problem in error.errors(include_url=False):
        mistake = problem.get("ctx", {}).get("error")
        field = ".".join(map(str, (*problem["loc"], *getattr(mistake, "key", ()))))
        words = str(mistake) if mistake else problem["msg"].replace("Input should be", "must be")
        messages.setdefault(field, words if mistake else f"{words}, not {show(problem['input'])}")
    return messages
