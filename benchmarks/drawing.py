"""Digits drawn on the page with real pointer events: ten shapes of each, at three sizes and nine places.

At each size and place at least 97 of the 100 drawings must be read correctly. And how long it takes from the last point
of a stroke to new bars.
"""

import argparse
import asyncio
import itertools
import math
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import CDPSession, Page, async_playwright

from benchmarks.browser import ARGUMENTS, Strokes, find_browser
from benchmarks.service import Service

SHAPES_OF_EACH = 10
SIZES = (0.25, 0.45, 0.75)  # height of the digit, as a share of the paper's side
PLACES = tuple((x, y) for y in (0.0, 0.5, 1.0) for x in (0.0, 0.5, 1.0))  # the upper left corner first
MARGIN = 0.04  # of the side, so that the pen stays on the paper
MIN_RIGHT = 97

LATENCY_STROKES = 60
MAX_EXTRA_MS = 40


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[tuple[float, float]]:
    count = max(4, round(abs(end - start) / 20))
    angles = np.deg2rad(np.linspace(start, end, count + 1))
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


# In a box of 100 by 140, y downwards. Several ways to write each digit.
_WAYS: dict[int, list[Strokes]] = {
    0: [[_arc(50, 70, 42, 66, -90, 270)], [_arc(50, 70, 30, 66, -70, 300)], [_arc(50, 70, 44, 64, -60, -430)]],
    1: [
        [[(50, 4), (50, 136)]],
        [[(28, 34), (54, 6), (52, 134)]],
        [[(26, 36), (52, 6), (52, 132)], [(24, 132), (80, 132)]],
    ],
    2: [
        [[*_arc(48, 42, 38, 36, 195, 385), (12, 132), (92, 130)]],
        [[*_arc(48, 40, 36, 36, 190, 400), (40, 112), *_arc(26, 120, 14, 12, -40, -300), (60, 128), (94, 122)]],
        [[(14, 30), (40, 8), (74, 18), (80, 48), (14, 132), (88, 134)]],
    ],
    3: [
        [[*_arc(44, 38, 36, 32, 200, 440), *_arc(44, 100, 42, 34, -80, 160)]],
        [[(14, 8), (84, 8), (46, 58), *_arc(46, 96, 40, 38, -80, 160)]],
        [_arc(46, 36, 34, 30, 210, 430), _arc(46, 100, 40, 34, -75, 150)],
    ],
    4: [
        [[(58, 4), (8, 92), (94, 90)], [(66, 50), (62, 136)]],
        [[(20, 8), (14, 74), (84, 72)], [(78, 6), (74, 136)]],
        [[(70, 136), (72, 6), (10, 90), (96, 90)]],
    ],
    5: [
        [[(28, 8), (22, 62), *_arc(44, 94, 42, 40, -120, 140)], [(28, 8), (86, 6)]],
        [[(84, 8), (26, 8), (20, 62), *_arc(44, 94, 42, 40, -125, 145)]],
        [[(80, 10), (32, 10), (24, 64), (62, 56), (84, 90), (62, 130), (16, 126)]],
    ],
    6: [
        [[*_arc(86, 86, 76, 84, 275, 200), *_arc(48, 96, 38, 38, 180, 520)]],
        [[(66, 6), (30, 54), *_arc(50, 98, 36, 36, 190, 540)]],
        [[(80, 14), (46, 12), (16, 62), (14, 100), *_arc(50, 100, 36, 34, 150, -180)]],
    ],
    7: [
        [[(10, 10), (90, 8), (44, 136)]],
        [[(10, 10), (90, 8), (40, 136)], [(30, 72), (88, 68)]],
        [[(12, 24), (14, 8), (88, 10), (60, 60), (52, 136)]],
    ],
    8: [
        [[*_arc(50, 38, 30, 30, 90, -270), *_arc(50, 102, 38, 34, -90, 270)]],
        [[(78, 22), *_arc(50, 36, 28, 28, -40, -240), (72, 84), *_arc(50, 104, 34, 30, -20, 200), (72, 56), (78, 26)]],
        [_arc(50, 38, 28, 30, 0, 360), _arc(50, 102, 36, 34, -90, 270)],
    ],
    9: [
        [[*_arc(50, 42, 36, 36, 0, -360), (84, 90), (78, 136)]],
        [[*_arc(50, 40, 34, 34, -10, -360), (82, 96), (58, 130), (26, 128)]],
        [[*_arc(48, 40, 34, 36, -20, -340), (82, 30), (62, 136)]],
    ],
}


def shapes(digit: int) -> Iterator[Strokes]:
    """Ten shapes of a digit, as wide and as slanted as hands make them: in a box of which the longer side is 1."""
    random = np.random.default_rng(digit)
    for number in range(SHAPES_OF_EACH):
        ways = _WAYS[digit]
        slant, turn = random.uniform(-0.12, 0.3), math.radians(random.uniform(-7, 7))
        width = random.uniform(0.75, 1.1)
        found = []
        for stroke in ways[number % len(ways)]:
            points = np.array(stroke) / 140 * (width, 1)
            points[:, 0] -= slant * points[:, 1]
            points @= np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
            found.append(points + random.normal(0, 0.006, points.shape))
        low = np.concatenate(found).min(axis=0)
        longer = (np.concatenate(found).max(axis=0) - low).max()
        yield [[(float(x), float(y)) for x, y in (points - low) / longer] for points in found]


