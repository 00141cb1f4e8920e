"""Mixture laws (FLP-M): the formulas against plain floats, both stages against public runs and a simulated truth, sweeps."""

import json
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import mixtures
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from benchmarks import shipped_laws
from perflaw_jax import catalogue
from perflaw_jax.accounting import quantity
from perflaw_jax.catalogue import all_laws, find_law
from perflaw_jax.exact_runner import run_exact
from perflaw_jax.fit_domains import FORMS, fit_domain_losses, resampled_domain_losses
from perflaw_jax.fit_mixture import MixtureOptions, fit_mixture
from perflaw_jax.fit_network import NetworkSettings, fit_network, resampled_networks
from perflaw_jax.fit_table import read_table
from perflaw_jax.fitted import save_fitted
from perflaw_jax.law_forms import as_record, from_record
from perflaw_jax.laws import Ensemble, Quantile, TwoStage
from perflaw_jax.laws.mixture import DomainLosses, MixingLosses, ProductLosses, ScoreNetwork, WeightedLoss
from perflaw_jax.mixture_table import MixtureTable, checked, mixture_table
from perflaw_jax.objective import make_design
from perflaw_jax.runner import run_sweep
from perflaw_jax.spec import parse_spec

NETS = ("weights_in", "weights_out", "skip", "shift", "bias")
QUICK = NetworkSettings(members=2, hidden=4, steps=60)
SHARES = st.tuples(*[st.integers(0, 20)] * 3).filter(any).map(lambda parts: np.array(parts) / sum(parts))


def law_of(form):
    """A law of two domains and three sources with coefficients of no particular kind."""
    common = {
        "log_scale": np.array([0.4, -0.2]),
        "exponent": np.array([0.1, 0.2]),
        "irreducible": np.array([1.5, 0.0]),
        "reference_flops": 1e20,
        "domains": mixtures.SOURCES,
        "losses": ("prose", "programs"),
    }
    matrix = np.array([[0.5, 0.2, 0.3], [0.1, 0.9, 0.0]])
    if form == "product":
        return ProductLosses(powers=matrix, offset=0.01, **common)
    if form == "mixing":
        return MixingLosses(slopes=matrix - 0.4, **common)
    return DomainLosses(weights=matrix, share_exponent=np.array([0.15, 0.3]), substitution=np.array([0.5, 0.02]), **common)


def oracle(form, law, flops, shares):
    """The losses in plain floats."""
    found = []
    for i in range(2):
        if form == "ces":
            rho = law.substitution[i]
            joined = math.fsum(s * max(r, 1e-12) ** rho for s, r in zip(law.weights[i], shares, strict=True))
            effect = joined ** (-law.share_exponent[i] / rho)
        elif form == "product":
            effect = math.prod((r + law.offset) ** -a for a, r in zip(law.powers[i], shares, strict=True))
        else:
            effect = math.exp(math.fsum(t * r for t, r in zip(law.slopes[i], shares, strict=True)))
        spent = (flops / law.reference_flops) ** -law.exponent[i]
        found.append(law.irreducible[i] + math.exp(law.log_scale[i]) * spent * effect)
    return found


NETWORK = ScoreNetwork(
    center=np.array([2.5, 2.0]),
    spread=np.array([0.5, 0.4]),
    weights_in=-np.linspace(0.1, 1.2, 12).reshape(2, 2, 3),
    shift=np.linspace(-1, 1, 6).reshape(2, 3),
    weights_out=np.linspace(0.1, 0.6, 6).reshape(2, 3),
    skip=-np.array([[0.3, 0.2], [0.1, 0.4]]),
    bias=np.array([0.1, -0.1]),
    chance=25.0,
    top=100.0,
    losses=("prose", "programs"),
)


