"""Between aiokafka and a broker: passes every frame on unchanged, and can keep an EndTxn back.

The frame that is kept back is delivered later, on a connection of its own, in the middle of another
transaction: the network may do so, and a broker that is slow to read.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import pytest
from aiokafka import client
from aiokafka.conn import create_conn

PRODUCE, END_TXN = 0, 26
FENCED = 47
"""What a broker answers to EndTxn (version 0) of an epoch that another producer has ended."""

Asked = deque[tuple[int, int]]
"""Kind and size of each request that is still to be answered."""

_CUT = (asyncio.IncompleteReadError, ConnectionError)


class KafkaProxy:
    """Stands before one broker; by itself it changes nothing."""

    def __init__(self, broker: str) -> None:
        host, _, port = broker.rpartition(":")
        self._broker = host, int(port)
        self._keeps = False
        self._delivers_from: int | None = None
        self._kept = b""
        self.answer: int | None = None
        """Error code that the broker gave to the frame that was kept back; 0 is success."""

    def keep_next_end(self) -> None:
        """Keep the next EndTxn back, and close the connection on which it came."""
        self._keeps = True

    @property
    def keeps_one(self) -> bool:
        """Whether an EndTxn was kept back."""
        return bool(self._kept)

    def deliver_within_transaction(self, size: int) -> None:
        """Hand the EndTxn to the broker once it has written a Produce request of so many bytes."""
        self._delivers_from = size

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass frames between a client and the broker until either closes."""
        from_broker, to_broker = await asyncio.open_connection(*self._broker)
        asked: Asked = deque()
        with closing(writer), closing(to_broker), suppress(*_CUT):
            async with asyncio.TaskGroup() as both:
                down = both.create_task(self._down(from_broker, writer, asked))
                await self._up(reader, to_broker, asked)
                down.cancel()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Asked
    ) -> None:
        """Pass requests on until the client closes, or one is kept back."""
        with suppress(*_CUT):
            while True:
                frame = await _frame(reader)
                kind = int.from_bytes(frame[4:6])
                if kind == END_TXN and self._keeps:
                    self._keeps, self._kept = False, frame
                    return
                asked.append((kind, len(frame)))
                writer.write(frame)

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Asked
    ) -> None:
        """Pass answers on, which come in the order of the requests."""
        with suppress(*_CUT):
            while True:
                frame = await _frame(reader)
                kind, size = asked.popleft()
                wanted = self._delivers_from
                if wanted is not None and kind == PRODUCE and size >= wanted:
                    self._delivers_from = None
                    await self._deliver()
                writer.write(frame)
        writer.close()

    async def _deliver(self) -> None:
        reader, writer = await asyncio.open_connection(*self._broker)
        with closing(writer):
            writer.write(self._kept)
            answer = await _frame(reader)
        self.answer = int.from_bytes(answer[12:14])  # behind length, correlation id, throttling


async def _frame(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length))


@asynccontextmanager
async def kafka_proxy(broker: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KafkaProxy]:
    """Run a proxy to which all of aiokafka's connections lead, whatever the broker says it is."""
    proxy = KafkaProxy(broker)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()

    async def to_proxy(_host: str, _port: int, **options: Any) -> Any:
        return await create_conn(host, port, **options)

    monkeypatch.setattr(client, "create_conn", to_proxy)
    async with server:
        yield proxy
