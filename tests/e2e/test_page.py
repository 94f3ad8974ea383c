"""What people do on the page, over a service whose answers are known: choosing, comparing, searching, tuning."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from e2e.reading import column, ids, ranked
from e2e.stub import BRANCHES, ENDLESS, Stub, item, order, png

ENDS = "bars => bars.map((bar) => [bar.getBoundingClientRect().left, bar.getBoundingClientRect().right])"


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"))


def test_a_person_has_a_history_and_recommendations(page: Page, stub: Stub) -> None:
    page.goto(stub.address)
    page.get_by_role("button", name="u3 8 items").click()
    assert ids(page.get_by_label("History of person u3, latest first")) == [f"i{50 + place}" for place in range(8)]
    assert ids(column(page, "alpha")) == ranked("alpha", '"u3"')
    expect(page).to_have_title("Person u3 – Palate")
    assert stub.bodies("/v1/recommend") == [{"user": "u3", "model": "alpha", "k": 12, "exclude_seen": True}]


def test_people_are_found_by_parts_of_their_ids(page: Page, stub: Stub) -> None:
    page.goto(stub.address)
    field = page.get_by_role("combobox", name="Person")
    field.fill("29")
    options = page.locator(".options [role=option]")
    expect(options).to_have_count(1)
    options.click()
    expect(page).to_have_url(f"{stub.address}#/people?user=u29")
    field.fill("nobody")
    expect(page.locator(".options .nothing, .options").get_by_text("Nobody has such an id").first).to_be_visible()
    field.press("Escape")
    expect(field).to_have_value("u29")
    page.get_by_role("button", name="Surprise me").click()
    expect(page).not_to_have_url(f"{stub.address}#/people?user=u29")


def test_two_models_side_by_side_say_what_they_share(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/people?user=u1")
    column(page, "alpha")
    page.get_by_label("Model", exact=True).select_option("beta")
    assert ids(column(page, "beta")) == ranked("beta", '"u1"')
    expect(page.locator(".column")).to_have_count(1)
    page.get_by_label("Compare with").select_option("alpha")
    left, right = ranked("beta", '"u1"'), ranked("alpha", '"u1"')
    assert ids(column(page, "alpha")) == right
    both = set(left) & set(right)
    assert 0 < len(both) < 12
    expect(page.get_by_text(f"{len(both)} of 12 are in both lists")).to_be_visible()
    for one in left:
        card = column(page, "beta").locator(f"[data-item={one}]")
        expect(card.locator(".also")).to_have_text([f"also {right.index(one) + 1} in Alpha"] if one in both else [])
    some = min(both)
    column(page, "alpha").locator(f"[data-item={some}] .open").focus()
    expect(column(page, "beta").locator(".twin")).to_have_attribute("data-item", some)
    page.go_back()
    expect(page.locator(".column")).to_have_count(1)
    page.go_back()
    assert ids(column(page, "alpha")) == right


def test_models_of_two_catalogues_show_their_own_people_and_items(page: Page, stub: Stub) -> None:
    stub.apart = True
    page.goto(stub.address)
    expect(page.get_by_role("button", name="u3 8 items")).to_be_visible()
    page.get_by_label("Model", exact=True).select_option("beta")
    expect(page.locator(".start .title").first).to_have_text("Other 0")
    page.get_by_role("button", name="v3 8 items").click()
    expect(page.locator(".history .title").first).to_have_text("Other 50")
    page.get_by_role("button", name="Surprise me").click()
    expect(page).to_have_url(re.compile(r"user=v(?!3\b)"))

    page.goto(f"{stub.address}#/people?user=u1&model=alpha&model=beta")
    expect(page.locator(".summary")).to_have_text("")
    other = column(page, "beta").locator("[data-item]").first
    number = ranked("beta", '"u1"')[0].removeprefix("i")
    expect(other).to_have_attribute("data-item", f"i{number}")
    expect(other.locator("img")).to_have_attribute("src", f"{stub.address}media/i{number}?model=beta")
    other.locator(".open").click()
    dialog = page.get_by_role("dialog", name=f"Other {number}", exact=True)
    expect(dialog.locator(".standing h3")).to_have_text(["Number 1 of Beta for person u1"])
    expect(dialog.locator(".neighbour-row h3")).to_have_text(["Close to it for Beta", "Alike by text"])
    page.reload()
    expect(dialog).to_be_visible()
    page.goto(f"{stub.address}#/mine?like=i5&model=beta")
    expect(page.locator(".mine .title")).to_have_text("Other 5")
    page.get_by_label("Model", exact=True).select_option("alpha")
    expect(page.locator(".mine .title")).to_have_text("Title 5")
    expect(page.locator(".finder .title").nth(5)).to_have_text("Title 5")


def test_two_states_of_one_model_are_told_apart(page: Page, stub: Stub) -> None:
    models = [{"name": name, "title": "Alpha", "modalities": []} for name in ("alpha", "beta")]
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": models}))
    page.goto(f"{stub.address}#/people?user=u1&model=alpha&model=beta")
    expect(page.locator(".column h3")).to_have_text(["Alpha (alpha)", "Alpha (beta)"])


def test_reasons_are_the_numbers_of_the_service_and_nothing_where_it_has_none(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/people?user=u1&model=alpha&model=beta")
    column(page, "alpha")
    page.get_by_role("button", name="Say why").click()
    first = column(page, "alpha").locator("ol.rows > li").first
    numbers = [float(number) for number in first.locator(".bars .number").all_inner_texts()]
    assert dict(zip(first.locator(".bars dt").all_inner_texts(), numbers, strict=True)) == BRANCHES
    ends = first.locator(".bar span").evaluate_all(ENDS)
    zero = sum(first.locator(".bar").evaluate_all(ENDS)[0]) / 2
    full = ends[0][1] - zero
    expected = [(zero, zero + full), (zero - full / 4, zero), (zero, zero + full / 2)]
    assert ends == [pytest.approx(each, abs=0.5) for each in expected], "bars are as long as numbers are large"
    assert first.locator(".behind .number").all_inner_texts() == ["0.75", "0.50"]
    expect(first.locator(".behind .title")).to_have_text(["Title 52", "Title 53"])
    expect(first.locator(".behind .title").first).to_be_visible()
    expect(column(page, "beta").locator(".why")).to_have_count(0)
    expect(column(page, "beta").get_by_text("Beta gives no reasons.")).to_be_visible()


def test_of_an_item_that_nobody_took_the_page_says_that_it_was_placed(page: Page, stub: Stub) -> None:
    first, second = order("alpha", '"u1"')[:2]
    stub.placed = frozenset({first})
    page.goto(f"{stub.address}#/people?user=u1&model=alpha&why=1")
    rows = column(page, "alpha").locator("ol.rows > li")
    said = rows.nth(0).get_by_text("its content gave it its place")
    expect(said).to_be_visible()
    expect(rows.nth(0).locator(".bars")).to_have_count(0)
    assert rows.nth(1).get_attribute("data-item") == f"i{second}"
    expect(rows.nth(1).locator(".bars dt")).to_have_text(list(BRANCHES))


def test_an_item_opens_with_its_facts_its_reasons_and_its_neighbours(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/people?user=u1")
    card = column(page, "alpha").locator(".open").nth(1)
    number = order("alpha", '"u1"')[1]
    card.click()
    dialog = page.get_by_role("dialog", name=item(number)["title"])
    expect(dialog.get_by_text(f"About {number}")).to_be_visible()
    expect(dialog.get_by_alt_text(f"Picture of Title {number}")).to_be_visible()
    assert dialog.locator("dl.attributes dd").first.inner_text() in ("calm", "calm, loud")
    standing = dialog.locator(".standing")
    expect(standing.get_by_role("heading")).to_have_text("Number 2 of Alpha for person u1")
    expect(standing.locator(".bars dt")).to_have_text(list(BRANCHES))
    assert ids(dialog.get_by_role("region", name="Close to it for Alpha")) == ranked("alpha", "model")
    assert ids(dialog.get_by_role("region", name="Alike by text")) == ranked("beta", "text")
    expect(dialog.get_by_text("It has no image, so nothing is said")).to_be_visible()

    neighbour = dialog.get_by_role("region", name="Alike by text").locator("[data-item]").nth(5)
    goal = int(str(neighbour.get_attribute("data-item"))[1:])
    neighbour.locator(".open").click()
    expect(page.get_by_role("dialog", name=item(goal)["title"])).to_be_visible()
    page.go_back()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(card).to_be_focused()


def test_an_item_opened_by_its_address_gets_its_reasons_when_the_lists_come(page: Page, stub: Stub) -> None:
    stub.delays["u1"] = 1
    goal = ranked("alpha", '"u1"')[2]
    page.goto(f"{stub.address}#/people?user=u1&item={goal}")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".standing h3")).to_have_text("Number 3 of Alpha for person u1")
    expect(dialog.locator(".standing .bars dt")).to_have_text(list(BRANCHES))


def test_long_descriptions_open_on_demand(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/items?item=i4")
    more = page.get_by_role("button", name="Read on")
    before = page.locator(".description").bounding_box()
    more.click()
    after = page.locator(".description").bounding_box()
    assert before
    assert after
    assert after["height"] > before["height"] + 20
    expect(page.get_by_role("button", name="Show less")).to_have_attribute("aria-expanded", "true")


CUT = "title => title.scrollHeight > title.clientHeight + 1"


def test_a_title_that_never_ends_opens_on_demand(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/items?item=i1")
    dialog = page.get_by_role("dialog")
    heading = dialog.get_by_role("heading", name=ENDLESS)
    expect(heading).to_be_visible()
    page.set_viewport_size({"width": 420, "height": 800})
    assert heading.evaluate(CUT)
    dialog.get_by_role("button", name="Whole title").click()
    assert not heading.evaluate(CUT)
    expect(dialog.get_by_role("button", name="Shorter title")).to_have_attribute("aria-expanded", "true")
    page.evaluate("location.hash = '#/items?item=i5'")
    expect(dialog.get_by_role("heading", name="Title 5", exact=True)).to_be_visible()
    expect(dialog.locator(".item-words .link")).to_have_count(0)


def test_reasons_show_how_titles_end(page: Page, stub: Stub) -> None:
    stub.titles = {number: f"The long adventures of somebody, in number {number}" for number in range(60)}
    page.goto(f"{stub.address}#/people?user=u1&model=alpha&why=1")
    titles = column(page, "alpha").locator("ol.rows .title")
    assert titles.count() > 12
    assert not any(title.evaluate(CUT) for title in titles.all())


def test_items_are_found_by_their_words(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/items")
    search = page.get_by_role("searchbox", name="Search items")
    search.fill("title 23")
    expect(page.locator(".finder [data-item]")).to_have_count(1)
    assert ids(page.locator(".finder")) == ["i23"]
    expect(page).to_have_url(f"{stub.address}#/items?query=title+23")
    search.fill("title zebra")
    expect(page.get_by_text("No item has all the words of “title zebra”.")).to_be_visible()
    page.reload()
    expect(search).to_have_value("title zebra")


def test_my_list_is_answered_at_every_click(page: Page, stub: Stub) -> None:
    page.goto(stub.address)
    page.get_by_role("link", name="My list").click()
    expect(page.get_by_text("Your list is empty.")).to_be_visible()
    assert stub.bodies("/v1/recommend") == []
    finder = page.locator(".finder")
    for number in (5, 6, 7):
        finder.get_by_role("button", name=f"Title {number}: on my list", exact=True).click()
    expect(page.locator("#picked")).to_have_text("3")
    mine = page.get_by_role("list", name="My list", exact=True)
    assert ids(mine) == ["i5", "i6", "i7"]
    expect(mine.get_by_role("button", name="Dislike Title 6")).to_be_visible()
    assert ids(column(page, "alpha")) == ranked("alpha", '[{"id": "i5"}, {"id": "i6"}, {"id": "i7"}]')

    mine.get_by_role("button", name="Dislike Title 6").click()
    page.get_by_label("Compare with").select_option("beta")
    column(page, "beta")
    bodies = {body["model"]: body for body in stub.bodies("/v1/recommend")}
    # Beta counts whatever it is told of as liked: it must not be told.
    assert bodies["alpha"]["items"] == [{"id": "i5"}, {"id": "i6", "rating": 2.0}, {"id": "i7"}]
    assert bodies["beta"]["items"] == [{"id": "i5"}, {"id": "i7"}]
    assert bodies["alpha"]["deny"] == bodies["beta"]["deny"] == ["i6"]
    expect(mine.get_by_role("button", name="Dislike Title 6")).to_have_attribute("aria-pressed", "true")

    mine.get_by_role("button", name="Remove Title 5").click()
    assert ids(mine) == ["i6", "i7"]
    assert focused(page) == "Remove Title 6"
    page.reload()
    assert ids(mine) == ["i6", "i7"]
    page.get_by_role("button", name="Clear the list").click()
    expect(page.get_by_text("Your list is empty.")).to_be_visible()
    expect(page.locator(".comparison")).to_be_hidden()


def test_a_new_item_is_placed_by_words_and_by_picture(page: Page, stub: Stub, tmp_path: Path) -> None:
    page.goto(f"{stub.address}#/new")
    expect(page.get_by_text("No new item yet.")).to_be_visible()
    page.get_by_label("Description").fill("a quiet story")
    assert ids(page.get_by_role("region", name="Alike by text")) == ranked("beta", "text")
    assert ids(column(page, "alpha")) == ranked("alpha", '"a quiet story"')
    assert stub.bodies("/v1/recommend")[-1]["text"] == "a quiet story"

    picture = png((200, 30, 60), side=40)
    (tmp_path / "new.png").write_bytes(picture)
    page.locator("input[type=file]").set_input_files(tmp_path / "new.png")
    assert ids(page.get_by_role("region", name="Alike by image")) == ranked("alpha", "image")
    expect(page.get_by_alt_text("The new item's picture")).to_be_visible()
    column(page, "alpha")
    assert base64.b64decode(stub.bodies("/v1/recommend")[-1]["image"]) == picture
    page.get_by_role("radio", name="the words").check()
    expect(page.get_by_role("region", name="Alike by text")).to_be_visible()
    page.get_by_label("Model", exact=True).select_option("beta")
    page.get_by_role("radio", name="the picture").check()
    expect(page.get_by_text("Beta can do nothing with a picture.")).to_be_visible()
    page.get_by_role("button", name="Remove the picture").click()
    expect(page.get_by_alt_text("The new item's picture")).to_be_hidden()


DROP = """([target, name, type, content]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))], name, { type }));
  target.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def test_a_picture_can_be_dropped_and_what_is_none_is_refused(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/new")
    target = page.locator(".drop").element_handle()
    page.evaluate(DROP, [target, "notes.txt", "text/plain", base64.b64encode(b"no picture").decode()])
    expect(page.get_by_role("alert")).to_contain_text("“notes.txt” is no picture")
    large = png((10, 90, 200), side=2000)
    page.evaluate(DROP, [target, "large.png", "image/png", base64.b64encode(large).decode()])
    expect(page.get_by_role("region", name="Alike by image").locator("[data-item]").first).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    sent = base64.b64decode(stub.bodies("/v1/similar")[-1]["image"])
    assert sent[:3] == b"\xff\xd8\xff", "a picture of 2000 pixels is sent smaller, as a JPEG"


def test_the_panel_tunes_the_list(page: Page, stub: Stub) -> None:
    page.goto(f"{stub.address}#/people?user=u1&model=alpha&model=beta")
    column(page, "alpha")
    page.get_by_text("Tune the list").click()
    length = page.get_by_label("Length of the list")
    length.focus()
    for _ in range(3):
        length.press("ArrowRight")
    expect(column(page, "beta").locator("[data-item]")).to_have_count(15)
    page.get_by_label("Keep it varied by").select_option("image")
    page.get_by_label("Include what was met already").check()
    page.get_by_label("Only items where").and_(page.locator("select")).select_option("genre")
    page.get_by_label("is", exact=True).fill("loud")
    page.get_by_role("button", name="Add filter").click()
    page.get_by_label("Only items where").and_(page.locator("select")).select_option("year")
    page.get_by_label("from", exact=True).fill("1990")
    page.get_by_role("button", name="Add filter").click()
    expect(page.get_by_text("· 5 changes")).to_be_visible()
    expect(page.get_by_role("button", name="Remove the filter year: from 1990")).to_be_visible()
    column(page, "alpha")
    last = {body["model"]: body for body in stub.bodies("/v1/recommend")}
    wanted = {"user": "u1", "k": 15, "exclude_seen": False, "where": {"genre": ["loud"], "year": {"min": 1990}}}
    assert last["alpha"] == {**wanted, "model": "alpha", "diversify": {"by": "image", "strength": 0.5}}
    # Beta has no pictures to be varied by.
    assert last["beta"] == {**wanted, "model": "beta"}
    page.reload()
    expect(page.get_by_text("· 5 changes")).to_be_visible()
    page.get_by_text("Tune the list").click()
    page.get_by_role("button", name="Remove the filter genre: loud").click()
    page.get_by_role("button", name="Reset").click()
    expect(page).to_have_url(f"{stub.address}#/people?user=u1&model=alpha&model=beta")


def test_everything_can_be_done_by_keyboard(page: Page, stub: Stub) -> None:
    page.goto(stub.address)
    expect(page.get_by_role("button", name="u0 8 items")).to_be_visible()
    reached: list[str] = []

    def tab_to(name: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            reached.append(focused(page))
            assert outline != "none", f"no visible focus at {reached[-1]}"
            if focused(page).startswith(name):
                return
        raise AssertionError(f"'{name}' is not reached by Tab; reached: {reached}")

    tab_to("Skip to the content")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    expect(page.get_by_role("combobox", name="Person")).to_be_focused()
    page.keyboard.type("u12")
    expect(page.locator(".options [role=option]")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{stub.address}#/people?user=u12")
    first = order("alpha", '"u12"')[0]
    column(page, "alpha")
    tab_to("Say why")
    page.keyboard.press("Space")
    expect(column(page, "alpha").locator(".bars").first).to_be_visible()
    tab_to("Rank 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#item-title")).to_be_focused()
    tab_to("Add to my list") if first == 2 else tab_to(f"{item(first)['title']}: on my list")
    page.keyboard.press("Space")
    expect(page.locator("#picked")).to_have_text("1")
    page.keyboard.press("Escape")
    assert focused(page).startswith("Rank 1")
    page.keyboard.press("Tab")
    assert focused(page).endswith("on my list")
    expect(page.locator(":focus")).to_have_attribute("aria-pressed", "true")
