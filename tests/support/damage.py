"""What can happen to the files of a version: each makes a function that does it to a version's folder."""

from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def flip_bit(name: str, share: float = 0.5) -> Damage:
    """A bit of a file changes, at this share of its length."""

    def damage(version: Path) -> None:
        content = bytearray((version / name).read_bytes())
        content[int(share * (len(content) - 1))] ^= 1
        (version / name).write_bytes(content)

    return damage


def remove(name: str) -> Damage:
    """A file is gone."""
    return lambda version: (version / name).unlink()


def empty(name: str) -> Damage:
    """A file has lost its content."""

    def damage(version: Path) -> None:
        (version / name).write_bytes(b"")

    return damage


def halve(name: str) -> Damage:
    """A file was cut in the middle."""

    def damage(version: Path) -> None:
        content = (version / name).read_bytes()
        (version / name).write_bytes(content[: len(content) // 2])

    return damage


def lengthen(name: str) -> Damage:
    """A file has a byte more."""

    def damage(version: Path) -> None:
        (version / name).write_bytes((version / name).read_bytes() + b"\0")

    return damage


def write(name: str, content: str) -> Damage:
    """A file has another content."""

    def damage(version: Path) -> None:
        (version / name).write_text(content)

    return damage