def placed(strokes: Strokes, size: float, place: tuple[float, float]) -> Strokes:
    """A shape on the paper: so large, and from 0 (left, top) to 1 (right, bottom) so far along the free space."""
    points = np.array([point for stroke in strokes for point in stroke]) * size
    free = 1 - 2 * MARGIN - points.max(axis=0)
    left, top = MARGIN + free * place
    return [[(left + x * size, top + y * size) for x, y in stroke] for stroke in strokes]


def add_to(commands: Any) -> None:
    """The command line of this one."""
    parser = commands.add_parser("drawing", help=__doc__.splitlines()[0], description=__doc__)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Draw all of them; False where one of the sizes and places, or the time, does not hold."""
    browser = find_browser()
    if browser is None:
        print("there is no browser: apt-get install chromium")
        return False
    with tempfile.TemporaryDirectory(prefix="digits-drawing-") as folder:
        service = Service(Path(folder), Path(folder), settings={"DIGITS_WORKER": "external"})
        service.start()
        try:
            return asyncio.run(_run(browser, service.url))
        finally:
            service.kill()


async def _run(path: str, url: str) -> bool:
    right, accepted, wrong = Counter[Any](), 0, list[str]()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 480, "height": 800})
        await page.goto(url)
        pen = await page.context.new_cdp_session(page)
        for size, place in itertools.product(SIZES, PLACES):
            for digit in range(10):
                for number, strokes in enumerate(shapes(digit)):
                    found, is_accepted = await _read(page, pen, placed(strokes, size, place))
                    accepted += is_accepted
                    if found == str(digit):
                        right[size, place] += 1
                    else:
                        wrong.append(f"{digit} (shape {number}) as {found} at {size}, {place}")
            print(f"size {size:.2f}, place {place}: {right[size, place]} of 100 right", flush=True)
        request, extra = await _measure_latency(page, pen)
        await browser.close()
    total = 100 * len(SIZES) * len(PLACES)
    print(f"{right.total():,} of {total:,} right, {right.total() / total:.2%}; {accepted / total:.2%} accepted")
    print(f"fewest at one size and place: {min(right.values())} of 100")
    print(*wrong, sep="\n")
    print(f"from the last point to new bars: median {request + extra:.1f} ms, {extra:.1f} ms more than the request")
    return min(right.values()) >= MIN_RIGHT and extra < MAX_EXTRA_MS


async def _read(page: Page, pen: CDPSession, strokes: Strokes) -> tuple[str, bool]:
    """The digit that the page shows for a drawing, and whether it is accepted."""
    await page.keyboard.press("Escape")  # empties the paper
    await _draw(page, pen, strokes)
    await page.locator("[data-testid=answer][aria-busy=false]").wait_for()
    answer = page.get_by_test_id("answer")
    return await answer.get_attribute("data-digit") or "", await answer.get_attribute("data-accepted") == "true"


async def _draw(page: Page, pen: CDPSession, strokes: Strokes) -> None:
    """Draw with the mouse. The events do not wait for one another, so that the browser coalesces them like a hand's."""
    box = await page.get_by_test_id("canvas").bounding_box()
    assert box
    events = []
    for stroke in strokes:
        for i, (x, y) in enumerate(stroke):
            events.append((x, y, "mouseMoved" if i else "mousePressed"))
        events.append((*stroke[-1], "mouseReleased"))
    held = {"button": "left", "buttons": 1, "clickCount": 1}
    await asyncio.gather(
        *(
            pen.send(
                "Input.dispatchMouseEvent",
                {"type": kind, "x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], **held},
            )
            for x, y, kind in events
        )
    )


async def _measure_latency(page: Page, pen: CDPSession) -> tuple[float, float]:
    """Medians, in ms: of the request that brings the answer to the last point, and of what comes on top of it."""
    await page.evaluate("""() => {
      window.last = 0;
      window.bars = [];
      document.getElementById("canvas").addEventListener("pointermove", (event) => (window.last = event.timeStamp));
      const seen = () => window.bars.push(performance.now());
      new MutationObserver(seen).observe(document.getElementById("bars"), {subtree: true, attributes: true});
    }""")
    requests, extras = [], []
    for number in range(LATENCY_STROKES):
        await page.keyboard.press("Escape")
        await page.evaluate("() => { window.bars = []; performance.clearResourceTimings(); }")
        *_, strokes = itertools.islice(shapes(number % 10), 1 + number // 10)
        await _draw(page, pen, placed(strokes, 0.75, (0.5, 0.5)))
        await page.locator("[data-testid=answer][aria-busy=false]").wait_for()
        last, bars, entries = await page.evaluate("""() => [window.last, window.bars,
          performance.getEntriesByType("resource").filter((entry) => entry.name.endsWith("/predict"))
          .map((entry) => [entry.startTime, entry.responseEnd])]""")
        start, end = next(((start, end) for start, end in entries if start >= last), (0, 0))
        shown = next((time for time in bars if time >= end), None)
        if start and shown:
            requests.append(end - start)
            extras.append(shown - last - (end - start))
    return statistics.median(requests), statistics.median(extras)
