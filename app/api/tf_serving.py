"""The routes of TensorFlow Serving's REST API v1, with what KServe's v1 adds to it.

``tf_serving_messages`` has the wire format, ``dataplane`` computes the answers.
"""

from fastapi import APIRouter, Request, Response

from app.api import dialect_docs
from app.api.dataplane import predict_many
from app.api.dialects import CallRoute, add_get_routes, json_reply, read_message, respond
from app.api.tf_serving_messages import parse_predict, signature_def, write_predict
from app.errors import MalformedBody, Stopping, VersionNotFound
from app.inference.manager import LoadedModel
from app.services import ServicesDep, model_of, services_of

# The label of the version that serves.
STABLE = "stable"

MODEL_PATHS = (
    "/v1/models/{model:name}",
    "/v1/models/{model:name}/versions/{version:name}",
    "/v1/models/{model:name}/labels/{label:name}",
)


def served_model(request: Request) -> LoadedModel | None:
    """Return the version that serves, or None if the path names another model, version or label.

    Raises:
        MalformedBody: The version is no integer.
    """
    model, parameters = model_of(request), request.path_params
    version, label = parameters.get("version", ""), parameters.get("label", STABLE)
    if version and not (version.isascii() and version.isdigit()):
        raise MalformedBody(f"Malformed request: {request.method} {request.scope['path']}; a version is an integer")
    means_it = (
        parameters["model"] == model.manifest.name
        and (not version or version.lstrip("0") == str(model.manifest.version))
        and label == STABLE
    )
    return model if means_it else None


def _found_model(request: Request) -> LoadedModel:
    """Return the version for a call about a model.

    Raises:
        VersionNotFound: It does not serve; the text has TensorFlow Serving's words.
    """
    if model := served_model(request):
        return model
    name = request.path_params["model"]
    if version := request.path_params.get("version"):
        raise VersionNotFound(f"Could not find version {version:.20} of model {name:.80}")
    if label := request.path_params.get("label"):
        raise VersionNotFound(f"Could not find label {label:.80} of model {name:.80}")
    raise VersionNotFound(f"Could not find any versions of model {name:.80}")


def _servable(request: Request) -> LoadedModel:
    """Return the version for a prediction.

    Raises:
        VersionNotFound: It does not serve; the text has TensorFlow Serving's words.
    """
    if model := served_model(request):
        return model
    name = request.path_params["model"]
    which = request.path_params.get("version") or request.path_params.get("label")
    asked = f"Specific({name:.80}, {which:.80})" if which else f"Latest({name:.80})"
    raise VersionNotFound(f"Servable not found for request: {asked}")


async def predict(request: Request) -> Response:
    """Reads the digit on each image.

    Send images in rows, `{"instances": […]}`, or in a column, `{"inputs": […]}`. An image has the shape `[28, 28]`,
    `[28, 28, 1]`, `[1, 28, 28]` or `[784]`. Floats run from 0 (background) to 1 (foreground). An image whose numbers
    are all integers, of which one exceeds 1, runs from 0 to 255.

    The signature `serving_default` answers with the ten probabilities. `reading` answers with digit, confidence,
    accepted, reason (empty where accepted) and probabilities, and so does `images`, which takes pictures' files as
    `{"b64": "…"}`.
    """
    services, model = services_of(request.app), _servable(request)
    model.batcher.admit()  # before the body is read, so that a refusal costs little
    max_batch = services.settings.max_batch
    message = await read_message(request, services, lambda body: parse_predict(body, max_batch))
    rows, reasons = await predict_many(request, services, model, message.images)
    return await respond(request, services, write_predict(message, rows, reasons))


async def refuse_classify(request: Request) -> Response:
    """Refuses: the model has no signature for this. Use `:predict`."""
    _servable(request)
    verb = request.scope["path"].rpartition(":")[2]
    raise MalformedBody(
        f"Expected {verb} signature method_name to be tensorflow/serving/{verb}. Was: tensorflow/serving/predict"
    )


router = APIRouter(tags=["TensorFlow Serving v1"], default_response_class=Response)


@router.get("/v1/models", summary="All models", responses=dialect_docs.V1_MODELS)
async def list_models(request: Request) -> Response:
    """Lists the models' names, as KServe does."""
    return json_reply({"models": [model_of(request).manifest.name]})


async def status(request: Request, services: ServicesDep) -> Response:
    """Names the version that serves.

    The reply has the fields of TensorFlow Serving and of KServe. It is 503 once the service was told to stop.
    """
    manifest = _found_model(request).manifest
    if services.stopping.is_set():
        raise Stopping()
    version_status = {
        "version": str(manifest.version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return json_reply({"name": manifest.name, "ready": True, "model_version_status": [version_status]})


async def metadata(request: Request) -> Response:
    """Lists the signatures: inputs and outputs with their types and shapes."""
    manifest = _found_model(request).manifest
    return json_reply(
        {
            "model_spec": {"name": manifest.name, "signature_name": "", "version": str(manifest.version)},
            "metadata": {"signature_def": {"signature_def": signature_def()}},
        }
    )


add_get_routes(
    router,
    MODEL_PATHS,
    dialect_docs.V1_PATHS,
    (
        ("", status, "Does the model serve?", dialect_docs.V1_STATUS),
        ("/metadata", metadata, "Signatures", dialect_docs.V1_METADATA),
    ),
)

# Starlette routes, as in ``predictions``.
routes = [
    CallRoute(f"{path}:{verb}", endpoint, methods=["POST"])
    for verb, endpoint in (("predict", predict), ("classify", refuse_classify), ("regress", refuse_classify))
    for path in MODEL_PATHS
]
