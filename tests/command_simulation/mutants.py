"""Bugs that the stories must catch: `python -m command_simulation.mutants`."""

from __future__ import annotations

import sys
from typing import Final

from simulation import bugs_in_writing as writing
from simulation import catching
from simulation.catching import Mutant
from simulation.playing import Failure

from bridge.commands import execution, policy
from bridge.commands.brakes.brake import Brakes
from bridge.commands.execution import Execution
from bridge.commands.ledger import ledger, reader
from bridge.commands.ledger.journal import Journal
from bridge.commands.ledger.ledger import Ledger
from bridge.commands.ledger.position import InputPosition
from bridge.commands.ledger.reader import LedgerReader
from bridge.commands.ledger.write_queue import Queue
from bridge.commands.model import Command
from bridge.commands.partition import Partition
from bridge.commands.requests import effects, verdicts
from bridge.commands.requests.resolution import Watch
from bridge.config.models import Settings
from bridge.kafka import producer
from bridge.missions import faults
from bridge.missions.client import MissionsClient
from command_simulation import bugs
from command_simulation.clients import KafkaOn
from command_simulation.runner import BOOK
from command_simulation.stage import RESULTS, STATE

MUTANTS: Final[dict[str, Mutant]] = {
    "the ledger is read to its end offset": Mutant(
        reader, "read_partition", bugs.until_the_end, ("strangers",)
    ),
    "the ledger is read uncommitted": Mutant(
        KafkaOn, "consumer", bugs.everything_is_visible, ("commits",)
    ),
    "brakes are hidden by open transactions": Mutant(
        KafkaOn, "consumer", bugs.only_committed_is_visible, ("brakes",)
    ),
    "only brakes on everything hold": Mutant(
        Brakes, "holds", bugs.held_only_as_a_whole, ("brakes",)
    ),
    "reading begins at the start of the log": Mutant(
        LedgerReader, "read", bugs.from_the_start, ("killed",)
    ),
    "only the low-water mark is kept": Mutant(
        ledger, "position_state", bugs.only_the_mark, ("killed-calls",)
    ),
    "the position passes what is open": Mutant(
        InputPosition, "with_completed", bugs.beyond_what_is_open, ("killed-calls",)
    ),
    "forgetting a command forgets the position": Mutant(
        Journal, "_commit", bugs.without_the_mark, ("forgetting",)
    ),
    "commands are forgotten by the wall clock": Mutant(
        Ledger, "too_old", bugs.by_the_wall_clock, ("clock-behind",)
    ),
    "the result precedes the ledger": Mutant(
        producer.Writer, "commit", bugs.in_parts(RESULTS), ("commits", "killed")
    ),
    "the ledger precedes the result": Mutant(
        producer.Writer, "commit", bugs.in_parts(STATE), ("commits", "killed")
    ),
    "the position precedes what it speaks of": Mutant(
        producer.Writer, "commit", bugs.position_apart, ("commits", "killed")
    ),
    "the call does not wait for the intent": Mutant(
        Execution, "_put", bugs.intent_in_passing, ("killed-calls", "commits")
    ),
    "outcomes are lost with their producer": Mutant(
        Queue, "settle", bugs.outcomes_are_lost, ("commits",)
    ),
    "nothing that waits is ever overtaken": Mutant(
        Queue, "settle", bugs.nothing_is_overtaken, ("commits", "everything")
    ),
    "the commit does not wait for its records": Mutant(
        producer.Writer, "_send", writing.do_not_await, ("commits",)
    ),
    "a producer is used again after a failure": Mutant(
        producer.Writer,
        "open",
        writing.use_it_again,
        ("commits",),
        also=((producer.Writer, "close", writing.never_close),),
    ),
    "a repeated EndTxn is not noticed": Mutant(
        producer._EndCounter, "_counted", writing.repetitions_do_not_count, ("commits",)
    ),
    "each owner has a transactional id of its own": Mutant(
        Settings, "transactional_id_commands", bugs.an_id_of_its_own, ("zombies", "everything")
    ),
    "dead letters are dropped": Mutant(
        producer.Writer, "commit", bugs.letters_are_dropped, ("users",)
    ),
    "the first look is believed": Mutant(Watch, "conclude", bugs.at_once, ("late",)),
    "what was so before is taken for the effect": Mutant(
        effects, "look", bugs.as_ordered_is_enough, ("late-again",)
    ),
    "old pictures are taken for new ones": Mutant(
        effects, "look", bugs.every_look_is_fresh, ("stale", "stale-resolve")
    ),
    "a mission that is gone proves that nothing was done": Mutant(
        effects, "look", bugs.unseen_is_absent, ("vanishing-resolve",)
    ),
    "a start is repeated under strict": Mutant(execution, "repeats", bugs.always, ("very-late",)),
    "a new owner looks once": Mutant(
        Execution, "__init__", bugs.a_new_owner_looks_once, ("everything", "housekeeping")
    ),
    "doubt is told again and again": Mutant(Execution, "_tell", bugs.told_again, ("faults",)),
    "silence means that nothing was done": Mutant(
        verdicts, "judge", bugs.clear_though_silent, ("faults",)
    ),
    "a 5xx is taken for a refusal": Mutant(
        verdicts, "judge", bugs.refused_though_broken, ("faults",)
    ),
    "a redirect means that nothing was done": Mutant(
        verdicts, "judge", bugs.clear_though_redirected, ("intermediaries",)
    ),
    "a proxy is taken for the API": Mutant(
        faults, "is_own_form", bugs.everybody_is_the_api, ("intermediaries",)
    ),
    "the first look explains a refusal": Mutant(
        Execution, "_search", bugs.the_first_look_explains_a_refusal, ("old-copies",)
    ),
    "a command in doubt expires": Mutant(
        Execution, "_search", bugs.expired_in_doubt, ("deadlines-resolve",)
    ),
    "what is not found is told REJECTED": Mutant(
        verdicts, "in_doubt", bugs.no_effect_is_failure, ("very-late",)
    ),
    "requests leave however late": Mutant(MissionsClient, "guarded", bugs.unguarded, ("zombies",)),
    "repetitions are final": Mutant(policy, "decide", bugs.repetitions_are_final, ("users",)),
    "another body is not noticed": Mutant(
        Command, "fingerprint", bugs.all_bodies_are_alike, ("users",)
    ),
    "each record has a lane of its own": Mutant(
        Partition, "_enqueue", bugs.every_record_has_its_lane, ("faults", "late")
    ),
    "what was begun is not taken up": Mutant(
        Ledger, "unfinished", bugs.nothing_is_taken_up, ("housekeeping",)
    ),
    "any partition will do": Mutant(policy, "_misrouting", bugs.any_partition_will_do, ("users",)),
}


def caught(name: str, seeds: int = catching.SEEDS) -> Failure | None:
    """Return the first story that a bug spoils; None if there is none."""
    return catching.caught(BOOK, name, MUTANTS[name], seeds)


if __name__ == "__main__":
    sys.exit(catching.main(caught, MUTANTS))
