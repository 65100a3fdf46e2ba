"""The routes GET /models, GET /models/{version} and POST /models/{version}/activate."""

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Path

from app.api import examples, schemas
from app.api.auth import ADMIN
from app.inference import manager
from app.registry.manifest import Manifest
from app.services import ServicesDep

router = APIRouter(tags=["models"])

VersionNumber = Annotated[int, Path(ge=0, le=10**9)]


@router.get("/models", summary="List all versions", response_model=schemas.Models)
def list_models(services: ServicesDep) -> Any:
    """Every version on disk with its metrics, which one serves, and why the version in CURRENT does not, if so."""
    number, load_error = services.manager.model.manifest.version, services.manager.load_error
    models = [_summary(manifest, number) for manifest in manager.manifests(services.settings.models)]
    return {"models": models, "fault": dataclasses.asdict(load_error) if load_error else None}


@router.get(
    "/models/{version}",
    summary="One version with its manifest",
    response_model=schemas.ModelDetail,
    responses=examples.failures(404, 422, 500),
)
def get_model(version: VersionNumber, services: ServicesDep) -> Any:
    """A version's metrics, recipe, seed, libraries, and the digests of its data and files."""
    manifest = manager.manifest(services.settings.models, version)
    return _summary(manifest, services.manager.model.manifest.version) | {"card": dataclasses.asdict(manifest)}


@router.post(
    "/models/{version}/activate",
    summary="Let a version serve",
    response_model=schemas.Model,
    responses=examples.failures(401, 404, 409, 422, 503),
    dependencies=[ADMIN],
)
async def activate(version: VersionNumber, services: ServicesDep) -> Any:
    """Switches to a newer or older version without a failed request.

    The version is verified, loaded and warmed up first; if that fails, nothing changes. Then it serves: at once in the
    process that answers, within two seconds in the others.
    """
    manifest = await services.manager.activate(version)
    return _summary(manifest, manifest.version)


def _summary(manifest: Manifest, serving_version: int) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "serving": manifest.version == serving_version,
        "created": manifest.created,
        "recipe": manifest.recipe["name"] if manifest.recipe else None,
        "parameters": manifest.parameters,
        "metrics": {split: dataclasses.asdict(metrics) for split, metrics in manifest.metrics.items()},
        "parent": manifest.parent,
    }
