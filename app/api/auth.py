"""The admin token: required by calls that change something or show people's data."""

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Unauthorized
from app.services import ServicesDep
from app.settings import MIN_TOKEN_LENGTH, Settings

_bearer = HTTPBearer(
    auto_error=False, description="DIGITS_ADMIN_TOKEN, or the content of the file `token` in DIGITS_STATE."
)

_log = logging.getLogger("digits")


async def _check(
    services: ServicesDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Check the token of a request.

    Raises:
        Unauthorized: It is missing or wrong. The text is the same for both.
    """
    digest = _digest((credentials.credentials if credentials else "").encode())
    if services.admin_digest is None or not hmac.compare_digest(digest, services.admin_digest):
        raise Unauthorized("this call needs the admin token; send it as `Authorization: Bearer <token>`")


# For a route's ``dependencies``. Such a route reads its body with ``BodyReader``: FastAPI would read a body that is
# declared as a parameter before it checks the token.
ADMIN = Depends(_check)


def load_admin_digest(settings: Settings) -> bytes | None:
    """Return the digest of the admin token: of DIGITS_ADMIN_TOKEN, else of the file ``token`` in DIGITS_STATE.

    The file is created if it does not exist.

    Returns:
        The SHA-256 of the token. None if none is set and the file cannot be used; calls that need it are then refused.
    """
    if settings.admin_token:
        return _digest(settings.admin_token.get_secret_value().encode())
    path = settings.state / "token"
    try:
        token = _read_or_create(path)
    except OSError as error:
        _log.warning(
            f"there is no admin token ({error}); calls that need it are refused until DIGITS_ADMIN_TOKEN is set"
        )
        return None
    if len(token) < MIN_TOKEN_LENGTH:
        _log.warning(f"{path} holds no admin token; remove it, and the next start creates a new one")
        return None
    return _digest(token)


def _read_or_create(path: Path) -> bytes:
    """Return the token in a file, which the first process creates.

    Raises:
        OSError: The file cannot be read or created.
    """
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    if not path.exists():
        token = secrets.token_urlsafe(24)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".token-") as file:  # with mode 0600
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
            # Linking is atomic, and of several processes that start at once only one succeeds.
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
                if sys.stderr.isatty():  # not into a log, which is collected and kept
                    print(f"the admin token, shown this once: {token}", file=sys.stderr)
    _log.info(f"the admin token is in {path.absolute()}")
    return path.read_bytes().strip()


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
