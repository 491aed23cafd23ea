"""Bugs that the stories must catch, or they prove little: `python -m simulation.mutants`."""

from __future__ import annotations

import sys
from typing import Final

from bridge.config.models import Settings
from bridge.kafka import producer
from bridge.missions import answers, faults
from bridge.missions.client import MissionsClient
from bridge.source import owner, takeover
from bridge.source.allowance import Allowance
from bridge.source.audits import rules
from bridge.source.checkpoint import gaps, records
from bridge.source.checkpoint.position import Position
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.owner import Source
from bridge.source.poller import Poller
from bridge.source.progress import Progress
from bridge.source.reading import climb, page_items, sweep
from bridge.source.reading.reader import ListReader
from bridge.source.reading.server_clock import ServerClock
from bridge.source.writing.publish import Publisher
from bridge.source.writing.transaction import Committer
from simulation import bugs_in_reading as reading
from simulation import bugs_in_writing as writing
from simulation import catching
from simulation.catching import Mutant
from simulation.clients import KafkaOn
from simulation.playing import Failure
from simulation.runner import BOOK

MUTANTS: Final[dict[str, Mutant]] = {
    "forward windows are not linked": Mutant(
        sweep, "_next_below", reading.any_window_follows, ("busy", "deletions")
    ),
    "climbing windows are not linked": Mutant(
        climb._Climb, "linked", reading.any_window_links, ("busy", "load")
    ),
    "a short page is the end": Mutant(
        sweep, "is_end", reading.a_short_page_is_the_end, ("short-pages",)
    ),
    "a run of ties is linked by membership": Mutant(
        climb._Climb, "through_ties", reading.one_pass_over_ties, ("long-shuffled-ties",)
    ),
    "the frontier follows one event": Mutant(
        sweep,
        "newest_not_beyond",
        reading.the_newest_of_all,
        ("future",),
        also=((ListReader, "settled", reading.without_bound),),
    ),
    "the frontier is our own clock": Mutant(
        Progress, "_ahead", reading.the_clock_is_the_frontier, ("crashes",)
    ),
    "a shallow pass moves the frontier": Mutant(
        sweep, "forward", reading.every_pass_is_complete, ("shallow",)
    ),
    "a deep pass takes all the time it can get": Mutant(
        Allowance, "allows", reading.always, ("steady",)
    ),
    "what came meanwhile is climbed at once": Mutant(
        Poller, "turn", reading.climbed_again, ("steady",)
    ),
    "a sweep stops at the frontier": Mutant(
        Progress, "stop", reading.stop_at_the_frontier, ("late",)
    ),
    "a list out of order moves the frontier": Mutant(
        sweep, "to_the_end", reading.order_does_not_matter, ("order-of-creation",)
    ),
    "steps of the clock are not noticed": Mutant(
        Progress, "stop", reading.only_the_frontier_counts, ("clock-steps",)
    ),
    "a clock set far back is no gap": Mutant(
        gaps, "out_of_reach", reading.all_is_within_reach, ("clock-leaps",)
    ),
    "each Date is believed": Mutant(
        ServerClock,
        "observe",
        reading.each_date_is_believed,
        ("wrong-dates",),
        also=(
            (ServerClock, "step", lambda _: 0),
            (ListReader, "settled", reading.without_bound),
        ),
    ),
    "a page that failed is taken for empty": Mutant(
        ListReader, "_read", reading.failures_are_empty_pages, ("half-deaf",)
    ),
    "smaller pages than asked are not noticed": Mutant(
        MissionsClient, "list_events", reading.sizes_are_as_asked, ("clamped",)
    ),
    "another page than asked is not noticed": Mutant(
        answers, "_page", reading.any_page_will_do, ("other-pages",)
    ),
    "a climb's position runs ahead of its items": Mutant(
        climb._Climb, "publish", reading.ahead_of_its_items, ("killed-climbs",)
    ),
    "a climb's position is not kept": Mutant(
        records, "read_back", writing.the_climb_is_not_kept, ("killed-climbs",)
    ),
    "the first 404 closes a run": Mutant(
        rules, "after_absence", reading.gone_for_good, ("gateways",)
    ),
    "a gateway's 404 closes a run": Mutant(
        faults,
        "is_own_form",
        reading.everybody_is_the_api,
        ("gateways",),
        also=((rules, "after_absence", reading.gone_for_good),),
    ),
    "events are published newest first": Mutant(
        sweep, "oldest_first", reading.the_newest_first, ("calm",)
    ),
    "nothing is marked late": Mutant(Publisher, "event", writing.nobody_is_late, ("late",)),
    "what comes late is dropped": Mutant(Checkpoint, "new", writing.drop_what_is_late, ("late",)),
    "digests of 32 bits": Mutant(page_items, "digest", reading.of_32_bits, ("odd-ids",)),
    "digests without lengths": Mutant(page_items, "digest", reading.without_lengths, ("odd-ids",)),
    "digests without the run": Mutant(
        page_items, "digest", reading.of_the_event_alone, ("odd-ids",)
    ),
    "digests expire early": Mutant(Checkpoint, "plan", writing.expire_early, ("late",)),
    "only the last segments are known": Mutant(
        Checkpoint, "remember", writing.seen_is_forgotten, ("late",)
    ),
    "what is new is decided before the turn": Mutant(
        Poller,
        "turn",
        writing.look_before_the_turn,
        ("load", "long-ties"),
        also=(
            (Checkpoint, "new", writing.decide_by_the_turn),
            (Committer, "commit_all", writing.commit_unfiltered),
        ),
    ),
    "future events are forgotten": Mutant(Checkpoint, "plan", writing.carry_nothing, ("future",)),
    "what expired is published again": Mutant(
        Position, "oldest", writing.expired_is_new, ("clock-steps",)
    ),
    "dead letters are dropped": Mutant(
        producer.Writer, "commit", writing.without_dead_letters, ("broken-rows",)
    ),
    "the commit does not wait for its records": Mutant(
        producer.Writer, "_send", writing.do_not_await, ("doubtful",)
    ),
    "the checkpoint follows the events": Mutant(
        producer.Writer, "commit", writing.events_first, ("crashes",)
    ),
    "without transactions the events come last": Mutant(
        producer.Writer, "_pack", writing.the_last_first, ("at-least-once",)
    ),
    "the topic is not read back": Mutant(
        owner, "published", writing.nothing_is_published, ("read-back",)
    ),
    "the events follow the checkpoint": Mutant(
        producer.Writer, "commit", writing.checkpoint_first, ("crashes",)
    ),
    "a producer is used again after a failure": Mutant(
        producer.Writer,
        "open",
        writing.use_it_again,
        ("doubtful",),
        also=((producer.Writer, "close", writing.never_close),),
    ),
    "a repeated EndTxn is not noticed": Mutant(
        producer._EndCounter, "_counted", writing.repetitions_do_not_count, ("doubtful",)
    ),
    "a lost transaction is taken for aborted": Mutant(
        takeover.Desk, "take_over", writing.without_reading_back, ("doubtful",)
    ),
    "the checkpoint is read to its end offset": Mutant(
        takeover, "read_partition", writing.until_the_end, ("strangers",)
    ),
    "the checkpoint is read uncommitted": Mutant(
        KafkaOn, "committed_only", writing.everything_is_visible, ("doubtful", "crashes")
    ),
    "each owner has a transactional id of its own": Mutant(
        Settings, "transactional_id_source", writing.an_id_of_its_own, ("takeover",)
    ),
    "a fenced owner comes back at once": Mutant(
        Source, "_stand_by", writing.at_once, ("split-brain",)
    ),
}


def caught(name: str, seeds: int = catching.SEEDS) -> Failure | None:
    """Return the first story that a bug spoils; None if there is none."""
    return catching.caught(BOOK, name, MUTANTS[name], seeds)


if __name__ == "__main__":
    sys.exit(catching.main(caught, MUTANTS))
