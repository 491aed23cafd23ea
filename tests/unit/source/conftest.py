"""Kafka in memory, and owners that are gone after the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stamina
from source_bench import Bench
from source_owners import Own, Owner
from support import fake_kafka


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients and producers work on a Kafka in memory."""
    fake_kafka.plug_in(monkeypatch)


@pytest.fixture
async def own() -> AsyncIterator[Own]:
    """Return what starts an owner on a bench; it is gone after the test."""
    owners: list[Owner] = []

    def start(bench: Bench, **options: Any) -> Owner:
        owners.append(Owner(bench, **options))
        return owners[-1]

    with stamina.set_testing(True, attempts=1):
        yield start
        for owner in owners:
            for task in owner.tasks:
                task.cancel()
            await asyncio.wait(owner.tasks)
