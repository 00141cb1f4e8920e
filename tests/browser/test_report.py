"""The page of a report in a real browser, opened from disk: it draws, fits, sorts, filters, and asks nothing of any network."""

import numpy as np
import pytest

from browser.conftest import WIDTHS
from perflaw_jax.report.writer import write_report
from perflaw_jax.runner import run_sweep
from perflaw_jax.spec import parse_spec

SPEC = {
    "name": "seen",
    "axes": {
        "num_hidden_layers": {"start": 8, "stop": 48, "step": 8},
        "hidden_size": {"start": 1024, "stop": 4096, "step": 512},
        "training_tokens": {"geometric": ["100B", "10T"], "num": 8},
    },
    "fixed": {"intermediate_size": 8192},
    "limits": {"training_flops": 1e23, "total_params": {"min": "1B"}},
    "output": {"top": 200, "frontier": ["training_flops", "total_params"]},
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("seen")
    run_sweep(parse_spec(SPEC), path)
    return write_report(path, path)[0]


@pytest.fixture
def opened(page, report):
    page.goto(report.as_uri())
    page.wait_for_selector("#heat-map .main-svg")
    yield page
    assert page.errors == [] and all(url.startswith(("file:", "data:", "blob:")) for url in page.asked)


def column(page, title):
    """The cells of a column that are shown, as text; and the numbers behind them."""
    place = page.locator("#top thead th").all_inner_texts().index(title)
    cells = page.locator(f"#top tbody tr:visible td:nth-child({place + 1})")
    values = [cell.get_attribute("data-value") for cell in cells.all()]
    return cells.all_inner_texts(), np.array(values, float)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_every_width(opened, width, scheme):
    across, down = WIDTHS[width]
    opened.set_viewport_size({"width": across, "height": down})
    opened.emulate_media(color_scheme=scheme)
    opened.reload()
    opened.wait_for_selector("#heat-map .main-svg")
    assert opened.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    charts = opened.locator(".chart").all()
    assert len(charts) == 8 and all(chart.get_attribute("aria-label") for chart in charts)
    assert all(chart.bounding_box()["height"] > 150 for chart in charts)
    dark = opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    assert dark == (scheme == "dark")


def test_sorts_by_value_with_mouse_and_keyboard(opened):
    texts, before = column(opened, "params")
    assert len(texts) == 100 and len({text[-1] for text in texts}) >= 1
    head = opened.locator("#top th", has_text="params")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert np.array_equal(column(opened, "params")[1], np.sort(before))
    head.get_by_role("button").focus()
    opened.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert np.array_equal(column(opened, "params")[1], np.sort(before)[::-1])
    opened.keyboard.press("Tab")  # to the next column
    opened.keyboard.press("Space")
    assert opened.locator("#top th[aria-sort]").all_inner_texts() == ["FLOPs"] and head.get_attribute("aria-sort") is None
    assert np.all(np.diff(column(opened, "FLOPs")[1]) >= 0)


def test_filters(opened):
    layers = column(opened, "layers")[0]
    opened.get_by_label("Filter", exact=True).fill("no such thing")
    assert opened.locator("#top-shown").inner_text() == "0 of 100 designs"
    wanted = column(opened, "hidden")
    assert wanted[0] == []
    opened.get_by_label("Filter", exact=True).fill("4096")
    assert 0 < len(column(opened, "hidden")[0]) < 100 and set(column(opened, "hidden")[0]) == {"4096"}
    opened.get_by_label("Filter", exact=True).fill("")
    assert column(opened, "layers")[0] == layers


def test_the_list_chooses_the_heat_map(opened):
    def shown():
        return opened.locator("#heat-map .xtitle").text_content(), opened.locator("#heat-map .ytitle").text_content()

    assert shown() == ("hidden size", "layers")
    opened.get_by_label("Axes", exact=True).select_option(label="hidden size × training tokens")
    opened.locator("#heat-map .ytitle", has_text="hidden size").wait_for()
    assert shown() == ("training tokens", "hidden size")
    assert opened.locator("#heat-map").get_attribute("aria-label") == "Best MMLU over hidden size and training tokens"


def test_the_first_tab_skips_to_the_content(opened):
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.textContent") == "Skip to the content"
    opened.keyboard.press("Enter")
    assert opened.url.endswith("#main")
    levels = opened.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1 and max(np.diff(levels)) <= 1
    targets = opened.evaluate("[...document.querySelectorAll('nav a')].map(a => !!document.querySelector(a.hash))")
    assert len(targets) == 8 and all(targets)
