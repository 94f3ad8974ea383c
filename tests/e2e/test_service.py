"""The page over a real `palate serve`: a trained run and a bundle on the synthetic shop, with its real pictures."""

from __future__ import annotations

import polars as pl
import pytest
from playwright.sync_api import Page, expect

from e2e.reading import column, ids
from e2e.world import Shop


@pytest.fixture(scope="module")
def taken(shop: Shop) -> pl.DataFrame:
    return pl.read_parquet(shop.catalogue / "interactions.parquet")


@pytest.fixture(scope="module")
def goods(shop: Shop) -> pl.DataFrame:
    return pl.read_parquet(shop.catalogue / "items.parquet")


def test_from_a_person_to_two_models_reasons_and_neighbours(page: Page, service: str, taken: pl.DataFrame) -> None:
    page.goto(service)
    page.locator(".person").nth(2).click()
    user = page.get_by_role("combobox", name="Person").input_value()
    met = set(taken.filter(taken["user_id"] == user)["item_id"])
    assert set(ids(page.locator(".history"))) == met
    expect(page.locator(".history .picture.loaded").first).to_be_visible()
    page.get_by_label("Compare with").select_option("ease")
    crmman, ease = ids(column(page, "crmman")), ids(column(page, "ease"))
    assert len(crmman) == len(ease) == 12
    assert not met & {*crmman, *ease}
    assert crmman != ease
    shared = len({*crmman} & {*ease})
    said = f"{shared} of 12 are in both lists" if shared else "The two lists share nothing"
    expect(page.locator(".summary")).to_have_text(said)

    page.get_by_role("button", name="Say why").click()
    for card in column(page, "crmman").locator("ol.rows > li").all()[:3]:
        score = float(card.locator(".note").inner_text().split()[-1])
        parts = [float(part) for part in card.locator(".bars .number").all_inner_texts()]
        assert len(parts) == 2
        assert sum(parts) == pytest.approx(score, abs=0.02 * max(1, abs(score)))
    behind = column(page, "ease").locator("ol.rows > li").first.locator(".behind")
    expect(behind).to_contain_text("What the history adds to the score")
    titles = behind.locator("button").evaluate_all("buttons => buttons.map((button) => button.title)")
    history = page.locator(".history .open").evaluate_all("buttons => buttons.map((button) => button.title)")
    assert titles
    assert set(titles) <= set(history)

    column(page, "crmman").locator("[data-item] > .open").first.click()
    for row in ("Close to it for CRMMAN", "Close to it for EASE", "Alike by image", "Alike by text"):
        place = page.get_by_role("dialog").get_by_role("region", name=row)
        expect(place.locator("[aria-busy]")).to_have_count(0)
        assert crmman[0] not in ids(place)


def test_a_list_of_ones_own_is_folded_in(page: Page, service: str) -> None:
    page.goto(f"{service}#/mine")
    finder = page.locator(".finder")
    first, second = ids(finder)[:2]
    finder.locator(f"[data-item={first}] .pick").click()
    once = ids(column(page, "crmman"))
    finder.locator(f"[data-item={second}] .pick").click()
    expect(page.locator(".mine [data-item]")).to_have_count(2)
    expect(column(page, "crmman").locator(f"[data-item={second}]")).to_have_count(0)
    twice = ids(column(page, "crmman"))
    assert once != twice
    assert not {first, second} & {*twice}


def test_a_known_picture_and_known_words_lead_to_their_item(
    page: Page, service: str, shop: Shop, goods: pl.DataFrame
) -> None:
    known = goods.filter(goods["image"].is_not_null()).row(7, named=True)
    page.goto(f"{service}#/new")
    page.locator("input[type=file]").set_input_files(shop.catalogue / known["image"])
    near = page.get_by_role("region", name="Alike by image")
    best = near.locator("[data-item]").first
    expect(best.locator(".note")).to_have_text("1.000")
    alike = [card.get_attribute("data-item") for card in near.locator("[data-item]").all()]
    # Two records may have the very same sleeve.
    assert known["item_id"] in alike[:3]
    page.get_by_label("Description").fill(known["description"])
    words = page.get_by_role("region", name="Alike by text")
    assert known["item_id"] in ids(words)[:3]
    assert len(ids(column(page, "crmman"))) == 12


def test_filters_keep_their_word(page: Page, service: str, goods: pl.DataFrame, expected: list[str]) -> None:
    expected.append("status of 404")
    publisher = goods["publisher"].drop_nulls().mode()[0]
    page.goto(f"{service}#/people?user=u01&where.publisher={publisher}")
    found = ids(column(page, "crmman"))
    assert set(goods.filter(goods["item_id"].is_in(found))["publisher"]) == {publisher}
    page.goto(f"{service}#/people?user=u01&where.publisher=Nobody+at+all")
    alert = page.locator(".column").get_by_role("alert")
    expect(alert).to_contain_text("no item has the publisher 'Nobody at all'")
