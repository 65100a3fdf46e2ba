"""The admin token: what calls that change something must bring, and how it is known."""

import contextlib
import hashlib
import logging
import os
import secrets
import tempfile
from pathlib import Path

from app.settings import Settings

SHORTEST = 8  # characters; as the setting has it

_log = logging.getLogger("digits")


def expected(settings: Settings) -> bytes | None:
    """SHA-256 of the admin token: the one that was set, else the one that all server processes share.

    None where none is set and none can be kept; then every call that needs it is refused.
    """
    if settings.admin_token:
        return digest(settings.admin_token.get_secret_value().encode())
    try:
        token = _kept(settings.state)
    except OSError as error:
        _log.warning(
            f"there is no admin token ({error}); calls that need it are refused until DIGITS_ADMIN_TOKEN is set"
        )
        return None
    if len(token) < SHORTEST:
        _log.warning(f"{settings.state / 'token'} holds no admin token; remove it, and the next start makes one")
        return None
    return digest(token)


def _kept(folder: Path) -> bytes:
    """The token in ``folder``, made by the first process that looks for it. Raises OSError."""
    path = folder / "token"
    folder.mkdir(0o700, parents=True, exist_ok=True)
    if not path.exists():
        token = secrets.token_urlsafe(24)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".token-") as file:  # of mode 0600
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
            # A link appears whole or not at all, and of several processes that start together only one succeeds.
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
                _log.info(f"the admin token, made at this start and told this once: {token}")
                return token.encode()
    _log.info(f"the admin token is in {path.absolute()}")
    return path.read_bytes().strip()


def digest(token: bytes) -> bytes:
    """What is kept of a token in memory, and compared."""
    return hashlib.sha256(token).digest()
