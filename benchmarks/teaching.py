"""The story of the page, told in a real browser: draw a mirrored seven, teach twenty, retrain, see it read, go back."""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, expect

from benchmarks.browser import Strokes, answer, clear, draw, find_browser, open_browser
from benchmarks.drawing import placed, shapes
from benchmarks.service import TOKEN, Service

TAUGHT = 20
TRIED = 10
MAX_TRAINING_SECONDS = 1800


def add_to(commands: Any) -> None:
    """The command line of this one."""
    parser = commands.add_parser("teaching", help=__doc__, description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DIGITS_DATA"), help="MNIST; default: DIGITS_DATA")
    parser.add_argument("--images", type=int, help="train with so many MNIST images at most; default: all")
    parser.add_argument("--pictures", type=Path, help="folder for screenshots")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Tell the story; False where it ends otherwise."""
    path = find_browser()
    if path is None:
        print("there is no browser: apt-get install chromium")
        return False
    with tempfile.TemporaryDirectory(prefix="digits-teaching-") as folder, open_browser(path) as browser:
        service = Service(Path(folder), options.data)
        service.start()
        try:
            return _tell(browser, service.url, options.images, options.pictures)
        finally:
            service.kill()


def _tell(browser: Browser, url: str, images: int | None, pictures: Path | None) -> bool:
    page = browser.new_page(viewport={"width": 1180, "height": 900})
    page.goto(url)
    page.get_by_test_id("token").fill(TOKEN)
    sevens = list(itertools.islice(mirrored_sevens(), TAUGHT + TRIED))
    tried = sevens[TAUGHT:]
    before = _read(page, tried)
    print(f"version 1 reads {before} of {TRIED} mirrored sevens")
    clear(page)
    for count, strokes in enumerate(sevens[:TAUGHT], 1):
        draw(page, strokes)  # on a new paper after the one before was taught
        page.get_by_test_id("teach-7").click()
        expect(page.locator("#corrections li")).to_have_count(count)
    _photograph(page, pictures, "taught")
    if images:
        page.route("**/retrain", lambda route: route.continue_(post_data={"images": images}))
    started = time.monotonic()
    page.get_by_test_id("retrain").click()
    job = page.get_by_test_id("job")
    expect(page.locator("#job path")).not_to_have_count(0, timeout=1000 * MAX_TRAINING_SECONDS)
    _photograph(page, pictures, "training")
    over = page.locator("#job:is([data-status=published], [data-status=rejected], [data-status=failed])")
    over.wait_for(timeout=1000 * MAX_TRAINING_SECONDS)
    seconds = time.monotonic() - started
    print(f"the job is {job.get_attribute('data-status')} after {seconds:.0f} s")
    expect(page.locator("#versions .serves")).to_contain_text("Version 2", timeout=60_000)
    after = _read(page, tried)
    _photograph(page, pictures, "published")
    print(f"version 2 reads {after} of {TRIED}")
    page.get_by_test_id("activate-1").click()
    expect(page.locator("#versions .serves")).to_contain_text("Version 1")
    back = _read(page, tried)
    print(f"version 1, let serve again, reads {back}")
    return after > before and after >= 0.8 * TRIED and back == before


def mirrored_sevens() -> Iterator[Strokes]:
    """Sevens in ten shapes, mirrored, each a little different in size, place and line."""
    random = np.random.default_rng(7)
    for strokes in itertools.cycle(list(shapes(7))):
        mirrored = [[(1 - x, y) for x, y in stroke] for stroke in strokes]
        left = min(x for stroke in mirrored for x, _ in stroke)
        moved = [[(x - left, y) for x, y in stroke] for stroke in mirrored]
        x, y = random.uniform(0.3, 0.7, 2)
        found = placed(moved, random.uniform(0.5, 0.75), (float(x), float(y)))
        yield [[(x + random.normal(0, 0.006), y + random.normal(0, 0.006)) for x, y in stroke] for stroke in found]


def _read(page: Page, drawings: list[Strokes]) -> int:
    """How many of the drawings the page reads as a seven."""
    right = 0
    for strokes in drawings:
        clear(page)
        draw(page, strokes)
        right += answer(page) == ("7", "true")
    return right


def _photograph(page: Page, folder: Path | None, name: str) -> None:
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=True)
