"""Makes the fitted laws that the package ships, from the published runs in ``../shared/data``.

python -m benchmarks.shipped_laws [DATA [FOLDER]]    # default ../shared/data perflaw_jax/data/laws
"""

import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from perflaw_jax.fit_mixture import MixtureOptions, fit_mixture
from perflaw_jax.fit_table import read_table
from perflaw_jax.fitted import FittedLaw, save_fitted
from perflaw_jax.mixture_table import MixtureTable, mixture_table

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
LADDER = (
    "fitted by this project on figures of allenai/OLMo-ladder and allenai/OLMo, Apache-2.0 (Bhagia et al., arXiv 2412.04403); "
    "the two stages are those of Chen et al., arXiv 2410.08527, form and training this project's own"
)
REGMIX = "fitted by this project on figures of sail-sg/regmix, MIT (Liu et al., arXiv 2407.01492)"
PILE = "train_the_pile_"


def ladder(data: Path, target: str = "acc_mmlu") -> MixtureTable:
    """The sampling runs of the OLMo ladder with all their checkpoints; scores in points."""
    table = mixture_table(read_table(data / "olmo_ladder.csv").where(["role=sampling"]), target=target)
    return table if table.scores is None else table._replace(scores=100 * table.scores)


def regmix(data: Path, runs: str = "train", size: str = "1m") -> MixtureTable:
    """Mixtures over 17 sources of the Pile at one budget, and the losses in 13 of its domains."""
    paths = data / f"regmix_{runs}_mixture_{size}.csv", data / f"regmix_{runs}_pile_loss_{size}.csv"
    shares, losses = (pd.read_csv(path, index_col=0) for path in paths)
    return MixtureTable(
        flops=np.ones(len(shares)),  # one budget, which is not published with the runs
        shares=shares.to_numpy(float) / shares.to_numpy(float).sum(axis=1, keepdims=True),
        losses=losses.to_numpy(float),
        sources=tuple(name.removeprefix(PILE) for name in shares),
        domains=tuple(name.removeprefix("metric/the_pile_").removesuffix("_val_loss") for name in losses),
        file=" + ".join(path.name for path in paths),
        sha256=sha256(b"".join(path.read_bytes() for path in paths)).hexdigest(),
    )


def flp_m(data: Path = DATA) -> FittedLaw:
    """``flp-m``: MMLU by way of eleven losses."""
    options = MixtureOptions(chance=25.0, top=100.0)
    law = fit_mixture(ladder(data), options, name="flp-m", metric="MMLU", source=LADDER)
    return law.model_copy(
        update={"note": f"5-shot, ranked classification; one training mixture, so no shares to choose; {law.note}"}
    )


def pile_mixture(data: Path = DATA) -> FittedLaw:
    """``pile-mixture``: the mean of 13 losses on the Pile from the shares of its 17 sources."""
    law = fit_mixture(regmix(data), name="pile-mixture", metric="mean loss over 13 domains of the Pile", source=REGMIX)
    note = (
        "only ranks of mixtures mean anything: fitted at one budget, on models of 1M parameters (rank correlation of the mean "
        "loss 0.96 at 60M, 0.76 at 1B); neither FLOPs nor shape matter"
    )
    valid = law.valid.replace("1 training FLOPs", "one budget")
    return law.model_copy(update={"note": note, "valid": valid})


LAWS = {"flp-m": flp_m, "pile-mixture": pile_mixture}


if __name__ == "__main__":
    data, folder = (
        Path(given) for given in (*sys.argv[1:], *(DATA, ROOT / "perflaw_jax" / "data" / "laws")[len(sys.argv) - 1 :])
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in LAWS.items():
        law = make(data)
        save_fitted(law, folder / f"{name}.json")
        print(f"{name}: {law.note}")