def score_oracle(losses):
    """The network in plain floats."""
    n, found = NETWORK, []
    z = [(loss - c) / s for loss, c, s in zip(losses, n.center, n.spread, strict=True)]
    for m in range(2):
        hidden = [math.tanh(sum(z[i] * n.weights_in[i, m, h] for i in range(2)) + n.shift[m, h]) for h in range(3)]
        total = n.bias[m] + sum(z[i] * n.skip[i, m] for i in range(2)) + sum(np.array(hidden) * n.weights_out[m])
        found.append(25 + 75 / (1 + math.exp(-total)))
    return sum(found) / 2


AT = jax.jit(lambda law, flops, shares: law.at(flops, shares))
RAW = jax.jit(lambda law, design: law.raw(design))
ALL_RAW = jax.jit(jax.vmap(lambda law, design: law.raw(design), in_axes=(None, 0)))
LOSSES = jax.jit(jax.vmap(lambda law, *inputs: law.at(*inputs), in_axes=(None, 0, 0)))
SCORES = jax.jit(jax.vmap(lambda network, losses: network.of_loss(losses), in_axes=(None, 0)))


def design(shares, tokens=1e11, **fields):
    fields = {"num_hidden_layers": 8, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 8, **fields}
    mixture = {f"data_fraction.{name}": share for name, share in zip(mixtures.SOURCES, shares, strict=True)}
    return jax.tree.map(np.float64, make_design({**fields, "training_tokens": tokens, **mixture}))


# --- the formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@given(shares=SHARES, log_flops=st.floats(17, 26))
@settings(max_examples=30)
def test_losses_are_those_of_plain_floats(form, shares, log_flops):
    law, flops = law_of(form), 10**log_flops
    with jax.enable_x64(True):
        exact = np.asarray(AT(law, flops, shares))
    assert exact.tolist() == pytest.approx(oracle(form, law, flops, shares), rel=1e-11)
    rough = np.asarray(AT(law, np.float32(flops), np.float32(shares)))
    assert rough.dtype == np.float32 and rough.tolist() == pytest.approx(exact.tolist(), rel=2e-4)


@given(losses=st.tuples(st.floats(0.5, 8), st.floats(0.5, 8)))
@settings(max_examples=30)
def test_the_network_is_that_of_plain_floats(losses):
    with jax.enable_x64(True):
        assert float(NETWORK.of_loss(np.array(losses))) == pytest.approx(score_oracle(losses), rel=1e-12)
        worse = float(NETWORK.of_loss(np.array(losses) + np.array([0.1, 0.0])))
    assert worse <= score_oracle(losses) + 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_a_design_names_its_shares(form):
    law = TwoStage(law_of(form), NETWORK)
    assert law.domains == mixtures.SOURCES
    assert law.inputs == ("training_flops", *(f"data_fraction.{name}" for name in mixtures.SOURCES))
    shares = np.array([[0.2, 0.3, 0.5], [0.7, 0.3, 0.0]])
    with jax.enable_x64(True):
        one = [float(RAW(law, design(row))) for row in shares]
        many = ALL_RAW(law, jax.tree.map(lambda *leaves: np.stack(leaves), *map(design, shares)))
        flops = float(quantity("training_flops", design(shares[0])))
        expected = [score_oracle(oracle(form, law.loss, flops, row)) for row in shares]
    assert one == pytest.approx(expected, rel=1e-10) and np.asarray(many).tolist() == pytest.approx(one, rel=1e-12)


def test_a_law_of_one_source_needs_no_mixture():
    law = replace(law_of("ces"), domains=(), weights=np.ones((2, 1)))
    with jax.enable_x64(True):
        found = np.asarray(law.of(1e21))
    assert found.tolist() == pytest.approx([1.5 + math.exp(0.4) * 10**-0.1, math.exp(-0.2) * 10**-0.2])
    assert law.inputs == ("training_flops",)


