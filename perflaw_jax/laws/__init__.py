"""The registry of laws: name -> formula, metric, source and the range it holds for.

A law is a pytree whose leaves are its coefficients, with ``raw(design) -> score before its clamp`` and a non-decreasing
``clamp(raw) -> score``, for one design of scalars. It knows nothing of grids, budgets or files. A law that can be refitted
also has ``inputs``, the quantities of a design that it depends on, and ``of(*inputs) -> raw``; a map from a loss to a score
has ``of_loss(loss) -> raw`` in place of both.
"""

from collections.abc import Iterable
from typing import Any

from perflaw_jax.laws.adapters import FunctionLaw as FunctionLaw
from perflaw_jax.laws.adapters import Negated as Negated
from perflaw_jax.laws.adapters import OpaqueLaw as OpaqueLaw
from perflaw_jax.laws.ensemble import Ensemble as Ensemble
from perflaw_jax.laws.ensemble import Quantile as Quantile
from perflaw_jax.laws.entry import Law as Law
from perflaw_jax.laws.entry import LawEntry as LawEntry
from perflaw_jax.laws.entry import Support as Support
from perflaw_jax.laws.loss import Chinchilla, ComputeLoss, KaplanJoint, Overtraining
from perflaw_jax.laws.mmlu import ComputeSigmoid as ComputeSigmoid
from perflaw_jax.laws.mmlu import MmluCalibrated as MmluCalibrated
from perflaw_jax.laws.performance import PerformanceDense as PerformanceDense
from perflaw_jax.laws.performance import PerformanceMoE as PerformanceMoE
from perflaw_jax.laws.scores import CompressionScore, LinearScore, LogisticScore, TopOneError
from perflaw_jax.laws.two_stage import FlopsToPerformance
from perflaw_jax.laws.two_stage import TwoStage as TwoStage

_PAPER = "Wu & Tang, Performance Law of Large Language Models, arXiv 2408.09895"
_HOFFMANN = "Hoffmann et al., Training Compute-Optimal Large Language Models, arXiv 2203.15556"
_GADRE = "Gadre et al., arXiv 2403.08540; constants refitted with its protocol on mlfoundations/scaling"
_NATS = {"metric": "loss", "unit": "nats/token", "higher_is_better": False, "experts": False}
_CHINCHILLA_RUNS = Support.of_ranges({"total_params": (4.4e7, 1.6e10), "training_tokens": (2e8, 1.4e12)})
_KAPLAN_RUNS = Support.of_ranges({"non_embedding_params": (7.7e2, 1.5e9), "training_tokens": (2.2e7, 2.3e10)})
_GADRE_RUNS = Support.of_ranges({"total_params": (1.06e7, 1.44e9), "training_tokens": (2e8, 2.9e10)})


def _performance() -> Iterable[LawEntry]:
    known = Support.of_ranges({"total_params": (5e8, 1e12)})
    yield LawEntry(
        name="performance-dense",
        law=PerformanceDense(),
        metric="MMLU",
        unit="points",
        source=f"{_PAPER}; constants from the authors' planner (plan.py, commit 3ffa946)",
        valid="dense models of 2024, 0.5B to 1000B parameters; overrates models before 2024 by 10 to 20 points",
        experts=False,
        least={"gamma": 1.0},
        support=known,
    )
    yield LawEntry(
        name="performance-moe",
        law=PerformanceMoE(),
        metric="MMLU",
        unit="points",
        source="reconstruction by this project from third-party accounts of arXiv 2408.09895",
        valid="MoE models trained on more than 2.5 trillion tokens (mean absolute error 7.2 on the 11 in data/models.csv)",
        experts=True,
        note="reconstruction: the paper's MoE form and constants were not available",
        least={"gamma": 1.0},
        support=known,
    )


def _losses() -> Iterable[LawEntry]:
    yield LawEntry(
        name="kaplan",
        law=ComputeLoss(),
        source="Kaplan et al., Scaling Laws for Neural Language Models, arXiv 2001.08361: L(C_min), 3.1e8 PF-days",
        valid="768 to 1.5e9 parameters without embeddings, at most 23B tokens; compute spent in the best way",
        support=_KAPLAN_RUNS,
        **_NATS,
    )
    yield LawEntry(
        name="kaplan-joint",
        law=KaplanJoint(),
        source="Kaplan et al., arXiv 2001.08361: L(N, D)",
        valid="768 to 1.5e9 parameters without embeddings, at most 23B tokens",
        note="constants from memory, not checked against the paper",
        support=_KAPLAN_RUNS,
        **_NATS,
    )
    yield LawEntry(
        name="chinchilla",
        law=Chinchilla(406.4, 410.7, 1.69, 0.34, 0.28),
        source=f"{_HOFFMANN}, approach 3, constants as printed",
        valid="dense models of 44M to 16B parameters; rounded constants: do not take an optimum from them",
        support=_CHINCHILLA_RUNS,
        **_NATS,
    )
    yield LawEntry(
        name="chinchilla-replication",
        law=Chinchilla(),
        source=f"Besiroglu et al., Chinchilla Scaling: A replication attempt, arXiv 2404.10102, refitting {_HOFFMANN}",
        valid="dense models of 44M to 16B parameters",
        support=_CHINCHILLA_RUNS,
        **_NATS,
    )


