"""A bridge at work that the tests of one file share."""

from collections.abc import Iterator

import pytest
from support.brokers import Broker
from support.work import Work, at_work


@pytest.fixture(scope="module")
def work(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with at_work(kafka, tmp_path_factory.mktemp("work")) as made:
        yield made


@pytest.fixture(autouse=True)
def _faultless(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to the API they share is undone."""
    yield
    if "work" in request.fixturenames:
        request.getfixturevalue("work").scene.control("reset-faults", {})