@pytest.mark.parametrize("score", [NETWORK, WeightedLoss(weights=np.array([0.25, 0.75]), losses=("prose", "programs"))])
@pytest.mark.parametrize("form", FORMS)
def test_a_law_is_data_and_back(form, score):
    law = TwoStage(law_of(form), score)
    back = from_record(json.loads(json.dumps(as_record(law))))
    assert jax.tree.structure(back) == jax.tree.structure(law)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(law), strict=True))


def test_members_of_an_ensemble_and_its_quantile():
    law = TwoStage(law_of("ces"), NETWORK)
    members = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf, float) * k for k in (1.0, 1.01, 1.02)]), law)
    ensemble, at = Ensemble(law, members), design([0.2, 0.3, 0.5])
    with jax.enable_x64(True):
        alone = [float(one.clamp(RAW(one, at))) for one in (jax.tree.map(lambda leaf, k=k: leaf[k], members) for k in range(3))]
        assert np.asarray(jax.jit(lambda law, at: law.scores(at))(ensemble, at)).tolist() == pytest.approx(alone)
        assert float(RAW(Quantile(ensemble, 0.5), at)) == pytest.approx(sorted(alone)[1])


# --- the fits -------------------------------------------------------------------------------------------------------------


def simulated(seed, task=None):
    flops, shares, losses, scores, run = mixtures.runs(seed)
    return MixtureTable(
        flops, shares, losses, mixtures.SOURCES, scores=None if task is None else scores[:, task], run=run, target="score"
    )


def test_the_best_mixture_of_a_simulated_truth_is_found():
    true, apart, lost, observed = mixtures.truth(), [], [], []
    best = true.argmax()
    known = mixtures.scores(mixtures.losses(np.full(len(mixtures.MIXTURES), mixtures.BUDGET), mixtures.MIXTURES)).mean(axis=1)
    for seed in range(5):
        table = simulated(seed)
        ends, scores = table.take(table.ends()), mixtures.runs(seed)[3]
        law = fit_domain_losses(ends.flops, ends.shares, ends.losses, sources=mixtures.SOURCES).law
        networks = [fit_network(table.losses, scores[:, task], chance=mixtures.CHANCE[task], seed=seed) for task in range(3)]
        with jax.enable_x64(True):
            losses = np.asarray(LOSSES(law, np.full(len(mixtures.GRID), mixtures.BUDGET), mixtures.GRID))
            found = sum(np.asarray(SCORES(network, losses)) for network in networks).argmax()
        apart.append(np.abs(mixtures.GRID[found] - mixtures.GRID[best]).sum() / 2)
        lost.append(true[best] - true[found])
        last = scores[table.ends()].mean(axis=1)[-len(mixtures.MIXTURES) :]
        observed.append(true[best] - known[last.argmax()])
    assert np.mean(apart) <= 0.05 and np.mean(lost) < np.mean(observed)


@pytest.fixture(scope="module")
def fitted():
    """A law of the mean loss over the simulated truth, fitted without its noise mattering."""
    return fit_mixture(simulated(0), name="simulated")


def test_a_fit_says_what_it_rests_on(fitted):
    entry = fitted.entry()
    assert (entry.domains, entry.higher_is_better, fitted.data.runs) == (mixtures.SOURCES, False, 40)
    assert fitted.support.inputs == ("training_flops",) and "40 runs of 3e+18 to 1e+20 training FLOPs" in entry.valid
    measured = fitted.fit["held_out"]
    assert measured["runs"] == 10 and max(measured["relative_error_of_loss"].values()) < 0.02
    assert "held out 10 runs (those of 1e+20 FLOPs and more)" in entry.note


def test_one_budget_is_said_to_tell_ranks_alone():
    table = simulated(0, task=0)
    table = table.take(table.flops == 1e20)
    law = fit_mixture(table, MixtureOptions(chance=0.25, network=QUICK, held_out=False)).entry()
    assert law.note.startswith("one budget: the exponent of FLOPs is not identified")
    assert np.asarray(law.law.loss.exponent).tolist() == [0, 0, 0] and np.asarray(law.law.loss.irreducible).tolist() == [
        0,
        0,
        0,
    ]


