"""Which tiles a shard has: sets of ranges against plain sets, and what schedulers say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perflaw_jax.portion import Portion, parse_portion, portion_of
from perflaw_jax.ranges import Ranges

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (min(pair), max(pair))), max_size=12)


@given(PAIRS, st.integers(0, 40), st.integers(0, 40))
def test_ranges_are_sets(pairs, start, stop):
    ranges, plain = Ranges(pairs), {n for a, b in pairs for n in range(a, b)}
    assert {n for n in range(45) if n in ranges} == plain and len(ranges) == len(plain)
    listed = list(ranges)
    assert all(a < b for a, b in listed) and all(b < c for (_, b), (c, _) in zip(listed, listed[1:], strict=False))
    missing = [*ranges.missing(range(start, stop))]
    assert [n for part in missing for n in part] == [n for n in range(start, stop) if n not in plain]
    assert all(map(len, missing))


@given(st.integers(0, 500), st.integers(1, 60))
def test_shards_share_out_all_units_in_order(units, count):
    parts = [Portion(i, count).of(units) for i in range(count)]
    assert [n for part in parts for n in part] == list(range(units))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    names = [Portion(i, count).name for i in range(count)]
    assert names == sorted(names) and len({*names}) == count


@pytest.mark.parametrize("text", ["", "1", "1/", "/3", "-1/3", "4/3", "0/0", "1/2/3", "a/b", "1.0/3", "0/10000001"])
def test_nonsense_is_no_shard(text):
    with pytest.raises(ValueError, match="--shard: write i/n with i from 0 to n - 1"):
        parse_portion(text)


def test_counting_from_one_covers_all_too():
    assert {parse_portion(f"{i}/4") for i in range(1, 5)} == {parse_portion(f"{i}/4") for i in range(4)}


ARRAY = {"SLURM_ARRAY_TASK_ID": "14", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "2"}


@pytest.mark.parametrize(
    ("environment", "portion"),
    [
        ({}, None),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, Portion(3, 8)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MIN": "0"}, None),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "9"}, Portion(1, 2)),
        (ARRAY, Portion(2, 4)),
        (ARRAY | {"SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, Portion(7, 12)),
        (ARRAY | {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, Portion(5, 8)),
    ],
)
def test_what_schedulers_say(environment, portion):
    found = portion_of(environment)
    assert (found and found[0]) == portion


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_PROCID": "8", "SLURM_NTASKS": "8"},
        {"SLURM_PROCID": "x", "SLURM_NTASKS": "8"},
        {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "4"},
        ARRAY | {"SLURM_ARRAY_TASK_ID": "13"},
        ARRAY | {"SLURM_ARRAY_TASK_STEP": "0"},
        ARRAY | {"SLURM_ARRAY_TASK_MAX": "99"},
        # --array=3,7 and --array=7: failed tasks of a larger array, submitted again
        dict(zip(ARRAY, ("7", "2", "3", "1"), strict=True)) | {"SLURM_ARRAY_TASK_MAX": "7"},
        dict(zip(ARRAY, ("7", "1", "7", "1"), strict=True)) | {"SLURM_ARRAY_TASK_MAX": "7"},
    ],
)
def test_what_makes_no_division_is_not_taken_for_the_whole_grid(environment):
    with pytest.raises(ValueError, match="--shard i/n"):
        portion_of(environment)
