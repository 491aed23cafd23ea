"""How many lost transactions end a process: the same for sources and command partitions."""

import pytest

from bridge.errors import GaveUp, TransactionLost
from bridge.kafka.resets import RESET_SECONDS, RESETS, Resets

LOST = TransactionLost("nobody knows")


def test_more_than_three_lost_transactions_in_five_minutes_are_too_many() -> None:
    resets = Resets("partition 4")
    for number in range(RESETS):
        resets.count(LOST, float(number))
    with pytest.raises(GaveUp, match="partition 4: 4 transactions were lost within 300 s"):
        resets.count(LOST, RESET_SECONDS)


def test_what_was_lost_long_ago_does_not_count() -> None:
    resets = Resets("source default")
    for number in range(10 * RESETS):
        resets.count(LOST, number * (RESET_SECONDS / RESETS + 1))