def test_same_seed_same_networks_and_a_lower_loss_never_scores_less():
    _, _, losses, scores, _ = mixtures.runs(3)
    first, again, other = (fit_network(losses, scores[:, 0], chance=0.25, settings=QUICK, seed=s) for s in (7, 7, 8))
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), first, again)
    assert all(jax.tree.leaves(same)) and not np.array_equal(first.weights_in, other.weights_in)
    better = losses - np.abs(np.random.default_rng(0).normal(0, 0.2, losses.shape))
    with jax.enable_x64(True):
        assert (np.asarray(SCORES(first, better)) >= np.asarray(SCORES(first, losses))).all()
    free = fit_network(losses, scores[:, 0], chance=0.25, settings=QUICK._replace(monotone=False))
    assert (free.weights_in > 0).any()


@pytest.mark.parametrize("form", FORMS)
def test_a_resample_is_a_fit_to_its_runs(form):
    flops, shares, losses, *_ = mixtures.runs(0)
    ends = np.arange(5, 240, 6)
    data = flops[ends], shares[ends], losses[ends]
    found = fit_domain_losses(*data, form=form)
    weights = np.ones((3, 40), int)
    weights[1, ::4], weights[1, 1::8], weights[2, 4:] = 0, 2, 0
    laws, enough = resampled_domain_losses(found, *data, weights, form=form)
    assert enough.tolist() == [True, True, False]
    many = np.repeat(np.arange(40), weights[1])
    plain = fit_domain_losses(*(column[many] for column in data), form=form).law
    ask = np.full(64, 1e20), mixtures.GRID[::80][:64]
    with jax.enable_x64(True):
        at = jax.vmap(lambda law: jax.vmap(law.at)(*map(jnp.asarray, ask)), in_axes=0)(laws)
        one, other = (np.asarray(jax.vmap(law.at)(*map(jnp.asarray, ask))) for law in (found.law, plain))
    np.testing.assert_allclose(at[0], one, rtol=2e-3)
    np.testing.assert_allclose(at[1], other, rtol=1e-2)


def test_networks_of_resamples_differ_and_those_without_rows_are_told():
    _, _, losses, scores, run = mixtures.runs(0)
    drawn = np.stack([np.ones(240, int), np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40))[run], run < 0]).astype(
        int
    )
    plan = {"chance": 0.25, "settings": NetworkSettings(members=2, hidden=4, steps=300)}
    networks, enough = resampled_networks(losses, scores[:, 0], drawn, **plan)
    assert enough.tolist() == [True, True, False]
    alone = fit_network(losses, scores[:, 0], **plan)
    said = [
        np.array([float(network.of_loss(jnp.asarray(loss))) for loss in losses[::24]])
        for network in (alone, *(replace(alone, **{n: getattr(networks, n)[i] for n in NETS}) for i in (0, 1)))
    ]
    np.testing.assert_allclose(said[1], said[0], atol=0.03)
    np.testing.assert_allclose(said[2], said[0], atol=0.06)
    assert not np.array_equal(said[1], said[2])


def test_unknown_scores_are_left_out():
    _, _, losses, scores, _ = mixtures.runs(3)
    holes = scores[:, 0].copy()
    holes[::3] = np.nan
    kept = ~np.isnan(holes)
    law = fit_network(losses, holes, chance=0.25, settings=QUICK)
    assert np.allclose(law.center, losses[kept & (holes > 0.25 + 0.05)].mean(axis=0))


# --- sweeps ---------------------------------------------------------------------------------------------------------------


