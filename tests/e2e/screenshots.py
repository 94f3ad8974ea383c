"""Makes docs/images/page-*.png, which show the synthetic shop alone: `python tests/e2e/screenshots.py`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from e2e.chromium import open_browser  # noqa: E402
from e2e.world import make_shop, serving  # noqa: E402

IMAGES = HERE.parents[1] / "docs" / "images"
MOST_BYTES = 200_000
VIEWS: tuple[tuple[str, Literal["light", "dark"], tuple[int, int], str], ...] = (
    ("page-compare", "light", (1280, 900), "#/people?user=u012&model=crmman&model=ease"),
    ("page-why", "dark", (1280, 900), "#/people?user=u012&model=crmman&why=1&item=FIRST"),
    ("page-list", "light", (390, 844), "#/mine?like=FIRST&like=SECOND"),
)


def shoot(browser: Browser, address: str) -> None:
    """Take all pictures."""
    for name, scheme, (width, height), view in VIEWS:
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        page.set_default_timeout(120_000)
        if "FIRST" in view:
            page.goto(f"{address}#/people?user=u012&model=crmman")
            cards = page.locator(".column [data-item]")
            cards.first.wait_for()
            first, second = (str(card.get_attribute("data-item")) for card in cards.all()[:2])
            view = view.replace("FIRST", first).replace("SECOND", second)
        page.goto(address + view)
        page.locator(".view").wait_for()
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1000)
        # Fewer colours make it small enough for a repository; the page has few.
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(200)
        path = IMAGES / f"{name}.png"
        picture.save(path, optimize=True)
        weight = path.stat().st_size
        print(f"{path}: {weight:,} bytes")
        assert weight < MOST_BYTES, f"{path} is too large for the repository"
        page.close()


def main() -> None:
    """Make the shop, serve it, look at it."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        shop = make_shop(Path(folder), users=300, items=200, epochs=40, dim=32)
        with serving(shop) as address, open_browser(playwright) as browser:
            shoot(browser, address)


if __name__ == "__main__":
    main()
