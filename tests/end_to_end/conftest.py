"""What the tests of a file share: a bridge at work, told one story after the other."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _faultless(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to the API of `work` is undone."""
    yield
    if "work" in request.fixturenames:
        request.getfixturevalue("work").scene.control("reset-faults", {})
