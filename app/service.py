"""The whole service as an ASGI application: the short ways in front, the framework behind."""

from starlette.routing import Router
from starlette.types import ASGIApp

from app import lifespan
from app.framework import Framework
from app.http import health, predictions
from app.http.access import Access
from app.http.direct import Direct
from app.http.metrics import Metrics
from app.inference.serving import Serving
from app.settings import Settings


def build(settings: Settings, metrics: Metrics, serving: Serving, framework: Framework) -> ASGIApp:
    """metrics: told from now on what ``serving`` does. framework: begins to load with the lifespan."""
    serving.tell(metrics)
    alive = lifespan.build(settings, metrics, serving, framework)
    behind = Router(lifespan=alive, default=framework, redirect_slashes=False)  # of no routes: it tends the lifespan
    # Around the framework, not within: as its own middleware they would have three of its layers around them.
    return Access(Direct(behind, {**predictions.ENDPOINTS, **health.ENDPOINTS}))
