"""A real browser on the service's page: Debian's Chromium, driven by Playwright."""

import contextlib
import os
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, Page, sync_playwright

# Strokes of points, x and y as shares of the side of the paper.
Strokes = list[list[tuple[float, float]]]

# The sandbox needs rights that a container does not give; the only page is our own.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """The path of a browser that is installed, or None."""
    return os.environ.get("DIGITS_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def open_browser(path: str) -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def draw(page: Page, strokes: Strokes) -> None:
    """Draw on the paper with the mouse, through real pointer events."""
    page.get_by_test_id("canvas").scroll_into_view_if_needed()
    box = page.get_by_test_id("canvas").bounding_box()
    assert box
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def clear(page: Page) -> None:
    """Empty the paper."""
    if page.get_by_test_id("clear").is_enabled():
        page.get_by_test_id("clear").click()


def answer(page: Page) -> tuple[str, str]:
    """The digit that the page shows, and whether it is accepted, once the newest drawing is read and explained."""
    page.locator("[data-testid=answer][aria-busy=false]").wait_for()
    found = page.get_by_test_id("answer")
    return found.get_attribute("data-digit") or "", found.get_attribute("data-accepted") or ""
