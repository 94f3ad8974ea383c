"""What can go wrong for the page: hostile titles, missing things, slow and broken answers, keys, strange addresses."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from e2e.reading import column, ids, ranked
from e2e.stub import ENDLESS, MARKUP, Stub

VIEWS = {
    "start": "#/people",
    "person": "#/people?user=u1&model=alpha&model=beta",
    "reasons": "#/people?user=u1&model=alpha&model=beta&why=1",
    "list": "#/mine?like=i1&like=i0&dislike=i2&like=i3",
    "new": "#/new?text=a+quiet+story",
    "items": "#/items",
    "item": "#/items?item=i1",
}


def settle(page: Page) -> None:
    """Wait until nothing is under way."""
    expect(page.locator(".view")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_named_legible_and_fits(page: Page, stub: Stub, audit: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # pyright: ignore[reportArgumentType]
    page.goto(stub.address)
    for name, address in VIEWS.items():
        page.goto(stub.address + address)
        for width in (360, 1600):
            page.set_viewport_size({"width": width, "height": 800})
            settle(page)
            if name == "person":
                page.locator("summary").evaluate("summary => (summary.parentElement.open = true)")
                expect(page.locator("form.filter")).to_be_visible()
            assert page.evaluate(audit) == [], f"{name}, {width} wide"


def test_titles_are_words_and_never_markup(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/mine?like=i0")
    settle(page)
    expect(page.locator(".finder [data-item=i0] .title")).to_have_text(MARKUP)
    page.goto(f"{stub.address}#/items?item=i0")
    expect(page.get_by_role("dialog").get_by_role("heading", level=2)).to_have_text(MARKUP)
    page.goto(f"{stub.address}#/people?user={MARKUP}&model=alpha")
    settle(page)
    expect(page).to_have_title(f"Person {MARKUP} – Palate")
    expect(page.locator("img[src=x], main script")).to_have_count(0)


def test_ids_that_no_path_can_hold_are_asked_for_beside_it(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/people?user=..&item=..")
    expect(page.get_by_role("dialog", name="Title 8", exact=True)).to_be_visible()
    expect(page.locator(".history .title").first).to_have_text("Title 50")
    settle(page)
    assert stub.bodies("/v1/items/") == [{"id": "..", "model": "alpha"}]
    assert stub.bodies("/v1/users/") == [{"id": "..", "limit": "50", "model": "alpha"}]


def test_without_pictures_or_titles_items_are_tiles_with_their_ids(page: Page, stub: Stub, audit: str) -> None:
    stub.plain = True
    page.goto(f"{stub.address}#/people?user=u1")
    first = column(page, "alpha").locator("[data-item]").first
    name = "Item " + ranked("alpha", '"u1"')[0]
    expect(first.locator(".tile-words")).to_have_text(name)
    expect(first.locator(".title")).to_have_text(name)
    expect(page.locator("main img")).to_have_count(0)
    first.locator(".open").click()
    expect(page.get_by_role("dialog", name=name)).to_be_visible()
    settle(page)
    assert page.evaluate(audit) == []


def test_a_picture_that_does_not_load_becomes_a_tile(page: Page, stub: Stub, expected: list[str]) -> None:
    expected.append("status of 404")
    stub.broken = frozenset({4})
    page.goto(f"{stub.address}#/items")
    for number, words in ((4, "Title 4"), (3, "Title 3"), (1, ENDLESS)):
        card = page.locator(f".finder [data-item=i{number}]")
        card.scroll_into_view_if_needed()
        if number == 1:
            expect(card.locator("img")).to_be_visible()
        else:
            expect(card.locator(".tile-words")).to_have_text(words)


def test_a_refusal_says_what_and_what_to_do_and_can_be_tried_again(page: Page, stub: Stub, expected: list[str]) -> None:
    expected.append("status of 503")
    stub.failures["/v1/recommend"] = (503, {"what": "the service is busy", "where": "queue", "do": "try again later"})
    page.goto(f"{stub.address}#/people?user=u1")
    alert = page.locator(".column").get_by_role("alert")
    expect(alert).to_contain_text("the service is busy")
    expect(alert).to_contain_text("queue")
    expect(alert).to_contain_text("Try again later.")
    assert ids(page.locator(".history"))[0] == "i50"
    stub.failures.clear()
    alert.get_by_role("button", name="Try again").click()
    assert ids(column(page, "alpha")) == ranked("alpha", '"u1"')
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_service_that_is_gone_is_said_to_be_gone(page: Page, stub: Stub, expected: list[str]) -> None:
    expected.append("net::ERR_FAILED")
    page.goto(f"{stub.address}#/people?user=u1")
    column(page, "alpha")
    page.route("**/v1/**", lambda route: route.abort())
    page.get_by_label("Model", exact=True).select_option("beta")
    expect(page.locator(".column").get_by_role("alert")).to_contain_text("The service does not answer.")


def test_what_was_overtaken_is_never_shown(page: Page, stub: Stub, expected: list[str]) -> None:
    expected.append("net::ERR_ABORTED")
    stub.delays["u1"] = 3
    broken: list[str] = []
    page.on("requestfailed", lambda request: broken.append(request.url))
    page.goto(f"{stub.address}#/people?user=u1")
    expect(page.locator(".column [aria-hidden=true] .bone").first).to_be_visible()
    page.evaluate("location.hash = '#/people?user=u2'")
    assert ids(column(page, "alpha")) == ranked("alpha", '"u2"')
    page.wait_for_timeout(3200)
    assert ids(column(page, "alpha")) == ranked("alpha", '"u2"')
    assert f"{stub.address}v1/recommend" in broken


def test_a_key_is_asked_for_and_kept_for_the_tab(page: Page, stub: Stub, expected: list[str]) -> None:
    expected.append("status of 401")
    stub.key = "open sesame, please"
    page.goto(f"{stub.address}#/people?user=u1")
    dialog = page.get_by_role("dialog", name="This service wants a key")
    field = dialog.get_by_label("API key")
    field.fill("wrong")
    field.press("Enter")
    expect(dialog.get_by_text("The key was refused.")).to_be_visible()
    field.fill(stub.key)
    dialog.get_by_role("button", name="Go on").click()
    assert ids(column(page, "alpha")) == ranked("alpha", '"u1"')
    # A picture is asked for with the key, too, which an address alone could not do.
    expect(page.locator(".history img").first).to_have_attribute("src", re.compile("^data:image/png"))
    page.reload()
    column(page, "alpha")
    expect(dialog).to_have_count(0)
    assert page.evaluate("localStorage.length") == 0


def test_without_the_key_the_page_says_so(page: Page, stub: Stub, expected: list[str]) -> None:
    expected.append("status of 401")
    stub.key = "open sesame, please"
    page.goto(stub.address)
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_role("alert")).to_contain_text("The service wants a key.")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("dialog")).to_be_visible()


@pytest.mark.parametrize(
    "address",
    [
        "#/nowhere?k=many&strength=-3&model=gamma&where.=&range.year=~&like=",
        "#/people?user=u1&k=100000&model=alpha&model=alpha&model=beta&model=gamma&range.year=1990~oops",
        "#main",
        "#/people?user=%E0%A4%A&diverse=smell",
    ],
)
def test_any_address_gives_a_page(page: Page, stub: Stub, address: str) -> None:
    page.goto(stub.address + address)
    settle(page)
    expect(page.locator(".problem")).to_have_count(0)
    expect(page.locator("nav a[aria-current=page]")).to_have_text("People")


def test_colours_follow_the_system_until_somebody_chooses(page: Page, stub: Stub) -> None:
    def back() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="light")
    page.goto(stub.address)
    light = back()
    page.emulate_media(color_scheme="dark")
    dark = back()
    assert dark != light
    switch = page.get_by_role("button", name="Dark colours")
    page.reload()
    expect(switch).to_have_attribute("aria-pressed", "true")
    switch.click()
    assert back() == light
    page.reload()
    assert back() == light
    expect(switch).to_have_attribute("aria-pressed", "false")


def test_nothing_moves_for_those_who_want_no_motion(page: Page, stub: Stub) -> None:
    stub.delays["/v1/items"] = 2
    page.goto(f"{stub.address}#/items")
    bone = page.locator(".bone .picture").first
    expect(bone).to_be_attached()
    assert bone.evaluate("bone => getComputedStyle(bone).animationName") == "none"


def test_news_are_told_to_screen_readers(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/people?user=u1&model=alpha&model=beta")
    status = page.get_by_role("status")
    expect(status).to_have_text("12 recommendations by Alpha, 12 recommendations by Beta")
    number = ranked("alpha", '"u1"')[-1].removeprefix("i")
    column(page, "alpha").get_by_role("button", name=f"Title {number}: on my list").click()
    expect(status).to_have_text(f"Title {number} added to my list")
