"""Seeds that went wrong once. Each is told again every time, beside the first of its scenario."""

from __future__ import annotations

from typing import Final

FINDINGS: Final[tuple[tuple[str, int], ...]] = (
    # Rows without a time on a page of their own, in the middle of a filtered list.
    ("storm", 602043881),
    # A row without a time whose neighbour changed after its digest had expired.
    ("storm", 602044146),
    # A climb over pages of which some came out of a cache.
    ("cached", 602044658),
    # Judged while a commit was under way.
    ("clock-steps", 602044684),
    ("clock-steps", 602044998),
    # The clock set back by half an hour: climbs that found nothing new kept audits from their turn.
    ("clock-leaps", 24),
    # The same: a round of audits forgot its runs when the list of runs was read again.
    ("clock-leaps", 1053),
    # The only answer so far told of a time a minute ahead, and the frontier followed it.
    ("wrong-dates", 23778675),
    # The end of the list was pulled up into the last window while its end was being proven.
    ("storm", 23778592),
    # A gap that a climb had seen at its beginning was forgotten when it was interrupted.
    ("outage", 49361542),
    # An owner that was fenced, had nothing to write since, and so did not know it, was judged.
    ("split-brain", 176792668),
    # A climb gave up, and what only the whole list showed was published behind what was newer.
    ("long-shuffled-ties", 176791914),
    # Climbs in which only the frontier moved, with the clock, followed each other for ever.
    ("clock-leaps", 176792557),
    ("gateways", 82914756),
)
