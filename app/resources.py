"""How much of the machine this process may use."""

import math
import os
from pathlib import Path

# Where Linux tells a container how much processor time it may take in how long: control groups, version 2 and 1.
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
CFS = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")

# And how many bytes of memory.
MEMORY = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")


def cores() -> int:
    """Cores that this process may use. More threads than that would only wait for one another in a container."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_MAX.read_text().split() if CPU_MAX.exists() else (path.read_text() for path in CFS)
        return min(found, max(1, math.ceil(int(quota) / int(period))) if int(quota) > 0 else found)
    except (OSError, ValueError):  # no such limit here, or none set: "max"
        return found


def memory() -> float:
    """Bytes that a container may take; infinity where nothing limits it."""
    for path in MEMORY:
        try:
            return int(path.read_text())
        except (OSError, ValueError):  # no such limit here, or none set: "max"
            continue
    return math.inf
