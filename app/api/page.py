"""GET / and the files of the page, which lie in ``app/page/``."""

import gzip
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

FOLDER = Path(__file__).parent.parent / "page"

HTML = "text/html"
MEDIA_TYPES = {".css": "text/css", ".html": HTML, ".js": "text/javascript", ".svg": "image/svg+xml"}

# Nothing comes from elsewhere, and nothing that stands in the page itself runs.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# A name that has a digest of the content in it never stands for anything else.
FOREVER = "public, max-age=31536000, immutable"

# How a file of the page names another: "./canvas.js" in a script, "./page.css" in the HTML.
_REFERENCE = re.compile(r'"\./([a-z]+\.(?:css|js|svg))"')

_DIGEST_LENGTH = 12


def routes(folder: Path = FOLDER) -> list[Route]:
    """The routes of the page. The files are read and named by their content now, once."""
    names: dict[str, str] = {}
    found: dict[str, _File] = {}

    def publish(name: str) -> str:
        """The name with the digest of a file. What the file refers to comes first, as its digest depends on it."""
        if name not in names:
            content = _refer(folder / name, publish)
            path = Path(name)
            names[name] = f"{path.stem}-{hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]}{path.suffix}"
            found[names[name]] = _File(content, MEDIA_TYPES[path.suffix], FOREVER)
        return names[name]

    page = _File(_refer(folder / "index.html", lambda name: "page/" + publish(name)), HTML, "no-cache", vary="Accept")

    async def root(request: Request) -> Response:
        if _takes_html(request.headers.get("accept", "")):
            return page.response(request)
        return JSONResponse({"status": "alive"}, headers={"Vary": "Accept"})

    async def file(request: Request) -> Response:
        if named := found.get(request.path_params["name"]):
            return named.response(request)
        raise HTTPException(404)

    return [Route("/", root), Route("/page/{name}", file)]


def _refer(path: Path, published: Callable[[str], str]) -> bytes:
    """The content of a file, with the files that it names under the names that they are published as."""
    relative = "" if path.suffix == ".html" else "./"
    return _REFERENCE.sub(lambda match: f'"{relative}{published(match[1])}"', path.read_text("utf-8")).encode()


class _File:
    """A file as it is sent, also compressed."""

    def __init__(self, content: bytes, media_type: str, caching: str, *, vary: str = "") -> None:
        self.vary = ", ".join(filter(None, (vary, "Accept-Encoding")))
        self._content, self._compressed = content, gzip.compress(content, mtime=0)
        self._media_type = f"{media_type}; charset=utf-8"
        self._headers = {"Cache-Control": caching, "Vary": self.vary, **SECURITY_HEADERS}

    def response(self, request: Request) -> Response:
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers = self._headers | {"Content-Encoding": "gzip"}
            return Response(self._compressed, headers=headers, media_type=self._media_type)
        return Response(self._content, headers=self._headers, media_type=self._media_type)


def _takes_html(accept: str) -> bool:
    """Whether an Accept header names text/html. Programs send ``*/*``, or nothing."""
    for media_range in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in media_range.split(";"))
        refused = any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
        if media_type == HTML and not refused:
            return True
    return False
