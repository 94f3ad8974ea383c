"""The browser of the tests: the system's own Chromium, with a profile of its own that is thrown away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def executable() -> str:
    """Where it is."""
    found = os.environ.get("PALATE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, (
        "the page is tested in Chromium, and there is none: install it (Debian: apt-get install chromium), "
        "say where it is (PALATE_CHROMIUM=/path), or leave these tests out (make test BROWSER=no)"
    )
    return found


@contextmanager
def open_browser(playwright: Playwright) -> Generator[Browser]:
    """A browser for the time of the block."""
    browser = playwright.chromium.launch(executable_path=executable(), args=list(ARGUMENTS))
    try:
        yield browser
    finally:
        browser.close()
