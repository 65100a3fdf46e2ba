"""Reads a request's body up to a limit."""

from starlette.requests import ClientDisconnect, Request

from app.errors import BodyTooLarge


async def read_body(request: Request, limit: int, advice: str = "send fewer or smaller images") -> bytes:
    """The whole body. Raises BodyTooLarge as soon as more than ``limit`` bytes are declared or have come."""
    refusal = BodyTooLarge(f"the body is larger than {limit:,} bytes; {advice}")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise refusal
    chunks, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise refusal
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
