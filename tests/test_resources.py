"""The cores and the memory of a container, and what the service makes of them."""

import os
from pathlib import Path

import pytest

from app import resources, server, settings

CORES = 64  # of the host


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the files in which the kernel tells a container's limits, of both kinds of control groups."""
    monkeypatch.setattr(resources, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(resources, "CFS", (tmp_path / "quota", tmp_path / "period"))
    monkeypatch.setattr(resources, "MEMORY", (tmp_path / "memory.max", tmp_path / "limit"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)), raising=False)
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    """These files, and no others."""
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_text(content)


def test_threads_follow_a_containers_limit(cgroup: Path) -> None:
    for files, expected in (
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, CORES),
        ({"quota": "300000\n", "period": "100000\n"}, 3),
        ({"quota": "-1\n", "period": "100000\n"}, CORES),
        ({}, CORES),
    ):
        write(cgroup, files)
        assert settings.Settings().threads == expected, files


def test_no_more_processes_than_fit_into_a_containers_memory(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for files, expected in (
        ({"memory.max": "536870912\n"}, 1),
        ({"memory.max": "100000000\n"}, 1),
        ({"memory.max": "max\n"}, CORES),
        ({"limit": "1073741824\n"}, 2),
        ({"limit": "9223372036854771712\n"}, CORES),
        ({}, CORES),
    ):
        write(cgroup, files)
        assert server.default_workers() == expected, files