def test_a_sweep_over_shares_finds_the_optimum_and_so_does_an_exact_search(fitted, tmp_path):
    save_fitted(fitted, tmp_path / "mixture.json")
    share = {"start": 0, "stop": 1, "step": 0.02}
    spec = parse_spec(
        {
            "name": "mixture",
            "law": str(tmp_path / "mixture.json"),
            "axes": {"data_fraction.web": share, "data_fraction.code": share},
            "fixed": {"num_hidden_layers": 12, "hidden_size": 1024, "intermediate_size": 4096, "training_tokens": 1e12},
            "output": {"top": 5},
        }
    )
    swept = run_sweep(spec, tmp_path / "swept")
    run_exact(spec, tmp_path / "searched")
    tables = [pq.read_table(tmp_path / where / "top.parquet").to_pandas() for where in ("swept", "searched")]
    assert tables[0].equals(tables[1])
    grid = np.array([(a, b, 50 - a - b) for a in range(51) for b in range(51 - a)]) / 50
    assert swept.counts.feasible == len(grid)
    best = tables[0].iloc[0]
    mean = mixtures.losses(np.full(len(grid), best["training_flops"]), grid).mean(axis=1)
    found = best[[f"data_fraction.{name}" for name in mixtures.SOURCES]].to_numpy(float)
    assert np.abs(found - grid[mean.argmin()]).sum() / 2 <= 0.05


# --- public runs ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ladder(shared_data):
    return shipped_laws.ladder(shared_data)


def test_mixtures_ranked_at_1m_parameters_rank_alike_at_60m_and_1b(shared_data):
    table = shipped_laws.regmix(shared_data)
    law = fit_domain_losses(table.flops, table.shares, table.losses, sources=table.sources).law
    for size, least in (("60m", 0.98), ("1B", 0.95)):
        test = shipped_laws.regmix(shared_data, "test", size)
        with jax.enable_x64(True):
            predicted = np.asarray(LOSSES(law, test.flops, test.shares))
        ranks = [spearmanr(predicted[:, i], test.losses[:, i]).statistic for i in range(13)]
        assert np.mean(ranks) >= least
    shipped = find_law("pile-mixture").law.loss
    for name in ("log_scale", "weights", "share_exponent", "substitution"):
        np.testing.assert_allclose(getattr(law, name), getattr(shipped, name), rtol=0.02, atol=2e-3)


TASKS = {"arc_challenge": 0.25, "arc_easy": 0.25, "boolq": 0.5, "csqa": 0.2, "hellaswag": 0.25, "openbookqa": 0.25} | {
    "piqa": 0.5,
    "socialiqa": 1 / 3,
    "winogrande": 0.5,
    "mmlu": 0.25,
}


@pytest.fixture(scope="module")
def frame(shared_data):
    return pd.read_csv(shared_data / "olmo_ladder.csv")


def test_the_network_beats_a_line_in_the_mean_loss_on_a_larger_model(frame):
    losses = [name for name in frame if name.startswith("loss_")]
    sampling = frame[frame["role"] == "sampling"]
    small = sampling[sampling["non_embedding_params"] < 2e9]
    large = sampling[(sampling["non_embedding_params"] > 2e9) & sampling["is_final"]]
    by_network, by_line = [], []
    for task, chance in TASKS.items():
        x, y = small[losses].to_numpy(float), small[f"acc_{task}"].to_numpy(float)
        network = fit_network(x, y, chance=chance)
        with jax.enable_x64(True):
            predicted = np.asarray(SCORES(network, large[losses].to_numpy(float)))
        by_network.append(np.abs(predicted - large[f"acc_{task}"].to_numpy()).mean())
        warm = y > chance + 0.05
        line = np.polyfit(x[warm].mean(axis=1), y[warm], 1)
        guessed = np.polyval(line, large[losses].to_numpy(float).mean(axis=1))
        by_line.append(np.abs(guessed - large[f"acc_{task}"].to_numpy()).mean())
    assert np.mean(by_network) <= 0.014 and np.mean(by_line) >= 0.028


