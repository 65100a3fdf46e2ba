"""The routes of the Open Inference Protocol v2, for clients of KServe, Triton, MLServer and OpenVINO Model Server.

``open_inference_messages`` has the wire format, ``dataplane`` computes the answers.
"""

import asyncio
import contextlib
import json
from importlib.metadata import version as version_of
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api import dialect_docs
from app.api.auth import ADMIN
from app.api.dataplane import predict_many
from app.api.dialects import CallRoute, add_get_routes, json_reply, read_message, respond
from app.api.open_inference_messages import INPUT, OUTPUTS, PROBABILITIES, InferRequest, parse_infer, write_infer
from app.api.replies import JSON
from app.api.tensors import parse_json
from app.api.uploads import RAW
from app.errors import MalformedBody, Stopping, VersionNotFound
from app.inference.manager import LoadedModel
from app.registry import store
from app.services import ServicesDep, model_of, services_of

HEADER_LENGTH = "inference-header-content-length"

# Names of the protocol and of Triton for what can be done here.
EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]

MODEL_PATHS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")

# In metadata, where image clients expect a channel. Other shapes are accepted, too.
INPUT_SHAPE = [28, 28, 1]
OUTPUT_SHAPE = [10]
PLATFORM = "openvino"

MAX_REPOSITORY_BODY_BYTES = 64 * 2**10


def served_model(request: Request) -> LoadedModel:
    """Return the version that serves, if the path names it or no version.

    Raises:
        VersionNotFound: The path names another model or version.
    """
    model = model_of(request)
    name, version = request.path_params["model"], request.path_params.get("version")
    if name != model.manifest.name:
        raise VersionNotFound(f"Request for unknown model: '{name:.80}' is not found")
    if version not in (None, str(model.manifest.version)):
        raise VersionNotFound(
            f"Request for unknown model: '{name}' version {version:.20} is not loaded; version "
            f"{model.manifest.version} is"
        )
    return model


async def infer(request: Request) -> Response:
    """Reads the digit on each image.

    Send images as numbers or as picture files. The input `image` is `UINT8` from 0 (background) to 255 (foreground),
    or `FP32` from 0 to 1, which is multiplied by 255 and rounded; of shape `[n, 28, 28]`, `[n, 28, 28, 1]`,
    `[n, 1, 28, 28]` or `[n, 784]`. As `BYTES` of shape `[n]` it is n picture files; in JSON they are in base64. Numbers
    and files may follow the JSON as binary tensors.

    The output is `probabilities`. A request can also name the outputs `digit`, `confidence`, `accepted` and `reason`,
    which is empty if the answer is accepted.
    """
    services, model = services_of(request.app), served_model(request)
    model.batcher.admit()  # before the body is read, so that a refusal costs little
    header_length, max_batch = request.headers.get(HEADER_LENGTH), services.settings.max_batch

    def parse(body: bytes) -> InferRequest:
        return parse_infer(body, header_length, max_batch)

    message = await read_message(request, services, parse)
    rows, reasons = await predict_many(request, services, model, message.images)
    body, json_size = write_infer(message, model.manifest.name, model.manifest.version, rows, reasons)
    if json_size is None:
        return await respond(request, services, body, JSON)
    return await respond(request, services, body, RAW, {HEADER_LENGTH: str(json_size)})


router = APIRouter(tags=["Open Inference Protocol v2"], default_response_class=Response)


@router.get("/v2", summary="What this server is", responses=dialect_docs.SERVER)
async def server() -> Response:
    """Names the server, its version and the extensions of the protocol that it has."""
    return json_reply({"name": "digits", "version": version_of("digits"), "extensions": EXTENSIONS})


@router.get("/v2/health/live", summary="Is the process alive?", responses=dialect_docs.LIVE)
async def live() -> Response:
    """Answers as long as the process can answer at all."""
    return json_reply({"live": True})


@router.get("/v2/health/ready", summary="Can it predict?", responses=dialect_docs.READY)
async def ready(services: ServicesDep) -> Response:
    """Answers 503 once the service was told to stop."""
    _refuse_when_stopping(services)
    return json_reply({"ready": True})


def _refuse_when_stopping(services: ServicesDep) -> None:
    if services.stopping.is_set():
        raise Stopping()


@router.get("/v2/models/stats", summary="Statistics of all models", responses=dialect_docs.STATISTICS)
async def all_statistics(request: Request) -> Response:
    """Counts the calls of all models, of which there is one."""
    return await _statistics(request, model_of(request))


async def metadata(request: Request) -> Response:
    """Lists the input and the output.

    `infer` takes more forms of images, and has more outputs, than are listed: image clients expect one of each.
    """
    manifest = served_model(request).manifest
    return json_reply(
        {
            "name": manifest.name,
            "versions": [str(manifest.version)],
            "platform": PLATFORM,
            "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *INPUT_SHAPE]}],
            "outputs": [{"name": PROBABILITIES, "datatype": OUTPUTS[PROBABILITIES], "shape": [-1, *OUTPUT_SHAPE]}],
        }
    )


async def model_ready(request: Request, services: ServicesDep) -> Response:
    """Answers 503 once the service was told to stop, and 404 for a version that does not serve."""
    manifest = served_model(request).manifest
    _refuse_when_stopping(services)
    return json_reply({"name": manifest.name, "ready": True})


