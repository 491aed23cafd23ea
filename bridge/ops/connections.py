"""Connections of the ops port: few at a time, and none that stays longer than an answer takes.

What strangers do there (half a request, an answer that they do not read, connections by the
hundred) must not take the files and the time that the bridge works with.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS: Final = 64
"""So many at a time; one more takes the place of the oldest."""

REQUEST_SECONDS: Final = 10.0
"""For a request to come and for its answer to be taken."""

BACKLOG: Final = 16
"""Connections that wait to be accepted; asyncio accepts so many at once, limits or not."""


class Connection(H11Protocol):
    """One connection, ended when its time is up or its place is needed."""

    _numbers = itertools.count()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, the oldest connection's if there is no other."""
        others = cast("set[Connection]", self.connections)
        if len(others) >= MOST_CONNECTIONS:
            min(others, key=lambda other: other.number).end()
        self.number = next(self._numbers)
        self._deadline = self.loop.call_later(REQUEST_SECONDS, transport.abort)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._deadline.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Give the answer time to be taken, and the next request time to come."""
        self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
        super().on_response_complete()

    def end(self) -> None:
        """End now, whatever is under way; the place is free at once."""
        self.connections.discard(self)
        self.transport.abort()


OPTIONS: Final[dict[str, Any]] = {"http": Connection, "backlog": BACKLOG}
"""For `serving`."""
