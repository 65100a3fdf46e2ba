"""How long a thread keeps the interpreter from the others."""

import contextlib
import sys
from collections.abc import Iterator

# Seconds that a thread works in Python before it lets another one do so. With Python's own number, 0.005, what is made
# of many short calls, as the load of a version or a request, would wait that long after each of them.
SHORT = 0.0005


@contextlib.contextmanager
def short() -> Iterator[None]:
    """While one thread imports and others have something to do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SHORT)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