async def config(request: Request, services: ServicesDep) -> Response:
    """Describes the model as Triton's configuration does, as far as clients read it."""
    manifest = served_model(request).manifest
    return json_reply(
        {
            "name": manifest.name,
            "platform": PLATFORM,
            "backend": PLATFORM,
            "version_policy": {"specific": {"versions": [manifest.version]}},
            "max_batch_size": services.settings.max_batch,
            "input": [
                {"name": INPUT, "data_type": "TYPE_UINT8", "format": "FORMAT_NHWC", "dims": INPUT_SHAPE},
            ],
            "output": [{"name": PROBABILITIES, "data_type": "TYPE_FP32", "dims": OUTPUT_SHAPE}],
            "dynamic_batching": {},
        }
    )


async def statistics(request: Request) -> Response:
    """Counts calls since the service started, in all its processes, protocols and versions.

    `inference_count` is in images, `execution_count` in runs of the network. What is not measured is 0.
    """
    return await _statistics(request, served_model(request))


async def _statistics(request: Request, model: LoadedModel) -> Response:
    metrics = services_of(request.app).metrics
    totals = await asyncio.to_thread(metrics.prediction_totals)
    nothing = {"count": 0, "ns": 0}
    measured = {
        "success": {"count": totals.answered, "ns": round(totals.seconds * 1e9)},
        "fail": {"count": totals.failed, "ns": 0},
        **dict.fromkeys(("queue", "compute_input", "compute_infer", "compute_output"), nothing),
    }
    return json_reply(
        {
            "model_stats": [
                {
                    "name": model.manifest.name,
                    "version": str(model.manifest.version),
                    "last_inference": 0,
                    "inference_count": totals.images,
                    "execution_count": totals.runs,
                    "inference_stats": measured,
                    "batch_stats": [],
                }
            ]
        }
    )


add_get_routes(
    router,
    MODEL_PATHS,
    (dialect_docs.MODEL, dialect_docs.MODEL_VERSION),
    (
        ("", metadata, "Inputs and outputs", dialect_docs.METADATA),
        ("/ready", model_ready, "Can the model predict?", dialect_docs.MODEL_READY),
        ("/config", config, "Configuration", dialect_docs.CONFIG),
        ("/stats", statistics, "Statistics", dialect_docs.MODEL_STATISTICS),
    ),
)


@router.post(
    "/v2/repository/index",
    summary="All versions",
    openapi_extra=dialect_docs.INDEX_REQUEST,
    responses=dialect_docs.INDEX,
)
async def index(request: Request, services: ServicesDep) -> Response:
    """Lists all versions on disk, or with `{"ready": true}` the one that serves. The body may be empty."""
    body = await services.bodies.read(request, MAX_REPOSITORY_BODY_BYTES, "an index takes less")
    only_ready = parse_json(body).get("ready") if body else False
    if only_ready not in (None, True, False):
        raise MalformedBody("ready must be true or false")
    serving = services.manager.model.manifest
    numbers = {*await asyncio.to_thread(store.numbers, services.settings.models), serving.version}
    return json_reply(
        [
            {
                "name": serving.name,
                "version": str(number),
                "state": "READY" if number == serving.version else "UNAVAILABLE",
                "reason": "" if number == serving.version else "another version serves",
            }
            for number in sorted(numbers)
            if number == serving.version or not only_ready
        ]
    )


@router.post(
    "/v2/repository/models/{model}/load",
    summary="Let a version serve",
    openapi_extra=dialect_docs.LOAD_REQUEST,
    responses=dialect_docs.LOAD,
    dependencies=[ADMIN],
)
async def load(request: Request, services: ServicesDep) -> Response:
    """Activates a version.

    The parameter `config` names it as Triton's configuration does, in its `version_policy`. Without it the version that
    CURRENT names is loaded once more.
    """
    serving = served_model(request).manifest
    body = await services.bodies.read(request, MAX_REPOSITORY_BODY_BYTES, "a configuration takes less")
    number = _named_version(body)
    if number is None:
        with contextlib.suppress(store.VersionError):
            number = await asyncio.to_thread(store.current, services.settings.models)
    await services.manager.activate(serving.version if number is None else number)
    return json_reply({"name": serving.name, "load": True})


def _named_version(body: bytes) -> int | None:
    """Parse the version that a load asks for: ``{"parameters": {"config": "<JSON>"}}``.

    Raises:
        MalformedBody: The configuration does not name one version.
    """
    advice = 'name one version as {"version_policy": {"specific": {"versions": [2]}}}'
    parameters = parse_json(body).get("parameters") if body else None
    if not parameters:
        return None
    if not isinstance(parameters, dict) or [*parameters] != ["config"]:
        raise MalformedBody(f"the only parameter of a load is 'config'; {advice}")
    try:
        found: Any = json.loads(parameters["config"])["version_policy"]["specific"]["versions"]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise MalformedBody(f"the configuration names no version; {advice}") from None
    if not isinstance(found, list) or len(found) != 1 or type(found[0]) is not int or not 0 <= found[0] < 10**9:
        raise MalformedBody(f"the configuration does not name one version; {advice}")
    return found[0]


@router.post(
    "/v2/repository/models/{model}/unload",
    summary="Always refused",
    openapi_extra=dialect_docs.UNLOAD_REQUEST,
    responses=dialect_docs.UNLOAD,
    dependencies=[ADMIN],
)
async def unload(request: Request) -> Response:
    """Refuses: there is one model, and the service could not answer without it. `load` replaces its version."""
    name = served_model(request).manifest.name
    raise MalformedBody(f"'{name}' is the only model and stays loaded; load another version of it in its place")


# Starlette routes, as in ``predictions``.
routes = [CallRoute(f"{path}/infer", infer, methods=["POST"]) for path in MODEL_PATHS]
