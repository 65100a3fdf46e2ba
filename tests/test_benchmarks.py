"""What the benchmarks reckon with; the runs themselves are long."""

import asyncio
import py_compile
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.api.uploads import File, parse_many
from benchmarks import pictures, plot, pressure, serving, wrk
from benchmarks.measurement import Measurement, median
from benchmarks.peer import PEERS, SOURCES
from benchmarks.processes import Server, below, free_port
from benchmarks.table import markdown
from tests.support.paths import ROOT
from tests.support.processes import listens, runs
from tests.support.waiting import TIMEOUT_SECONDS, wait_for


def measurement(rate: float, p99: float = 2.0, errors: int = 0) -> Measurement:
    return Measurement(rate, p50=1.0, p99=p99, cpu=1.0, rss=100.0, pss=90.0, errors=errors, elsewhere=0.0)


def test_what_wrk_tells_is_understood() -> None:
    output = """Running 2s test @ http://127.0.0.1:8000/predict
  1 threads and 32 connections

{"replies": 1000, "refused": 100, "broken": 3, "seconds": 2.000000, "p50": 1.500, "p99": 4.250}
"""
    assert wrk.parse(output) == wrk.Report(rate=450.0, p50=1.5, p99=4.25, replies=1000, refused=100, broken=3)


def test_every_byte_comes_through_the_script() -> None:
    request = wrk.Request("/predict", bytes(range(256)), "image/png")
    body = next(line for line in wrk.script(request).splitlines() if line.startswith("wrk.body"))
    escapes = body.partition('"')[2].rstrip('"').split("\\")[1:]
    assert bytes(map(int, escapes)) == request.body
    assert 'wrk.method = "GET"' in wrk.script(wrk.Request("/health/live"))


def test_the_form_is_one_that_the_service_reads() -> None:
    files = [b"one", b"\r\n--digits"]
    body, content_type = wrk.form(*files)
    assert parse_many(body, content_type, 10) == [File(file, "image/png") for file in files]


def test_the_middle_of_rounds_adds_up_errors() -> None:
    rounds = [measurement(10, errors=1), measurement(30), measurement(20, errors=2)]
    assert median(rounds) == measurement(20, errors=3)


def test_numbers_stand_to_the_right() -> None:
    table = markdown(["form", "images/s", "digits"], [["28x28", "1,000", "-"], ["JPEG", "20 (30)", "1.5"]])
    assert table.splitlines() == [
        "| form | images/s | digits |",
        "| --- | --: | --: |",
        "| 28x28 | 1,000 | - |",
        "| JPEG | 20 (30) | 1.5 |",
    ]


def test_ratios_are_to_the_best_peer() -> None:
    medians = {
        ("ours", 32): measurement(4000, p99=5),
        ("ours, raw body", 32): measurement(5000),
        ("ours, 784 bytes", 32): measurement(6000),
        ("tutorial", 32): measurement(10),
        ("fastapi", 32): measurement(900, p99=20),
        ("ray", 32): measurement(1000, p99=50),
    }
    assert serving.ratios(medians) == [
        "at 32 connections: **4.00 times the best peer (ray)**",
        "at 32 connections: p99 5.00 ms, 0.10 times that of ray, 0.25 times the lowest (fastapi)",
        "at 32 connections: p50 1.00 ms, 1.00 times that of fastapi",
        "at 32 connections: 400.00 times the tutorial",
        "at 32 connections: raw body 1.25 times multipart",
        "at 32 connections: 784 bytes 1.50 times multipart",
    ]


def test_the_peers_are_those_that_have_a_folder() -> None:
    assert {peer.name for peer in PEERS} == {path.parent.name for path in SOURCES.glob("*/requirements.txt")}


@pytest.mark.parametrize("path", sorted(SOURCES.rglob("*.py")), ids=lambda path: path.parent.name)
def test_what_the_peers_run_compiles(path: Path, tmp_path: Path) -> None:
    py_compile.compile(str(path), cfile=str(tmp_path / "compiled"), doraise=True)


def test_what_a_server_started_is_counted_and_ended_with_it(tmp_path: Path) -> None:
    grandchild = "import time; sum(range(3_000_000)); open('there', 'w'); time.sleep(60)"
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {grandchild!r}])"
    program = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {child!r}]); time.sleep(60)"
    with Server([sys.executable, "-c", program], {}, tmp_path, free_port(), tmp_path / "log") as server:
        server.await_ready(lambda: (tmp_path / "there").exists() and len(server.processes()) == 2)
        assert server.cpu_seconds() > 0.05
        assert server.memory().rss > server.memory().pss > 1
        _, orphan = server.processes()
    assert not runs(orphan)


def test_told_to_end_it_leaves_no_server_behind() -> None:
    command = [sys.executable, "-m", "benchmarks", "limits", "--only", "start"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        wait_for(lambda: running.poll() is not None or any(map(listens, below(running.pid))), "a server")
        started = list(below(running.pid))
        running.terminate()
        assert running.wait(TIMEOUT_SECONDS) == 128 + signal.SIGTERM
    assert started
    assert not any(map(runs, started))


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no model')"]
    with (
        Server(command, {}, tmp_path, free_port(), tmp_path / "log") as server,
        pytest.raises(RuntimeError, match="it ended with status 1: no model"),
    ):
        server.await_ready(lambda: False)


def test_the_pressure_counts_every_status() -> None:
    """Against a server that accepts every second request, and breaks the connection now and then."""
    seen = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            assert await reader.readexactly(length) == b"digit"
            seen += 1
            if seen == 7:
                break
            status = b"200 OK" if seen % 2 else b"503 Service Unavailable"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def both() -> pressure.Outcome:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.to_thread(pressure.load, port, wrk.Request("/", b"digit", "text/plain"), 2, 0.3)

    outcome = asyncio.run(both())
    assert set(outcome.replies) == {200, 503}
    assert outcome.broken == 1
    assert sum(times.count for times in outcome.replies.values()) == seen - 1


def test_the_pictures_are_of_their_size() -> None:
    assert pictures.small(12).shape == (12, 28, 28)
    assert [len(picture) > 0 for picture in pictures.uploads().values()] == [True] * 5


def test_the_plot_is_of_the_figures_in_the_table(tmp_path: Path) -> None:
    page = plot.PAGE.read_text()
    columns, rows = plot.read_table(page)
    assert columns == ["1 connection", "32 connections", "128 connections"]
    for numbers, name in zip(
        rows.values(), ["ours", "fastapi", "mlserver", "ray", "bentoml", "litserve", "tutorial"], strict=True
    ):
        for column, number in zip(columns, numbers, strict=True):
            assert f"| {column.split()[0]} | {name} | {number:,} |" in page
    plot.draw(columns, rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
