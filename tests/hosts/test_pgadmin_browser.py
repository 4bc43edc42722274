"""pgAdmin in a real browser, the way its users take: by an SSH tunnel, with screenshots kept."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from tests.hosts.conftest import Administered

pytestmark = pytest.mark.hosts

ARTEFACTS = Path(__file__).parents[2] / ".casedb" / "artefacts" / "browser"
# A busy machine takes its time.
PATIENCE_MS = 90_000


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium without a screen."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        # Chromium refuses its own sandbox to root.
        words = ["--no-sandbox"] if os.geteuid() == 0 else []
        found = playwright.chromium.launch(executable_path=program, args=words)
        yield found
        found.close()


@pytest.fixture
def page(browser: "Browser", pgadmin: "Administered") -> Iterator["Page"]:
    """The login page, as nobody yet; at the end a screenshot of where the test has come to."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    with pgadmin.tunnel() as port:
        # That the certificate is good, test_pgadmin.py shows; here nobody knows our authority.
        context = browser.new_context(
            ignore_https_errors=True, viewport={"width": 1400, "height": 900}
        )
        context.set_default_timeout(PATIENCE_MS)
        found = context.new_page()
        # pgAdmin asks whether one really wants to load it again.
        found.on("dialog", lambda dialog: dialog.accept())
        found.goto(f"https://localhost:{port}/")
        found.locator("input[name=email]").wait_for()
        yield found
        found.screenshot(path=ARTEFACTS / f"{pgadmin.host.name}-end.png")
        context.close()


def keep(page: "Page", pgadmin: "Administered", name: str) -> None:
    page.screenshot(path=ARTEFACTS / f"{pgadmin.host.name}-{name}.png")


def log_in(page: "Page", email: str, password: str) -> None:
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", password)
    page.click("button[name=internal_button]")


def open_in_tree(page: "Page", name: str, *, shows: str) -> None:
    """Open one entry of the tree, and wait for what is under it."""
    arrow = entry(page, name).locator(".directory-toggle")
    if "open" not in (arrow.get_attribute("class") or "").split():
        arrow.click()
    entry(page, shows).wait_for(timeout=10_000)


def open_all(page: "Page", *path: str) -> None:
    """Open the tree down to the last of these entries.

    A busy machine's pgAdmin forgets what a click on a server was for: it connects and does not
    open, or it opens and shows nothing. A page that is loaded again finds it connected.
    """
    deadline = time.monotonic() + 2 * PATIENCE_MS / 1000
    while not entry(page, path[-1]).is_visible():
        assert time.monotonic() < deadline, f"the tree does not show {path[-1]}"
        with suppress(PlaywrightTimeout):
            for name, shows in pairwise(path):
                open_in_tree(page, name, shows=shows)
            break
        page.reload()
        entry(page, path[0]).wait_for()


def entry(page: "Page", name: str) -> "Locator":
    return page.locator(".file-entry", has_text=name).first


def test_cases_are_counted_in_the_query_tool(page: "Page", pgadmin: "Administered") -> None:
    host = pgadmin.host
    # More than one: the number of the result's first row is no count.
    host.run("casedb seed --cases 25")
    wanted = host.sql("SELECT count(*) FROM cases")
    keep(page, pgadmin, "1-login")

    log_in(page, pgadmin.email, pgadmin.password)
    entry(page, "casedb").wait_for()
    keep(page, pgadmin, "2-logged-in")
    # No password is asked for.
    open_all(page, "casedb", host.name, "Databases")
    keep(page, pgadmin, "3-server")
    open_all(page, "casedb", host.name, "Databases", "case_management", "Schemas")
    keep(page, pgadmin, "4-database")
    entry(page, "case_management").click()
    page.keyboard.press("Alt+Shift+Q")
    tool = page.frame_locator("#layout-portal iframe").last
    tool.locator(".cm-content").first.click()
    page.keyboard.type("SELECT count(*) AS how_many FROM cases")
    tool.locator("button[data-label='Execute script']").click()
    tool.locator("[role=columnheader]", has_text="how_many").wait_for()
    counted = tool.locator("[role=gridcell]").last.inner_text()
    keep(page, pgadmin, "5-counted")

    assert int(wanted) > 1
    assert counted == wanted


def test_a_wrong_password_is_refused(page: "Page", pgadmin: "Administered") -> None:
    log_in(page, pgadmin.email, "wrong")

    page.get_by_text("Incorrect username or password").wait_for()
    keep(page, pgadmin, "6-wrong-password")
    assert "/login" in page.url
