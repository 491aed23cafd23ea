"""When a run is looked at, and what its own list proves. Pure.

The feed may lose events before they are read, and events may appear later than any window allows
for. Each run's own list shows them all the same, so runs are audited: while they are live every
audit interval, once the lateness window has passed since their end, and once a day later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bridge.clock import SECOND, Micros
from bridge.source.checkpoint.runs import Listing, RunSummary, fold
from bridge.source.reading.windows import Item

DAY: Final[Micros] = 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Sorted:
    """The items of a run's list: known ones, new ones, and those whose digest is long expired."""

    known: list[Item]
    new: list[Item]
    expired: list[Item]


def due(summary: RunSummary, looked_at: Micros, *, lateness: Micros, interval: Micros) -> Micros:
    """Return when a run that was looked at last at `looked_at` is to be looked at next.

    One that is gone is asked about less and less often.
    """
    if summary.stage == "gone" and summary.listed is not None:
        return looked_at + max(interval, looked_at - summary.listed.at)
    if summary.finished is None:
        return looked_at + interval
    soon = looked_at + min(lateness, interval)
    if summary.stage == "sealed":
        return max(summary.finished + DAY, soon)
    if summary.listed is None:
        return max(summary.finished + lateness, soon)
    return max(summary.listed.at + lateness, soon)


def listing_of(items: Sequence[Item], at: Micros) -> Listing:
    """Return what a list of a run showed; `items` are those that are counted."""
    return Listing(len(items), fold(item.digest for item in items), at)


def sort_out(
    items: Sequence[Item],
    seen: Mapping[bytes, int],
    *,
    oldest: Micros,
) -> Sorted:
    """Sort the items of a run's list by what is known of each; `oldest`: older digests expired.

    One that is not dated took the time of its neighbour, which was another one in the feed: nobody
    can tell whether its digest is expired.
    """
    known = [item for item in items if item.digest in seen]
    unknown = [item for item in items if item.digest not in seen]
    new = [item for item in unknown if item.at >= oldest and item.is_dated]
    expired = [item for item in unknown if item.at < oldest or not item.is_dated]
    return Sorted(known, new, expired)


def accounts_for(summary: RunSummary, found: Sorted) -> bool:
    """Whether the published events of a run are just the known and the expired ones."""
    if not found.expired:
        return True
    count = len(found.known) + len(found.expired)
    digest = fold(item.digest for item in (*found.known, *found.expired))
    return (summary.count, summary.digest) == (count, digest)


def needs_counts(summary: RunSummary, found: Sorted) -> bool:
    """Whether digests alone do not tell which items of a run's list are published."""
    return summary.count is None or bool(found.expired)


def agrees(summary: RunSummary, listing: Listing) -> bool:
    """Whether all that a run's list shows is published, and nothing else."""
    return (summary.count, summary.digest) == (listing.count, listing.digest)


def after_absence(summary: RunSummary, now: Micros) -> RunSummary:
    """Return the summary of a run after the API said that it is not there.

    `listed` keeps when it said so first. It is believed for good when it was said for a day: until
    then the run is asked about again, and whatever shows it takes that back.
    """
    if summary.stage != "gone" or summary.listed is None:
        return replace(summary, stage="gone", listed=Listing(0, 0, now))
    return replace(summary, stage="closed") if now >= summary.listed.at + DAY else summary


def is_confirmed(gone: RunSummary, now: Micros, *, interval: Micros) -> bool:
    """Say whether the API said twice, an audit interval apart, that a run is not there."""
    return gone.listed is not None and now >= gone.listed.at + interval


def there_again(summary: RunSummary) -> RunSummary:
    """Return the summary of a run whose list was read, though it may have been gone before."""
    return replace(summary, stage="open", listed=None) if summary.stage == "gone" else summary


def after_listing(summary: RunSummary, listing: Listing, *, lateness: Micros) -> RunSummary:
    """Return the summary of a run after its list was read, and what was new in it published.

    A finished run is sealed when its list showed the same a lateness window apart, and all of it is
    published. It is closed when that still holds a day after its end.
    """
    now = listing.at
    if summary.finished is None or now < summary.finished + lateness:
        return summary
    if not agrees(summary, listing):
        return replace(summary, listed=None, stage="open")
    listed = summary.listed
    if listed is None or (listed.count, listed.digest) != (listing.count, listing.digest):
        return replace(summary, listed=listing, stage="open")
    stage, finished = summary.stage, summary.finished
    if stage == "open" and now >= listed.at + lateness:
        stage = "sealed"
    elif stage == "sealed" and now >= finished + DAY:
        stage = "closed"
    return replace(summary, stage=stage)
