"""The resource limits of this process: processor cores and memory."""

import math
import os
from pathlib import Path

# Files with a container's processor quota and its period: control groups, version 2 and 1.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
CFS = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")

# Files with a container's memory limit in bytes, in the same order.
MEMORY = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")


def cores() -> int:
    """Return the number of cores that this process may use.

    In a container, more threads than its quota of cores would only wait for one another.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_MAX.read_text().split() if CPU_MAX.exists() else (path.read_text() for path in CFS)
        return min(available, max(1, math.ceil(int(quota) / int(period))) if int(quota) > 0 else available)
    except (OSError, ValueError):  # no control groups, or no limit: "max"
        return available


def memory() -> float:
    """Return the container's memory limit in bytes, or infinity where there is none."""
    for path in MEMORY:
        try:
            return int(path.read_text())
        except (OSError, ValueError):  # no control groups, or no limit: "max"
            continue
    return math.inf
