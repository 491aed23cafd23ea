"""How often a request is repeated in tests."""

from collections.abc import Iterator

import pytest
import stamina


@pytest.fixture
def at_once() -> Iterator[None]:
    """Nothing waits between two attempts."""
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


@pytest.fixture
def one_attempt() -> Iterator[None]:
    """Nothing is repeated."""
    with stamina.set_testing(True, attempts=1):
        yield
