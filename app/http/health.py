"""GET /health/live, /health/ready and /metrics."""

from starlette.requests import Request
from starlette.responses import Response

from app.http.replies import JSON, model, to_json
from app.http.state import services_of


async def alive(request: Request) -> Response:
    """Answers as long as the process can answer at all."""
    return Response(to_json({"status": "alive"}), media_type=JSON)


async def ready(request: Request) -> Response:
    """Answers 200 once a version is loaded and warm; before that the service does not accept connections."""
    return Response(to_json({"status": "ready", "model": model(services_of(request)["serving"].live)}), media_type=JSON)


async def metrics(request: Request) -> Response:
    """Requests, latencies, batch sizes, the version serving, and whether it is the one that should."""
    found = services_of(request)["metrics"]
    return Response(found.exposition(), media_type=found.content_type)


ENDPOINTS = {("GET", "/health/live"): alive, ("GET", "/health/ready"): ready, ("GET", "/metrics"): metrics}
