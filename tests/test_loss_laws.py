"""The laws of the loss and those that go by it, against the formulas as they read."""

import math

import jax
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from perflaw_jax.accounting import quantity
from perflaw_jax.design import Design
from perflaw_jax.laws import LAWS
from perflaw_jax.laws.loss import PF_DAY, Chinchilla

sizes = st.floats(1e7, 1e12)
tokens = st.floats(1e8, 1e14)
REPLICATION = (482.01, 2085.43, 1.8169, 0.3478, 0.3658)


def of(law, *inputs):
    with jax.enable_x64(True):
        return float(law.of(*inputs))


@given(sizes, tokens)
def test_losses(N, D):
    C = 6 * N * D
    assert of(LAWS["kaplan"].law, C) == pytest.approx(reference.kaplan_loss(C), rel=1e-12)
    assert of(LAWS["kaplan-joint"].law, N, D) == pytest.approx(reference.kaplan_joint_loss(N, D), rel=1e-12)
    printed = (406.4, 410.7, 1.69, 0.34, 0.28)
    assert of(LAWS["chinchilla"].law, N, D) == pytest.approx(reference.chinchilla_loss(N, D, *printed), rel=1e-12)
    assert of(LAWS["chinchilla-replication"].law, N, D) == pytest.approx(
        reference.chinchilla_loss(N, D, *REPLICATION), rel=1e-12
    )
    loss = reference.overtraining_loss(N, D, 1.508, 141.3, 189.5, 0.1212)
    assert of(LAWS["overtraining-c4"].law, N, D) == pytest.approx(loss, rel=1e-12)
    for tasks, numbers in {17: (0.8497, 2.079, 0.7561), 46: (0.7589, 1.2885, 0.9722)}.items():
        error = reference.top_one_error(loss, *numbers)
        assert of(LAWS[f"overtraining-c4-error{tasks}"].law, N, D) == pytest.approx(error, rel=1e-10)


@given(st.floats(1e17, 1e27))
def test_scores_by_way_of_the_loss(C):
    expected = reference.flp_score(C, 8.770541728092393e29, -0.04660618567965126, 85.22866772, -19.150894522)
    assert of(LAWS["flp"].law, C) == pytest.approx(expected, rel=1e-9)
    fp = LAWS["flops-to-performance"].law
    assert of(fp, C) == pytest.approx((C / fp.scale_flops) ** fp.exponent, rel=1e-9)


def test_kaplans_units():
    assert PF_DAY == 8.64e19
    assert of(LAWS["kaplan"].law, 3.1e8 * 8.64e19) == pytest.approx(1.0)  # at C_c the loss is one nat
    assert of(LAWS["kaplan"].law, 8.64e19) == pytest.approx(3.1e8**0.05)  # one PF-day


@pytest.mark.parametrize(
    ("numbers", "C", "N", "D", "L"),
    [
        ((406.4, 410.7, 1.69, 0.34, 0.28), 5.76e23, 3.219e10, 2.982e12, 1.9308),
        (REPLICATION, 5.76e23, 7.225e10, 1.329e12, 1.9741),
        (REPLICATION, 1e21, 2.778e9, 5.999e10, 2.3052),
        (REPLICATION, 1e24, 9.586e10, 1.739e12, 1.9594),
    ],
)
def test_the_best_size_for_a_budget(numbers, C, N, D, L):
    law = Chinchilla(*numbers)
    best = minimize_scalar(lambda x: of(law, math.exp(x), C / 6 / math.exp(x)), (math.log(N) - 1, math.log(N) + 1), tol=1e-8)
    assert math.exp(best.x) == pytest.approx(N, rel=2e-3)
    assert C / 6 / math.exp(best.x) == pytest.approx(D, rel=2e-3)
    assert best.fun == pytest.approx(L, abs=1e-4)


@given(st.floats(0.3, 1.2))
def test_compression(bits):
    law = LAWS["compression"].law.score
    with jax.enable_x64(True):
        assert float(law.of_bits(bits)) == pytest.approx(reference.compression_score(bits), rel=1e-12)
        loss = bits * math.log(2) * law.characters_per_token
        assert float(law.of_loss(loss)) == pytest.approx(reference.compression_score(bits), rel=1e-9)


def test_a_design_gives_each_law_what_it_asks_for():
    llama = Design(32.0, 4096.0, 14336.0, 32.0, 15e12, vocab_size=128256.0)
    total, embeddings = 8030_000_000, 2 * 128256 * 4096
    with jax.enable_x64(True):
        outside = float(quantity("non_embedding_params", llama))
        assert float(quantity("total_params", llama)) == pytest.approx(total, rel=2e-3)
        assert outside == float(quantity("total_params", llama)) - embeddings
        assert float(quantity("non_embedding_flops", llama)) == 6 * outside * 15e12
        assert float(LAWS["kaplan"].law.raw(llama)) == pytest.approx(reference.kaplan_loss(6 * outside * 15e12), rel=1e-12)


def test_experts_are_refused_by_laws_of_dense_models():
    for name in ("kaplan", "chinchilla", "flp", "compression", "overtraining-c4"):
        with pytest.raises(ValueError, match="dense models only"):
            LAWS[name].check(lambda: 0.0, experts=True)
