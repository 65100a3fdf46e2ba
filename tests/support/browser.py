"""A real browser for tests of the page, and what they do with it."""

import contextlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from benchmarks.browser import find_browser, open_browser

SCRIBBLE = [[(0.2, 0.2), (0.8, 0.8), (0.2, 0.7), (0.7, 0.2), (0.3, 0.5), (0.9, 0.5), (0.1, 0.4), (0.6, 0.9)]]


def launched() -> Iterator[Browser]:
    """For a fixture: the browser, or a skip that says what to install."""
    path = find_browser()
    if path is None:
        pytest.skip("needs a browser: apt-get install chromium, or set DIGITS_TEST_BROWSER to the path of one")
    with open_browser(path) as browser:
        yield browser


class Faults:
    """What a page must not do: write errors to the console, break its own policy, or call elsewhere."""

    def __init__(self, page: Page, url: str) -> None:
        self.found: list[str] = []
        # Parts of messages that a test brings about. The first one is on its looks at what was drawn.
        self.expected = ["willReadFrequently"]
        page.on("console", lambda message: self._add(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self._add(str(error)))
        page.on("request", lambda request: self._add(request.url) if not self._is_ours(request.url, url) else None)

    def _is_ours(self, url: str, own: str) -> bool:
        return url.startswith((own, "data:", "blob:"))

    def _add(self, message: str) -> None:
        if not any(part in message for part in self.expected):
            self.found.append(message)


@contextlib.contextmanager
def opened(browser: Browser, url: str, *, expect: tuple[str, ...] = (), **options: object) -> Iterator[Page]:
    """The page in a browser of its own, which must have had no faults at the end but those that are expected."""
    context = browser.new_context(**{"locale": "en-GB", **options})  # type: ignore[arg-type]
    page = context.new_page()
    faults = Faults(page, url)
    faults.expected += expect
    page.goto(url)
    try:
        yield page
        assert not faults.found, faults.found
    finally:
        context.close()


def drawn_at(page: Page, x: float, y: float) -> bool:
    """Whether there is ink on the paper at this place, in shares of its side."""
    return bool(
        page.evaluate(
            """async ([x, y]) => {
              await new Promise(requestAnimationFrame); // what is due is painted before
              await new Promise(requestAnimationFrame);
              const canvas = document.getElementById("canvas");
              const place = [x * canvas.width, y * canvas.height].map(Math.floor);
              return canvas.getContext("2d").getImageData(...place, 1, 1).data[3] > 127;
            }""",
            [x, y],
        )
    )


def touch(page: Page, points: list[tuple[float, float]]) -> None:
    """Move one finger over the window, in pixels, from when it comes to when it is lifted."""
    session = page.context.new_cdp_session(page)
    for i, (x, y) in enumerate(points):
        kind = "touchMove" if i else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()
