"""``python -m benchmarks COMMAND``: long runs against other servers, against faults, and of all that grows."""

import argparse
import signal
import sys

from benchmarks import crowd, docker, drawing, engines, faults, limits, reading, serving, stops, story, training


def main() -> int:
    """Run one of them; its status is 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (story, faults, crowd, docker, serving, stops, engines, limits, reading, training, drawing):
        module.add_to(commands)
    options = parser.parse_args()
    # Like Ctrl-C: the servers that are being measured end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    held: bool = options.command(options)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
