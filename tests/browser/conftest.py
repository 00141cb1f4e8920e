"""Pages in a real Chromium, headless; without Playwright or a browser these tests are skipped, and say so."""

import os
import shutil

import pytest

QUIET = (  # nothing but the page under test may go out
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = {"wide": (1440, 900), "laptop": (1024, 768), "narrow": (390, 844)}
LOCAL = ("file:", "data:", "blob:", "about:", "http://127.0.0.1:", "ws://127.0.0.1:")


@pytest.fixture(scope="session")
def chromium():
    """A running browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on the path: apt-get install chromium, or name it in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*QUIET])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """An empty page that remembers what it asked of the network in ``page.asked`` and what went wrong in ``page.errors``."""
    context = chromium.new_context(viewport=dict(zip(("width", "height"), WIDTHS["wide"], strict=True)), accept_downloads=True)
    page = context.new_page()
    page.asked, page.errors = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    yield page
    strangers = [url for url in page.asked if not url.startswith(LOCAL)]
    context.close()
    assert not strangers, f"the page asked the network for {strangers}"