def test_both_stages_predict_the_7b_and_13b_targets(frame, ladder):
    targets = frame[frame["role"] == "target"]
    ends = ladder.take(ladder.ends())
    assert len(ends.flops) == 25
    law = fit_domain_losses(ends.flops, ends.shares, ends.losses, domains=ladder.domains, counted=ladder.counted).law
    shipped = find_law("flp-m").law
    for name in ("log_scale", "exponent", "irreducible"):
        np.testing.assert_allclose(getattr(law, name), getattr(shipped.loss, name), rtol=0.02, atol=2e-3)
    sampling, errors = frame[frame["role"] == "sampling"], []
    columns = [f"loss_{name}" for name in ladder.domains]
    for task, chance in TASKS.items():
        scores = sampling[f"acc_{task}"].to_numpy(float)
        network = fit_network(sampling[columns].to_numpy(float), scores, chance=chance)
        with jax.enable_x64(True):
            losses = jax.vmap(law.of)(targets["training_flops"].to_numpy(float))
            predicted = np.asarray(SCORES(network, losses))
        errors.append(np.abs(predicted / targets[f"acc_{task}"].to_numpy(float) - 1))
        if task == "mmlu":
            with jax.enable_x64(True):
                quoted = np.asarray(SCORES(shipped.score, losses))
            assert quoted == pytest.approx(100 * predicted, abs=0.5)
    assert np.mean(errors) <= 0.06


# --- what comes with the package ------------------------------------------------------------------------------------------


def test_shipped_laws_are_found_by_their_names():
    assert [entry.name for entry in all_laws()][-2:] == [*catalogue.shipped()] == ["flp-m", "pile-mixture"]
    assert len(find_law("pile-mixture").domains) == 17 and find_law("flp-m").domains == ()
    with pytest.raises(ValueError, match="did you mean 'flp-m'"):
        find_law("flp-mm")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chinchilla + flp-m", "law: flp-m takes the losses c4_en, "),
        ("flp-m + compression", "law: compression takes the losses loss; flp-m predicts c4_en, "),
    ],
)
def test_losses_of_other_domains_do_not_compose(name, message):
    with pytest.raises(ValueError) as caught:
        find_law(name)
    assert str(caught.value).startswith(message)


def test_a_list_of_coefficients_is_no_setting():
    with pytest.raises(ValueError, match="law_settings.loss.exponent: is 11 numbers in flp-m, not one to set"):
        find_law("flp-m").with_settings({"loss.exponent": 0.1})
    changed = find_law("flp-m").with_settings({"score.chance": 20.0}).law
    assert float(jnp.asarray(changed.score.chance)) == 20


# --- tables ---------------------------------------------------------------------------------------------------------------

ROWS = {
    "run": ["a", "a", "b", "c"],
    "training_flops": [1e18, 2e18, 2e18, 3e18],
    "data_fraction.web": [0.5, 0.5, 1.0, 0.0],
    "data_fraction.code": [0.5, 0.5, 0.0, 1.0],
    "loss_prose": [4.0, 3.5, 3.4, 3.6],
    "loss_programs": [3.0, 2.5, 2.9, 2.0],
    "acc": [0.3, 0.4, None, 0.5],
}


def written(tmp_path, **changes):
    frame = pd.DataFrame({**ROWS, **changes})
    path = tmp_path / "runs.csv"
    frame[[name for name in frame if not frame[name].isna().all()]].to_csv(path, index=False)
    return read_table(path)


def test_a_table_of_shares(tmp_path):
    table = mixture_table(written(tmp_path), target="acc")
    assert (table.sources, table.domains, table.target) == (("web", "code"), ("prose", "programs"), "acc")
    assert table.ends().tolist() == [1, 2, 3] and np.isnan(table.scores[2])
    assert table.losses[:, 1].tolist() == ROWS["loss_programs"] and len(table.sha256) == 64


