"""What of a partition's input is complete: a low-water mark and the completed spans above it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable


class InputPosition:
    """Which offsets are complete: all below `low`, and spans above it.

    `next` is the offset after the last one that was read here. Offsets that Kafka never shows
    (transaction markers, aborted records, what retention removed) count as complete once a later
    one was read, so that the low-water mark passes them.
    """

    def __init__(self, low: int, spans: Iterable[tuple[int, int]] = ()) -> None:
        self.low = low
        self.next = low
        self._first: list[int] = []
        self._last: list[int] = []
        self._held: set[int] = set()
        for first, last in spans:
            self.complete(first, last)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The completed offsets above `low` as (first, last), in order and apart."""
        return list(zip(self._first, self._last, strict=True))

    def covers(self, offset: int) -> bool:
        """Say whether an offset is complete."""
        if offset < self.low:
            return True
        at = bisect_right(self._first, offset) - 1
        return at >= 0 and offset <= self._last[at]

    def complete(self, first: int, last: int | None = None) -> None:
        """Count an offset, or a span with both its ends, as complete."""
        last = first if last is None else last
        first = max(first, self.low)
        if last < first:
            return
        self._held.difference_update([offset for offset in self._held if first <= offset <= last])
        begin = bisect_left(self._last, first - 1)
        end = bisect_right(self._first, last + 1)
        if begin < end:
            first = min(first, self._first[begin])
            last = max(last, self._last[end - 1])
        self._first[begin:end] = [first]
        self._last[begin:end] = [last]
        if self._first[0] == self.low:
            self.low = self._last.pop(0) + 1
            self._first.pop(0)

    def hold(self, offset: int) -> None:
        """Take up an offset from the ledger: reading may find it again, or find it gone."""
        if not self.covers(offset):
            self._held.add(offset)

    def take(self, offset: int) -> bool:
        """Note that reading came to `offset`; True if it is to be worked on."""
        if offset < self.next:
            return False
        gap = self.next
        for held in sorted(held for held in self._held if gap <= held < offset):
            self.complete(gap, held - 1)
            gap = held + 1
        self.complete(gap, offset - 1)
        self.next = offset + 1
        return offset not in self._held and not self.covers(offset)

    def merge(self, other: InputPosition) -> None:
        """Add what `other` has as complete."""
        self.complete(self.low, other.low - 1)
        for first, last in other.spans:
            self.complete(first, last)

    def with_completed(self, offsets: Iterable[int]) -> InputPosition:
        """Return a copy with these offsets complete as well, as a transaction will say."""
        copy = InputPosition(self.low, self.spans)
        for offset in offsets:
            copy.complete(offset)
        return copy