GADRE = {  # training set -> the loss law, then the maps to the mean top-1 error over 17 and over 46 tasks
    "c4": (Overtraining(), TopOneError(), TopOneError(0.7589, 1.2885, 0.9722)),
    "redpajama": (
        Overtraining(1.837, 212.2, 366.7, 0.1364),
        TopOneError(0.8570, 2.2065, 0.7146),
        TopOneError(0.7608, 1.3229, 0.8907),
    ),
    "refinedweb": (
        Overtraining(1.735, 157.1, 246.2, 0.1272),
        TopOneError(0.8653, 2.2148, 0.7070),
        TopOneError(0.7677, 1.1281, 0.8215),
    ),
}


def _overtraining() -> Iterable[LawEntry]:
    for data, (loss, *errors) in GADRE.items():
        valid = f"0.011B to 1.4B parameters trained on {data}, 5 to 640 tokens per parameter; loss on the C4 evaluation set"
        yield LawEntry(f"overtraining-{data}", loss, source=_GADRE, valid=valid, support=_GADRE_RUNS, **_NATS)
        for tasks, error in zip((17, 46), errors, strict=True):
            yield LawEntry(
                name=f"overtraining-{data}-error{tasks}",
                law=TwoStage(loss, error),
                metric=f"top-1 error, mean of {tasks} tasks",
                unit="fraction",
                source=_GADRE,
                valid=valid,
                experts=False,
                higher_is_better=False,
                support=_GADRE_RUNS,
            )


def _flops_to_loss_to_performance() -> Iterable[LawEntry]:
    ladder: dict[str, Any] = {
        "metric": "MMLU, ranked classification",
        "unit": "points",
        "valid": "25 dense runs of the OLMo ladder, 190M to 3.2B parameters without embeddings, 2.2e18 to 1.2e22 FLOPs",
        "experts": False,
        "support": Support.of_ranges({"non_embedding_flops": (2.18e18, 1.21e22)}),
    }
    paper, data = "Chen et al., arXiv 2410.08527", "constants fitted on allenai/OLMo-ladder (Apache-2.0)"
    yield LawEntry(
        name="flp",
        law=TwoStage(
            ComputeLoss(8.770541728092393e29, 0.04660618567965126), LinearScore(85.22866772, -19.150894522, 25.0, 100.0)
        ),
        source=f"FLP, {paper}: power law, then linear; {data}",
        note="scores of the rc form, which are lower than those of the usual form; its two stages err in opposite directions",
        **ladder,
    )
    yield LawEntry(
        name="flp-logistic",
        law=TwoStage(
            ComputeLoss(1.004477579648944e22, 0.09055748060168031, 1.3747262773986402),
            LogisticScore(1.8510910162688143, 2.488444978586192, 100.0, 25.0),
        ),
        source=f"this project's variant of FLP, {paper}: irreducible loss, then logistic near the least loss; {data}",
        note="scores of the rc form, which are lower than those of the usual form",
        **ladder,
    )
    yield LawEntry(
        name="flops-to-performance",
        law=FlopsToPerformance(1.1153723934268099e-08, 0.0532067484354152, 100.0),
        source=f"the baseline FP of {paper}, its form from memory; {data}",
        note="scores of the rc form, which are lower than those of the usual form; a baseline, not a law to choose by",
        **ladder,
    )


def _compression() -> Iterable[LawEntry]:
    yield LawEntry(
        name="compression",
        law=TwoStage(Chinchilla(), CompressionScore()),
        metric="MMLU",
        unit="points",
        source="Huang et al., arXiv 2404.09937, slope joined from public tables; loss by chinchilla-replication",
        valid="28 base models of 2023 and 2024, 0.5 to 0.7 bits per character on Common Crawl (RMSE 10 points)",
        experts=False,
        note="the loss of another data set at 4.3 characters per token: a composition of this project, not a published law",
        support=_CHINCHILLA_RUNS,
    )


def _calibrated() -> Iterable[LawEntry]:
    ours = {"metric": "MMLU", "unit": "points", "experts": True}
    source = "this project's calibration on the 200 base models of data/models.csv that report MMLU and training tokens"
    seen = {"active_params": (7e7, 5.4e11), "total_params": (7e7, 6.9e11)}
    yield LawEntry(
        name="mmlu-calibrated",
        law=MmluCalibrated(),
        source=source,
        valid="base models of 2020 to 2024, 0.07B to 540B active parameters, 0.002 to 18 trillion tokens (mean absolute error "
        "4.5 on organisations not fitted on, see perflaw validate); release_year stands for the average recipe of its time",
        note="hidden size / layers is a correlation, flat outside 40 to 200; weak evidence with experts",
        least={"release_year": 2000.0},
        support=Support.of_ranges({**seen, "aspect_ratio": (19.2, 384.0), "training_tokens": (2.2e9, 1.8e13)}),
        **ours,
    )
    yield LawEntry(
        name="compute-sigmoid",
        law=ComputeSigmoid(),
        source=source,
        valid="base models of 2020 to 2024",
        note="a baseline: knows nothing of the shape but the FLOPs",
        support=Support.of_ranges({"training_flops": (1.4e18, 3.8e25)}),
        **ours,
    )


LAWS: dict[str, LawEntry] = {
    entry.name: entry
    for laws in (_performance, _calibrated, _losses, _overtraining, _flops_to_loss_to_performance, _compression)
    for entry in laws()
}
