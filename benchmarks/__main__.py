"""``python -m benchmarks COMMAND``: long runs against other servers, under growing load, and against faults."""

import argparse
import signal
import sys

from benchmarks import (
    crowd,
    dialects,
    docker,
    drawing,
    engines,
    faults,
    limits,
    mutations,
    plot,
    reading,
    serving,
    stops,
    story,
    teaching,
    training,
)


def main() -> int:
    """Run one. Returns the exit status: 1 when something that must hold did not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (
        story,
        faults,
        crowd,
        docker,
        serving,
        stops,
        engines,
        limits,
        dialects,
        mutations,
        reading,
        training,
        plot,
        drawing,
        teaching,
    ):
        module.add_to(commands)
    options = parser.parse_args()
    # As on Ctrl-C, so that the servers that are being measured are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    held: bool = options.command(options)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
