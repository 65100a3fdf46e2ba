"""Builds the OpenAPI document, including the Starlette routes, which FastAPI does not document itself."""

from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.utils import get_openapi

from app.api import examples, predictions


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document of an app. It is built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=[*_predictions().routes, *app.routes],
        )
        app.openapi_schema = examples.add_replies(document)
    return app.openapi_schema


def _predictions() -> APIRouter:
    """Return the routes of ``api.predictions`` as FastAPI routes, of which only the documentation is used."""
    router = APIRouter(tags=["predictions"])
    router.add_api_route(
        "/predict",
        predictions.predict,
        methods=["POST"],
        summary="Read one digit",
        response_class=Response,
        openapi_extra=examples.PREDICT,
        responses=examples.PREDICTION,
    )
    router.add_api_route(
        "/predict/batch",
        predictions.predict_batch,
        methods=["POST"],
        summary="Read many digits",
        response_class=Response,
        openapi_extra=examples.PREDICT_BATCH,
        responses=examples.PREDICTIONS,
    )
    return router
