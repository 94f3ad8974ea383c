"""A browser, a page in it that must not complain nor call anybody else, and the two services it looks at."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from e2e.chromium import open_browser
from e2e.stub import Stub, start

if TYPE_CHECKING:
    from e2e.world import Shop

# The machine may be busy with much else.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    # Of a module, not of the session: while it runs, no other test could have an event loop.
    with sync_playwright() as playwright, open_browser(playwright) as opened:
        yield opened


@pytest.fixture
def expected() -> list[str]:
    """Parts of what the console may say in this test: failed requests that the test asks for."""
    return []


@pytest.fixture
def context(browser: Browser) -> Generator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    opened.set_default_timeout(PATIENCE)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, expected: list[str]) -> Generator[Page]:
    complaints: list[str] = []
    addresses: set[str] = set()

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    opened = context.new_page()
    opened.on("console", heard)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: addresses.add(request.url))
    yield opened
    home = opened.url.split("#")[0]
    assert [each for each in complaints if not any(part in each for part in expected)] == []
    assert {each for each in addresses if not each.startswith((home, "data:"))} == set()


@pytest.fixture
def stub() -> Generator[Stub]:
    made = Stub()
    server = start(made)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A small synthetic shop with CRMMAN and EASE."""
    # What trains models takes seconds to import, and the other tests need none of it.
    from e2e.world import make_shop

    return make_shop(tmp_path_factory.mktemp("shop"), users=80, items=60, epochs=3, dim=8)


@pytest.fixture(scope="module")
def service(shop: Shop) -> Generator[str]:
    """The address of a real service of that shop."""
    from e2e.world import serving

    with serving(shop) as address:
        yield address


@pytest.fixture(scope="session")
def audit() -> str:
    return (Path(__file__).parent / "audit.js").read_text(encoding="utf-8").partition("\n")[2]
