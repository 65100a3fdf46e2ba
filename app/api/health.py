"""The routes GET /health/live, /health/ready and /metrics."""

from typing import Any

from fastapi import APIRouter, Response

from app.api import examples, schemas
from app.api.replies import model_name
from app.errors import Stopping
from app.services import ServicesDep

router = APIRouter(tags=["health"])

_TEXT = {"text/plain": {"example": 'digits_requests_total{method="POST",path="/predict",status="200"} 1.0'}}


@router.get(
    "/health/live", summary="Is the process alive?", response_model=schemas.Status, response_model_exclude_none=True
)
async def live() -> Any:
    """Answers 200 as long as the process can answer at all."""
    return {"status": "alive"}


@router.get(
    "/health/ready",
    summary="Can it predict?",
    response_model=schemas.Status,
    responses=examples.failures(Stopping()),
)
async def ready(services: ServicesDep) -> Any:
    """Answers 200 while the service can predict, and 503 while it is stopping.

    Until a version is loaded, the service does not accept connections.
    """
    if services.stopping.is_set():
        raise Stopping()
    return {"status": "ready", "model": model_name(services.manager.model)}


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response, responses={200: {"content": _TEXT}})
def metrics(services: ServicesDep) -> Response:
    """Requests, latencies, batch sizes, rejections, the version that serves and whether it is the one in CURRENT."""
    return Response(services.metrics.exposition(), media_type=services.metrics.content_type)
