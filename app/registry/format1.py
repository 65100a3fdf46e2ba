"""Translates manifests of format 1, which had other names for some fields, so that they keep loading."""

from typing import Any

# New names by those of format 1: of the manifest, of a recipe, of its optimiser and of its layers.
MANIFEST_FIELDS = {"second_look": "tta_threshold", "sure": "cascade_threshold"}
RECIPE_FIELDS = MANIFEST_FIELDS | {
    "scout": "first_stage",
    "batch": "batch_size",
    "settle": "cooldown_epochs",
    "drawn": "synthetic_share",
    "others": "ood_share",
    "members": "ensemble_size",
}
OPTIMISER_FIELDS = {"rate": "learning_rate"}
LAYER_FIELDS = {
    "Conv": {"window": "kernel_size"},
    "MaxPool": {"window": "pool_size"},
    "Dense": {"initial": "kernel_initializer"},
}
INITIALIZERS = {"glorot": "glorot_uniform"}

# Names of format 1 for a file of the version, and for an output of its graph.
FIRST_STAGE = "scout.keras"
OUTPUTS = {"first_stage": "scout"}


def translate(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a manifest of format 1 under their new names."""
    values = _renamed(values, MANIFEST_FIELDS)
    if isinstance(values.get("recipe"), dict):
        values["recipe"] = _recipe(values["recipe"])
    return values


def _recipe(values: dict[str, Any]) -> dict[str, Any]:
    values = _renamed(values, RECIPE_FIELDS)
    for name in ("layers", "first_stage"):
        if isinstance(values.get(name), list):
            values[name] = [_layer(layer) if isinstance(layer, dict) else layer for layer in values[name]]
    if isinstance(values.get("optimiser"), dict):
        optimiser = _renamed(values["optimiser"], OPTIMISER_FIELDS)
        share, rate = optimiser.pop("floor", 0), optimiser.get("learning_rate")
        if isinstance(share, int | float) and isinstance(rate, int | float):  # in format 1 a share of the learning rate
            optimiser["min_learning_rate"] = share * rate
        values["optimiser"] = optimiser
    return values


def _layer(values: dict[str, Any]) -> dict[str, Any]:
    values = _renamed(values, LAYER_FIELDS.get(str(values.get("kind")), {}))
    if values.get("kernel_initializer") in INITIALIZERS:
        values["kernel_initializer"] = INITIALIZERS[values["kernel_initializer"]]
    return values


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}
