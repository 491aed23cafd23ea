"""A Missions API whose list is as long as one likes: its rows are computed, not kept.

Serves what a source asks for. Event n of run n // 50 happened n * SPACING after the beginning; all
runs have ended. Run as a process: python tests/bench/long_feed.py EVENTS prints its base URL.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.clock import Clock
from bridge.dev.api.http import serving

PER_RUN = 50
SPACING = timedelta(milliseconds=200)


class LongFeed:
    """`count` events up to an hour ago, newest first."""

    def __init__(self, count: int) -> None:
        self.count = count
        now = datetime.fromtimestamp(Clock().now() / 1e6, UTC)
        self._begin = now - timedelta(hours=1) - count * SPACING
        base = "/v2/ai/missions"
        self.app = Starlette(
            routes=[
                Route(f"{base}/events", self._events),
                Route(f"{base}/runs", self._runs),
                Route(f"{base}/{{mission}}/runs/{{run}}/events", self._run_events),
            ]
        )

    async def _events(self, request: Request) -> Response:
        page, size, low, high = _window(request, self.count)
        rows = ",".join(self._event(number) for number in range(high - 1, low - 1, -1))
        return _answer(rows, self.count, page, size)

    async def _runs(self, request: Request) -> Response:
        runs = -(-self.count // PER_RUN)
        page, size, low, high = _window(request, runs)
        rows = ",".join(self._run(number) for number in range(high - 1, low - 1, -1))
        return _answer(rows, runs, page, size)

    async def _run_events(self, request: Request) -> Response:
        first = UUID(request.path_params["run"]).int * PER_RUN
        count = min(PER_RUN, self.count - first)
        page, size, low, high = _window(request, count)
        rows = ",".join(self._event(first + n) for n in range(high - 1, low - 1, -1))
        return _answer(rows, count, page, size)

    def _at(self, number: int) -> str:
        return (self._begin + number * SPACING).isoformat(timespec="microseconds")

    def _event(self, number: int) -> str:
        return (
            f'{{"event_id":"{UUID(int=number)}","run_id":"{UUID(int=number // PER_RUN)}",'
            f'"type":"tool_call","summary":"Calling telnyx_voice_call","timestamp":'
            f'"{self._at(number)}","step_id":"call-patients","agent_id":"mission-executor",'
            f'"payload":{{"tool":"telnyx_voice_call","arguments":{{"to":"+1555{number:07d}",'
            '"timeout_secs":30}},"idempotency_key":null}'
        )

    def _run(self, number: int) -> str:
        begin, end = self._at(number * PER_RUN), self._at(min((number + 1) * PER_RUN, self.count))
        return (
            f'{{"run_id":"{UUID(int=number)}","mission_id":"{UUID(int=1)}","status":"succeeded",'
            f'"started_at":"{begin}","updated_at":"{begin}","finished_at":"{end}"}}'
        )


def _window(request: Request, count: int) -> tuple[int, int, int, int]:
    page = int(request.query_params["page[number]"])
    size = int(request.query_params["page[size]"])
    high = max(0, count - (page - 1) * size)
    return page, size, max(0, high - size), high


def _answer(rows: str, total: int, page: int, size: int) -> Response:
    meta: dict[str, Any] = {
        "total_pages": -(-total // size),
        "total_results": total,
        "page_number": page,
        "page_size": size,
    }
    return Response(f'{{"data":[{rows}],"meta":{json.dumps(meta)}}}', media_type="application/json")


async def main(count: int) -> None:
    """Serve until the standard input ends."""
    async with serving(LongFeed(count).app, "127.0.0.1", 0) as url:
        sys.stdout.write(f"{url}/v2\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