def test_a_table_of_flops_per_source(tmp_path):
    changes = {"data_fraction.web": None, "data_fraction.code": None, "training_flops": None}
    table = mixture_table(
        written(tmp_path, **changes, **{"flops.web": [1e18, 2e18, 4e18, 0], "flops.code": [1e18, 2e18, 0, 3e18]})
    )
    assert table.flops.tolist() == [2e18, 4e18, 4e18, 3e18]
    assert table.shares.tolist() == [[0.5, 0.5], [0.5, 0.5], [1, 0], [0, 1]] and table.scores is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_fraction.web": [0.5, 0.9, 1.0, 0.0]}, "shares of the sources: must sum to 1 (line 3)"),
        ({"data_fraction.web": [0.5, -0.5, 1.0, 0.0]}, "data_fraction.web: must be between 0 and 1 (line 3)"),
        ({"training_flops": [1e18, -2e18, 2e18, 3e18]}, "training_flops: must be > 0, not -2e+18 (line 3)"),
        ({"training_flops": None}, "missing column training_flops or flops; has: run, data_fraction.web,"),
        ({"loss_prose": [4.0, 0.0, 3.4, 3.6]}, "loss_prose: must be > 0, not 0.0 (line 3)"),
        ({"loss_prose": [4.0, "bad", 3.4, 3.6]}, "loss_prose: must be a finite number, not bad (line 3)"),
        ({"loss_prose": [4.0, None, 3.4, 3.6]}, "loss prose: must be > 0 (line 3)"),
        ({"loss_prose": None, "loss_programs": None}, "no column of a loss: they are named loss_<domain>"),
        ({"acc": None}, "no column 'acc'; allowed: run, "),
        ({"flops.web": [1, 1, 1, 1]}, "has both flops.web and data_fraction.web: give FLOPs per source, or shares and FLOPs"),
        (
            {name: [*column[:3], column[2]] for name, column in ROWS.items() if name != "run"},
            "duplicate runs: FLOPs, shares and losses are those of an earlier line (line 5)",
        ),
    ],
)
def test_what_is_wrong_with_a_table(tmp_path, changes, message):
    with pytest.raises(ValueError) as caught:
        mixture_table(written(tmp_path, **changes), target="acc")
    assert str(caught.value).startswith(f"runs.csv: {message}") and "\n" not in str(caught.value)


def changed(**columns):
    table = simulated(0, task=0)
    return table._replace(**columns)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fit_mixture(simulated(0).take(np.arange(24))), "too few runs: 4 for the 6 coefficients of each loss"),
        (lambda: fit_mixture(simulated(0), MixtureOptions(form="cse")), "form: no form named 'cse'; did you mean 'ces'?"),
        (
            lambda: fit_mixture(changed(scores=np.full(240, 0.26)), MixtureOptions(chance=0.25)),
            "score: all 240 checkpoints are at or below 0.3, chance and 5 points",
        ),
        (
            lambda: fit_mixture(changed(), MixtureOptions(chance=1.5)),
            "chance: must be below the most there is, 1, not 1.5",
        ),
        (
            lambda: fit_network(np.ones((3, 2)), np.array([0.1, 0.5, 0.6])),
            "too few runs: 3 checkpoints have a score above 0.05; needed: 4",
        ),
        (
            lambda: fit_network(np.ones((9, 2)), np.linspace(0.1, 0.9, 9), domains=("prose", "programs")),
            "loss prose: is the same in all 9 rows that can be fitted",
        ),
        (
            lambda: fit_domain_losses(np.geomspace(1e18, 1e20, 12), np.full((12, 2), 0.5), np.linspace(3, 2, 12)[:, None]),
            "all runs have the same mixture: leave the shares out, or add runs with others",
        ),
        (
            lambda: checked(simulated(0)._replace(flops=-np.ones(240))),
            "training_flops: must be > 0 (row 0, 1, 2, 3, 4 and 235 more)",
        ),
    ],
)
def test_what_cannot_be_fitted(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
