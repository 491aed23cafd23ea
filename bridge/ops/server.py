"""The ops port: is it alive, is it ready, what does it do, what does it measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge import telemetry
from bridge.health import Health
from bridge.printing import to_json


def ops_app(health: Health, status: Callable[[], dict[str, Any]]) -> Starlette:
    """Return the application; `status` gives what /status shows.

    /livez answers 503 when a loop of ours hangs, /readyz when something that is needed is away:
    restarting mends the first and not the second.
    """

    async def livez(_: Request) -> Response:
        stuck = health.stuck()
        return _json({"alive": not stuck, "stuck": stuck}, 503 if stuck else 200)

    async def readyz(_: Request) -> Response:
        reasons = health.reasons
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(_: Request) -> Response:
        return Response(telemetry.exposition(), media_type=telemetry.METRICS_CONTENT_TYPE)

    async def show(_: Request) -> Response:
        reasons = health.reasons
        return _json({"ready": not reasons, "reasons": reasons, **status()}, 200)

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/status", show),
        ]
    )


def _json(value: dict[str, Any], status: int) -> Response:
    return Response(to_json(value), status, media_type="application/json")
