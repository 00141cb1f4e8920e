"""What an import may load: commands start fast, and files can be read without jax."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("jax", "pyarrow", "pandas", "pydantic", "optuna")


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("perflaw_jax", HEAVY),
        ("perflaw_jax.cli", HEAVY),
        ("perflaw_jax.spec", ("jax",)),
        ("perflaw_jax.store", ("jax",)),
        ("perflaw_jax.configs.ranked", ("jax", "pyarrow")),
    ],
)
def test_import_loads_none_of(module, forbidden):
    code = f"import {module}, sys; print(*sorted(set({forbidden!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
