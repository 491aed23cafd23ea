"""A bench for each test, torn down whatever happened on it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from commands_bench import Bench, Make
from support import fake_kafka


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Return what makes a bench."""
    fake_kafka.plug_in(monkeypatch)
    made: list[Bench] = []

    async def bench(**options: Any) -> Bench:
        made.append(await Bench(**options).open())
        return made[-1]

    yield bench
    for each in made:
        await each.tear_down()
