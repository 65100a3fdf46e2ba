"""Reads a request's body up to a limit."""

from starlette.requests import Request

from app.errors import BodyTooLarge


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as more than ``limit`` bytes are declared or have come."""
    refusal = BodyTooLarge(f"the body is larger than {limit:,} bytes; send fewer or smaller images")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise refusal
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise refusal
        chunks.append(chunk)
    return b"".join(chunks)
