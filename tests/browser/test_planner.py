"""The planner in a browser: the real command, its page used as a new user would."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from test_laws import PRINTED

pytest.importorskip("streamlit", reason="no Streamlit: pip install 'perflaw_jax[planner]'")
ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-c", "from perflaw_jax.cli import main; main()", "planner", "--no-browser", "--port"]
WAIT = 60_000  # milliseconds: programs may be compiled first


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(port: int) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [*COMMAND, str(port)], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture(scope="module")
def address():
    """Where a running planner is."""
    port = free_port()
    process = started(port)
    assert process.stdout is not None
    assert process.stdout.readline() == f"planner at http://127.0.0.1:{port} (Ctrl-C ends it)\n"
    yield f"http://127.0.0.1:{port}/"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in errors


def opened(page, address: str, query: str = ""):
    """The page, its answer shown."""
    for _ in range(100):  # the address is printed before the server answers
        try:
            page.goto(address + query)
            break
        except Exception as error:
            if "ERR_CONNECTION_REFUSED" not in str(error) and "chrome-error" not in str(error):  # on its way to say so
                raise
            page.wait_for_timeout(100)
    page.errors.clear()
    settled(page)
    return page


def settled(page) -> None:
    """Wait until the last element of the page stands and nothing runs."""
    page.get_by_text("Link to these inputs").wait_for(timeout=WAIT)
    page.wait_for_function(
        "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
        " && !document.querySelector('[data-testid=stSpinner]')",
        timeout=WAIT,
    )


def metric(page, name: str) -> str:
    return page.get_by_test_id("stMetric").filter(has_text=name).get_by_test_id("stMetricValue").inner_text().strip()


def downloaded(page, name: str) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    return Path(waiting.value.path()).read_bytes()


def typed(page, label: str, value: str) -> None:
    """Type into an input and leave it, by keyboard alone."""
    field = page.get_by_label(label, exact=True)
    field.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type(value)
    page.keyboard.press("Tab")


def chosen(page, label: str, option: str) -> None:
    """Choose from a list by keyboard alone: what is typed filters it."""
    page.get_by_role("combobox", name=label, exact=True).focus()
    page.keyboard.press("Control+a")
    page.keyboard.type(option)
    page.get_by_role("option", name=option).wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")


def test_the_defaults_and_the_authors_ten_rows(page, address):
    opened(page, address)
    assert (metric(page, "MMLU"), metric(page, "Parameters"), metric(page, "Training tokens")) == ("71.97", "14.8B", "4.5T")
    chosen(page, "Ranking", "balance")
    page.get_by_test_id("stMetricValue").filter(has_text="71.69").wait_for(timeout=WAIT)
    settled(page)
    table = pd.read_csv(io.BytesIO(downloaded(page, "Table as CSV")))
    names = ["num_hidden_layers", "hidden_size", "intermediate_size", "total_params", "training_tokens", "score", "budget_used"]
    rows = [
        (n, h, d, round(s / 1e9, 2), t / 1e12, round(score, 2), round(used, 4))
        for n, h, d, s, t, score, used in table[names].head(10).itertuples(index=False)
    ]
    assert rows == PRINTED
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(downloaded(page, "Table as Parquet"))), table)
    assert tomllib.loads(downloaded(page, "Sweep spec").decode())["law"] == "performance-dense"
    config = json.loads(downloaded(page, "Config of rank 1"))
    assert (config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]) == PRINTED[0][:3]
    assert not page.errors


def test_a_row_of_the_table_is_chosen_by_mouse(page, address):
    opened(page, address)
    sentences = page.get_by_test_id("stMarkdown").filter(has_text="points by term").first.inner_text()
    row = 35  # pixels: the table is a canvas, its header as high as a row
    page.get_by_test_id("stDataFrame").click(position={"x": row // 2, "y": 5 * row + row // 2})
    page.get_by_role("button", name="Config of rank 5").wait_for(timeout=WAIT)
    settled(page)
    assert page.get_by_label("Rank", exact=True).input_value() == "5"
    assert page.get_by_test_id("stMarkdown").filter(has_text="points by term").first.inner_text() != sentences
    assert json.loads(downloaded(page, "Config of rank 5"))["hidden_size"] == 6144
    assert not page.errors


def test_an_input_changes_the_answer_and_the_link(page, address):
    opened(page, address)
    before = metric(page, "MMLU")
    typed(page, "Days", "60")
    page.get_by_text("for 60 days").wait_for(timeout=WAIT)
    settled(page)
    after = metric(page, "MMLU")
    assert float(after) > float(before) and page.url.endswith("?days=60.0")
    page.reload()
    settled(page)
    assert metric(page, "MMLU") == after and page.get_by_label("Days", exact=True).input_value() == "60"
    typed(page, "Rank", "3")
    page.get_by_role("button", name="Config of rank 3").wait_for(timeout=WAIT)
    page.get_by_role("button", name="Back to the authors' defaults").click()
    page.get_by_text("for 30 days").wait_for(timeout=WAIT)
    settled(page)
    assert metric(page, "MMLU") == before and "?" not in page.url.rstrip("?")


def test_a_mistake_is_told_at_its_input_and_no_old_answer_stays(page, address):
    opened(page, address)
    typed(page, "MFU", "1.4")
    page.get_by_text("Must be less than or equal to 1, not 1.4.").wait_for(timeout=WAIT)
    page.get_by_text("Nothing is shown until the inputs make sense").wait_for(timeout=WAIT)
    page.get_by_test_id("stMetric").first.wait_for(state="detached", timeout=WAIT)
    assert page.get_by_test_id("stDataFrame").count() == 0
    typed(page, "MFU", "0.5")
    settled(page)
    assert page.get_by_test_id("stDataFrame").count() == 1


def test_a_link_restores_every_input(page, address):
    query = "?kind=moe&grid=fine&accelerator=NVIDIA+H100+SXM&count=512&min_experts=16&max_experts=64&leading=1&shared=1"
    opened(page, address, query)
    page.get_by_text("reconstruction").first.wait_for()
    for label, value in (("Accelerators", "512"), ("Experts, from", "16"), ("Experts, to", "64"), ("Shared experts", "1")):
        assert page.get_by_label(label, exact=True).input_value() == value
    assert page.get_by_text("989.5 TFLOP/s at").count() == 1
    config = json.loads(downloaded(page, "Config of rank 1"))
    assert config["first_k_dense_replace"] == 1


@pytest.mark.parametrize("query", ["?mfu=lots", "?layers=3", "?min_layers=90&max_layers=30"])
def test_nonsense_in_a_link_is_a_message(page, address, query):
    page.goto(address + query)
    page.get_by_text("This link cannot be used").wait_for(timeout=WAIT)
    assert page.get_by_text("Traceback").count() == 0
    page.get_by_role("button", name="Start from the defaults").click()
    settled(page)
    assert metric(page, "MMLU") == "71.97"


def test_nothing_feasible_names_the_limit(page, address):
    opened(page, address, "?days=0.01")
    assert page.get_by_text("Some would without the training budget").count() == 1


def test_a_narrow_window_does_not_scroll_sideways(page, address):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, address, "?kind=moe&grid=fine")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    inside = "[...document.querySelectorAll('[data-testid=stMetricValue], .js-plotly-plot, [data-testid=stDataFrame]')]"
    assert page.evaluate(f"{inside}.every(e => e.getBoundingClientRect().right <= innerWidth + 1)")


def test_a_taken_port_is_one_line():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        process = started(port)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and not out
    assert errors == f"perflaw: --port: {port} is taken; name another, such as --port {port + 1}\n"
