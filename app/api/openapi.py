"""Builds the OpenAPI document, including the Starlette routes, which FastAPI does not document itself."""

from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.utils import get_openapi

from app.api import dialect_docs, examples, open_inference, predictions, tf_serving


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document of an app. It is built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=[*_predictions().routes, *app.routes, *_dialects().routes],
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


def _dialects() -> APIRouter:
    """Return the Starlette routes of the client dialects as FastAPI routes, likewise."""
    router = APIRouter(default_response_class=Response)
    for path, request in zip(open_inference.MODEL_PATHS, dialect_docs.INFER_REQUESTS, strict=True):
        router.add_api_route(
            f"{path}/infer",
            open_inference.infer,
            methods=["POST"],
            tags=["Open Inference Protocol v2"],
            summary="Read digits",
            openapi_extra=request,
            responses=dialect_docs.INFER,
        )
    for path, request, parameters in zip(
        tf_serving.MODEL_PATHS, dialect_docs.PREDICT_REQUESTS, dialect_docs.V1_PATHS, strict=True
    ):
        router.add_api_route(
            f"{path}:predict",
            tf_serving.predict,
            methods=["POST"],
            tags=["TensorFlow Serving v1"],
            summary="Read digits",
            openapi_extra=request,
            responses=dialect_docs.PREDICT,
        )
        for verb in ("classify", "regress"):
            router.add_api_route(
                f"{path}:{verb}",
                tf_serving.refuse_classify,
                methods=["POST"],
                tags=["TensorFlow Serving v1"],
                summary="Always refused",
                openapi_extra=parameters,
                responses=dialect_docs.CLASSIFY,
            )
    return router
