"""Who may call what changes something: whoever brings the admin token."""

import hmac
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Unauthorized
from app.http.dependencies import Services
from app.http.token import digest

_bearer = HTTPBearer(auto_error=False, description="DIGITS_ADMIN_TOKEN, or what the log told at the first start.")


async def _check(
    services: Services, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Raises Unauthorized, in the same words whatever is missing or wrong."""
    expected = services["admin"]
    given = digest((credentials.credentials if credentials else "").encode())
    if expected is None or not hmac.compare_digest(given, expected):
        raise Unauthorized("this call needs the admin token; send it as `Authorization: Bearer <token>`")


# For a route's ``dependencies``. Such a route reads its body itself (Bodies.read): a body that is declared as
# a parameter would be read before the token is looked at.
ADMIN = Depends(_check)
