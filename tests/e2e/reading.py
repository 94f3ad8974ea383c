"""What a page shows, as tests compare it: the items of a place, and the list of a model."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from e2e.stub import order


def ids(place: Locator) -> list[str]:
    """The items of the cards in a place, in order."""
    expect(place.locator("[data-item]").first).to_be_visible()
    return [str(card.get_attribute("data-item")) for card in place.locator("[data-item]").all()]


def column(page: Page, model: str) -> Locator:
    """A model's recommendations, once they are there."""
    place = page.locator(f".view .column[data-model={model}]")
    expect(place.locator("[aria-busy]")).to_have_count(0)
    expect(place.locator("[data-item]").first).to_be_visible()
    return place


def ranked(model: str, salt: str, k: int = 12) -> list[str]:
    return [f"i{number}" for number in order(model, salt)[:k]]
