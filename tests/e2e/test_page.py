"""The page in a real browser: what people complain about with such pages, and the story that it is there for."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, Route, expect

from benchmarks.browser import answer, clear, draw
from benchmarks.drawing import PLACES, SIZES, placed, shapes
from benchmarks.teaching import mirrored_sevens
from tests.support.browser import SCRIBBLE, drawn_at, launched, opened, touch
from tests.support.paths import IMAGES
from tests.support.servers import AUTHORISED, TOKEN, Start
from tests.support.versions import shipped

SEVEN = [[(0.28, 0.25), (0.72, 0.24), (0.48, 0.82)]]
LINE = [[(0.3, 0.5), (0.7, 0.5)]]
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from launched()


@pytest.fixture(scope="module")
def url(client: httpx.Client) -> str:
    return str(client.base_url)


@pytest.fixture(scope="module")
def desktop(browser: Browser, url: str) -> Iterator[Page]:
    """One page for all tests that leave it as it is but for what is on the paper."""
    with opened(browser, url, viewport={"width": 1100, "height": 900}) as page:
        yield page


@pytest.fixture
def page(desktop: Page) -> Page:
    """With nothing drawn."""
    desktop.set_viewport_size({"width": 1100, "height": 900})
    desktop.evaluate("scrollTo(0, 0)")
    clear(desktop)
    return desktop


def box_of(page: Page) -> tuple[float, float, float]:
    """Left, top and side of the paper in the window."""
    box = page.get_by_test_id("canvas").bounding_box()
    assert box
    return box["x"], box["y"], box["width"]


def contrast(first: str, second: str) -> float:
    """Of two colours as the browser computes them, by WCAG 2.1."""

    def luminance(colour: str) -> float:
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def rgb(colour: str) -> list[float]:
        return [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_digits_are_read_at_every_size_and_place(page: Page) -> None:
    """Each digit once, at another place each; all of them at all places: ``python -m benchmarks drawing``."""
    for digit, size, place in zip(range(10), itertools.cycle(SIZES), itertools.cycle(PLACES), strict=False):
        clear(page)
        draw(page, placed(next(shapes(digit)), size, place))
        assert answer(page) == (str(digit), "true"), (size, place)


def test_nothing_drawn_says_so(page: Page) -> None:
    found = page.get_by_test_id("answer")
    expect(found).to_have_attribute("data-digit", "")
    expect(found).to_have_attribute("data-accepted", "")
    expect(page.locator("#sure")).to_have_text("Nothing drawn")
    draw(page, SEVEN)
    assert answer(page) == ("7", "true")
    page.get_by_test_id("undo").click()
    expect(found).to_have_attribute("data-digit", "")
    page.get_by_test_id("undo").click(force=True)  # there is nothing left to take back
    draw(page, SEVEN)
    page.get_by_test_id("clear").click()
    expect(page.locator("#sure")).to_have_text("Nothing drawn")
    assert page.locator("#bars i").evaluate_all("bars => bars.every(bar => bar.style.transform === 'scaleY(0)')")
    page.keyboard.press("u")  # even clearing can be taken back
    assert answer(page) == ("7", "true")


def test_what_is_no_digit_is_rejected_and_not_shown_as_one(page: Page) -> None:
    draw(page, SCRIBBLE)
    assert answer(page)[1] == "false"
    expect(page.get_by_test_id("answer")).to_have_text("?")
    expect(page.get_by_test_id("reason")).to_have_text("This looks like no digit. Draw one, large and whole.")
    assert page.locator("#bars .first").count() == 0
    page.get_by_role("button", name="Example: two digits").click()
    assert answer(page)[1] == "false"
    expect(page.get_by_test_id("reason")).to_contain_text("several digits")


def test_examples_are_read(page: Page) -> None:
    for digit in range(10):
        page.get_by_role("button", name=f"Example: {digit}").click()
        assert answer(page) == (str(digit), "true")


def test_strokes_lie_under_the_pointer_after_scrolling_resizing_zooming_and_turning(page: Page) -> None:
    def draws_where_it_points() -> bool:
        clear(page)
        draw(page, LINE)
        return drawn_at(page, 0.5, 0.5) and not drawn_at(page, 0.5, 0.4) and not drawn_at(page, 0.5, 0.6)

    assert draws_where_it_points()
    page.evaluate("scrollTo(0, 120)")
    assert draws_where_it_points()
    for width, height in ((1300, 700), (420, 800), (800, 420)):
        page.set_viewport_size({"width": width, "height": height})
        assert drawn_at(page, 0.5, 0.5)  # what was drawn before is still there
        assert draws_where_it_points()
    page.set_viewport_size({"width": 1100, "height": 900})
    page.evaluate("document.body.style.zoom = 1.25")
    assert draws_where_it_points()
    page.evaluate("document.body.style.zoom = ''")


def test_the_drawing_comes_back_after_the_tab_was_hidden(page: Page) -> None:
    draw(page, LINE)
    assert drawn_at(page, 0.5, 0.5)
    page.evaluate("const canvas = document.getElementById('canvas'); canvas.width = canvas.width")  # it is emptied
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert drawn_at(page, 0.5, 0.5)


def test_the_pen_is_round_and_a_twentieth_of_the_side(page: Page) -> None:
    draw(page, LINE)
    assert drawn_at(page, 0.5, 0.5)
    inked = page.get_by_test_id("canvas").evaluate("""canvas => {
      const column = canvas.getContext("2d").getImageData(canvas.width / 2, 0, 1, canvas.height).data;
      return column.filter((value, place) => place % 4 === 3 && value > 127).length / canvas.height;
    }""")
    assert inked == pytest.approx(1 / 20, abs=0.004)
    assert drawn_at(page, 0.28, 0.5)
    assert not drawn_at(page, 0.278, 0.48)  # a corner, had it any


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_seen_and_used_by_all_in_both_themes(browser: Browser, url: str, scheme: Any) -> None:
    """The pen stands out from the paper, and axe-core finds nothing that shuts people out."""
    with opened(browser, url, color_scheme=scheme) as page:
        pen, paper = page.get_by_test_id("canvas").evaluate(
            "canvas => [getComputedStyle(canvas).color, getComputedStyle(canvas).backgroundColor]"
        )
        assert contrast(pen, paper) > 10
        draw(page, SEVEN)
        assert answer(page) == ("7", "true")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_it_can_be_drawn_on_with_the_keyboard(page: Page) -> None:
    page.get_by_test_id("canvas").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#keys")).to_be_visible()
    for key, times in (("ArrowUp", 9), (" ", 1), ("ArrowDown", 18), (" ", 1), ("ArrowRight", 3)):
        for _ in range(times):
            page.keyboard.press(key)
    assert answer(page) == ("1", "true")
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("answer")).to_have_attribute("data-digit", "")


def test_a_finger_draws_and_does_not_scroll(browser: Browser, url: str) -> None:
    with opened(browser, url, **PHONE) as page:
        page.get_by_test_id("canvas").scroll_into_view_if_needed()
        left, top, side = box_of(page)

        def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
            return [(left + x * side, top + y * side) for x, y in points]

        touch(page, at(*((0.5, 0.15 + step / 20) for step in range(15))))
        assert answer(page) == ("1", "true")
        assert page.evaluate("scrollY") == 0
        clear(page)
        # It leaves the paper and comes back: one stroke. Lifted outside, the next stroke does not hang on to it.
        touch(page, at((0.5, 0.2), (0.9, 0.2), (1.2, 0.3), (0.9, 0.4), (0.5, 0.4), (0.5, 1.2)))
        touch(page, at((0.1, 0.9), (0.3, 0.9)))
        assert drawn_at(page, 0.7, 0.2)
        assert drawn_at(page, 0.7, 0.4)
        assert drawn_at(page, 0.2, 0.9)
        assert not drawn_at(page, 0.35, 0.95)
        page.get_by_test_id("undo").click()
        assert drawn_at(page, 0.7, 0.4)
        page.get_by_test_id("undo").click()
        expect(page.get_by_test_id("answer")).to_have_attribute("data-digit", "")


def test_the_newest_answer_stands_however_slow_the_service_is(page: Page) -> None:
    """The first question is never answered, so the page gives it up for the newest drawing. None pile up meanwhile."""
    held: list[Route] = []
    asked, ended, most_open = 0, 0, 0

    def count(request: Request) -> None:
        nonlocal asked, most_open
        asked += "/predict" in request.url
        most_open = max(most_open, asked - ended)

    def end(request: Request) -> None:
        nonlocal ended
        ended += "/predict" in request.url

    page.on("request", count)
    page.on("requestfinished", end)
    page.on("requestfailed", end)
    page.route("**/predict*", lambda route: route.fallback() if held else held.append(route))
    draw(page, SEVEN)
    assert answer(page) == ("7", "true")
    assert held
    assert most_open <= 2  # the one that is given up, and the newest
    page.unroute("**/predict*")


def test_pictures_can_be_uploaded_and_what_is_none_is_told(browser: Browser, url: str) -> None:
    with opened(browser, url, expect=("status of 422",)) as page:
        upload = page.get_by_test_id("upload")
        upload.set_input_files(IMAGES / "three.jpg")
        expect(page.get_by_test_id("answer")).to_have_attribute("data-digit", "3")
        assert answer(page) == ("3", "true")
        assert page.get_by_test_id("seen").evaluate("image => image.decode().then(() => image.naturalWidth)") == 28
        upload.set_input_files(IMAGES / "seven-28x28.png")
        expect(page.get_by_test_id("answer")).to_have_attribute("data-digit", "7")
        upload.set_input_files({"name": "page.png", "mimeType": "image/png", "buffer": b"no picture"})
        expect(page.get_by_test_id("answer")).to_have_attribute("data-digit", "")
        expect(page.get_by_test_id("reason")).to_contain_text("image")
        draw(page, SEVEN)  # on a new paper
        assert answer(page) == ("7", "true")


def test_it_speaks_german_to_those_whose_browser_does(browser: Browser, url: str) -> None:
    with opened(browser, url, locale="de-DE") as page:
        expect(page.locator("html")).to_have_attribute("lang", "de")
        expect(page.locator("#sure")).to_have_text("Nichts gemalt")
        expect(page.get_by_test_id("clear")).to_have_text("Leeren")
        draw(page, SEVEN)
        assert answer(page) == ("7", "true")
        expect(page.locator("#sure")).to_contain_text(re.compile(r"\d,\d\s%.sicher"))


def test_teaching_and_taking_back(browser: Browser, start_server: Start, tmp_path: Path) -> None:
    """And a training that cannot start says why."""
    server = start_server(DIGITS_DATA=None)
    with (
        httpx.Client(base_url=server.url, headers=AUTHORISED) as client,
        opened(browser, server.url, expect=("status of 401", "status of 409")) as page,
    ):
        taught, seven = page.locator("#taught"), page.get_by_test_id("teach-7")
        seven.click()
        expect(taught).to_have_text("Draw a digit first, then say what it is.")
        draw(page, SEVEN)
        assert answer(page) == ("7", "true")
        seven.click()
        expect(taught).to_have_text("This needs the admin token: sign in first.")
        page.get_by_test_id("token").fill("not-the-token")
        page.get_by_test_id("token").press("Enter")
        expect(taught).to_have_text("That is not the admin token.")
        page.get_by_test_id("token").fill(TOKEN)
        seven.click()
        expect(taught).to_contain_text("Kept as 7")
        expect(page.locator("#kept-title")).to_have_text("Examples kept: 1. Waiting for a training: 1.")
        assert client.get("/feedback").json()["feedback"][0]["label"] == 7
        draw(page, LINE)  # the next stroke begins a new drawing
        assert not drawn_at(page, 0.5, 0.245)
        page.get_by_test_id("teach-1").click()
        expect(page.locator("#corrections li")).to_have_count(2)
        page.get_by_role("button", name="Take back 1, number 2").click()
        expect(page.locator("#corrections li")).to_have_count(1)
        assert client.get("/feedback").json()["total"] == 1
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]  # the token is in this tab alone
        page.get_by_test_id("retrain").click()
        expect(page.get_by_test_id("job")).to_contain_text("There is no training data: set DIGITS_DATA")


def test_the_whole_story_on_small_data(browser: Browser, start_server: Start, tmp_path: Path, small_data: Path) -> None:
    """Teach, retrain, watch, read the verdict, go back, and call one off."""
    server = start_server(
        DIGITS_MODELS=str(shipped(tmp_path / "models")), DIGITS_DATA=str(small_data), DIGITS_VERIFY_DATA="false"
    )
    shortened = {"start": "scratch", "recipe": "dense-512", "epochs": 2, "force": True}
    with opened(browser, server.url) as page:
        page.route("**/retrain", lambda route: route.continue_(post_data=shortened))
        page.get_by_test_id("token").fill(TOKEN)
        for count, strokes in enumerate(itertools.islice(mirrored_sevens(), 20), 1):
            draw(page, strokes)
            page.get_by_test_id("teach-7").click()
            expect(page.locator("#corrections li")).to_have_count(count)
            if count > 1 and page.locator("#corrections .held-out").count():
                break  # one to learn from and one to measure on
        job = page.get_by_test_id("job")
        page.get_by_test_id("retrain").click()
        expect(page.locator("#job progress")).to_be_visible(timeout=60_000)
        expect(page.get_by_test_id("retrain")).to_be_disabled()
        expect(job).to_have_attribute("data-status", "published", timeout=120_000)
        expect(job).to_contain_text("was better and serves as version 2")
        expect(job.get_by_role("row")).to_have_count(3)  # MNIST and the examples, both with both versions' figures
        expect(job).to_contain_text("held back to measure on")
        expect(page.locator("#job polyline")).to_have_count(2)
        expect(page.locator("#versions .serves")).to_contain_text("Version 2", timeout=30_000)
        expect(page.locator("#kept-title")).to_contain_text("Waiting for a training: 0.")
        page.get_by_test_id("activate-1").click()
        expect(page.locator("#versions .serves")).to_contain_text("Version 1")
        page.unroute("**/retrain")
        page.get_by_test_id("retrain").click()
        expect(job).to_have_attribute("data-status", re.compile("queued|running"))
        page.locator("#cancel").click()
        expect(job).to_have_attribute("data-status", "cancelled", timeout=60_000)
        expect(job).to_contain_text("was cancelled")
