"""GET /health/live, /health/ready and /metrics."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.http import schemas
from app.http.dependencies import Services

router = APIRouter(tags=["health"])


@router.get(
    "/health/live", summary="Is the process alive?", response_model=schemas.Status, response_model_exclude_none=True
)
async def alive() -> Any:
    """Answers as long as the process can answer at all."""
    return {"status": "alive"}


@router.get("/health/ready", summary="Can it predict?", response_model=schemas.Status)
async def ready(services: Services) -> Any:
    """Answers 200 once a version is loaded and warm; before that the service does not accept connections."""
    card = services["serving"].live.card
    return {"status": "ready", "model": {"name": card.name, "version": card.version}}


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/plain": {"example": 'digits_requests_total{method="POST",path="/predict",status="200"} 1.0'}
            }
        }
    },
)
async def metrics(services: Services) -> Response:
    """Requests, latencies, batch sizes, the version serving, and whether it is the one that should."""
    found = services["metrics"]
    return Response(found.exposition(), media_type=found.content_type)
