"""The admin token: what calls that change or show people's data must bring, and where it comes from."""

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
    """Raises Unauthorized, in the same words whatever is missing or wrong."""
    given = _digest((credentials.credentials if credentials else "").encode())
    if services.admin_digest is None or not hmac.compare_digest(given, services.admin_digest):
        raise Unauthorized("this call needs the admin token; send it as `Authorization: Bearer <token>`")


# For a route's ``dependencies``. Such a route reads its body itself (``BodyReader``): FastAPI would read a body that is
# declared as a parameter before it looks at the token.
ADMIN = Depends(_check)


def load_admin_digest(settings: Settings) -> bytes | None:
    """The digest of the admin token: of the one that is set, else of the one in the state folder, made if need be.

    Returns:
        Its SHA-256. None where none is set and none can be kept; then every call that needs it is refused.
    """
    if settings.admin_token:
        return _digest(settings.admin_token.get_secret_value().encode())
    path = settings.state / "token"
    try:
        token = _read_or_make(path)
    except OSError as error:
        _log.warning(
            f"there is no admin token ({error}); calls that need it are refused until DIGITS_ADMIN_TOKEN is set"
        )
        return None
    if len(token) < MIN_TOKEN_LENGTH:
        _log.warning(f"{path} holds no admin token; remove it, and the next start makes one")
        return None
    return _digest(token)


def _read_or_make(path: Path) -> bytes:
    """The token in a file, made by the first process that looks for it. Raises OSError."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    if not path.exists():
        token = secrets.token_urlsafe(24)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".token-") as file:  # of mode 0600
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
            # A link appears whole or not at all, and of several processes that start together only one succeeds.
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
                if sys.stderr.isatty():  # for people only: a log is collected and kept
                    print(f"the admin token, shown this once: {token}", file=sys.stderr)
    _log.info(f"the admin token is in {path.absolute()}")
    return path.read_bytes().strip()


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
