"""pgAdmin in a real browser, the way its users take: by an SSH tunnel, with screenshots kept."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

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
    from playwright.sync_api import sync_playwright

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
        found.goto(f"https://localhost:{port}/")
        yield found
        context.close()


def keep(page: "Page", pgadmin: "Administered", name: str) -> None:
    page.screenshot(path=ARTEFACTS / f"{pgadmin.host.name}-{name}.png")


def log_in(page: "Page", email: str, password: str) -> None:
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", password)
    page.click("button[name=internal_button]")
