"""The notebook runs from its first cell to its last, in a kernel of its own, and shows what it says."""

import os

import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "sweeps" / "first-steps.ipynb"


@pytest.fixture(scope="module")
def executed():
    nbclient = pytest.importorskip("nbclient", reason="no nbclient: it comes with the extra [dev]")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    return client.execute(env=os.environ | {"PYTHONPATH": str(ROOT)})


def outputs(cell):
    return [output.get("data", {}).get("text/html") or output.get("text") or str(output.get("data")) for output in cell.outputs]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter_client
def test_every_cell_shows_something(executed):
    shown = {cell.source.splitlines()[0]: " ".join(outputs(cell)) for cell in executed.cells if cell.cell_type == "code"}
    assert all(shown[first] for first in shown if not first.startswith("import"))
    assert "plotly" in shown["results.plot_frontier()"].lower()
    assert "points by term" in shown["for sentence in results.explain(rank=1).sentences:"]
    assert '"num_attention_heads"' in shown['print(results.config(rank=1, format="hf"))']
    assert "'gap': 0.0" in shown['found = pl.search("dense-1e24.toml", settings=["axes.training_tokens.num=64"])']
