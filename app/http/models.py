"""GET /models and GET /models/{version}."""

import dataclasses
from typing import Any

from fastapi import APIRouter

from app.http import examples, schemas
from app.http.dependencies import Services
from app.inference import live
from training.card import Card

router = APIRouter(tags=["models"])


@router.get("/models", summary="List all versions", response_model=schemas.Models)
def list_models(services: Services) -> Any:
    """Every version on disk with what it scored, and which one serves."""
    serving = services["live"].card.version
    return {"models": [_summary(card, serving) for card in live.cards(services["settings"].models)]}


@router.get(
    "/models/{version}",
    summary="One version with its card",
    response_model=schemas.ModelDetail,
    responses=examples.failures(404, 422, 500),
)
def get_model(version: int, services: Services) -> Any:
    """A version's figures, recipe, seed, libraries, and the digests of its data and files."""
    card = live.card(services["settings"].models, version)
    return _summary(card, services["live"].card.version) | {"card": dataclasses.asdict(card)}


def _summary(card: Card, serving: int) -> dict[str, Any]:
    return {
        "name": card.name,
        "version": card.version,
        "serving": card.version == serving,
        "created": card.created,
        "recipe": card.recipe["name"] if card.recipe else None,
        "parameters": card.parameters,
        "metrics": {split: dataclasses.asdict(metrics) for split, metrics in card.metrics.items()},
        "parent": card.parent,
    }
