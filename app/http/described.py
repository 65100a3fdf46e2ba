"""The endpoints of the short way as the framework's, for its page of documentation."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.http import examples, health, predictions, schemas

_TEXT = {"text/plain": {"example": 'digits_requests_total{method="POST",path="/predict",status="200"} 1.0'}}

_DESCRIPTIONS: dict[Any, dict[str, Any]] = {
    predictions.predict: {
        "summary": "Read one digit",
        "openapi_extra": examples.PREDICT,
        "responses": examples.PREDICTION,
    },
    predictions.predict_batch: {
        "summary": "Read many digits",
        "openapi_extra": examples.PREDICT_BATCH,
        "responses": examples.PREDICTIONS,
    },
    health.alive: {"summary": "Is the process alive?", "responses": {200: {"model": schemas.Status}}},
    health.ready: {"summary": "Can it predict?", "responses": {200: {"model": schemas.Status}}},
    health.metrics: {"summary": "Metrics for Prometheus", "responses": {200: {"content": _TEXT}}},
}


def _router(name: str, endpoints: Any) -> APIRouter:
    router = APIRouter(tags=[name])
    for (method, path), endpoint in endpoints.items():
        description = _DESCRIPTIONS[endpoint]
        router.add_api_route(path, endpoint, methods=[method], response_class=Response, **description)
    return router


PREDICTIONS = _router("predictions", predictions.ENDPOINTS)
HEALTH = _router("health", health.ENDPOINTS)
