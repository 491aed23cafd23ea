"""What became of commands: the topics compared with what the API says that it did."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.commands.model import Verb
from bridge.commands.requests.resolution import repeats
from support.commands import Command, results
from support.kafka import read_topic
from support.stage import Stage
from support.verdict import decoder

Subject = tuple[str, ...]
"""What an effect is known by: the verb with the command's mark, or with the ids of its object."""

_MARKED = ("create_mission", "start_run", "log_event")
_MADE = {"create_mission": "mission_id", "start_run": "run_id", "clone_mission": "clone_id"}
"""Verbs that make something, with the fact of the ledger that has its id."""


@dataclass(frozen=True)
class Day:
    """What became of the commands of a topic, all by their ids."""

    asked: Mapping[str, Command]
    finals: Mapping[str, Mapping[str, Any]]
    interim: Mapping[str, list[str]]
    """Statuses of the results that are not final."""
    effects: list[str]
    """As the API carried them out, one after the other."""
    made: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The ledger's entry of each effect."""
    order: Mapping[bytes, list[str]] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[str]:
        """How many commands ended with which status."""
        return Counter(result["status"] for result in self.finals.values())

    def ended(self, status: str) -> set[str]:
        """The commands that ended with a status."""
        return {one for one, result in self.finals.items() if result["status"] == status}

    def verbs(self, status: str) -> Counter[str]:
        """How many commands of which verb ended with a status."""
        return Counter(self.asked[one]["type"] for one in self.ended(status))

    def assert_sound(self, policy: str = "strict") -> None:
        """Fail unless each effect came once, where it was told, and in the order of its key.

        A resume needs no effect where the pause before it had none. IN_DOUBT is an answer only
        where the policy forbids to ask again and no effect is there; of clones nobody can know.
        """
        done = Counter(self.effects)
        twice = [one for one, count in done.items() if count > 1]
        assert not twice, [(self.asked[one], self.finals[one]) for one in twice[:3]]
        succeeded, in_doubt = self.ended("SUCCEEDED"), self.ended("IN_DOUBT")
        missing = succeeded - done.keys()
        idle = {one for one in missing | self.ended("ALREADY_DONE") if self._was_superfluous(one)}
        assert missing <= idle, self._told(missing - idle)
        assert self.ended("ALREADY_DONE") <= idle, self._told(self.ended("ALREADY_DONE") - idle)
        clones = {one for one in in_doubt if self._is(one, "clone_mission")}
        hidden = done.keys() - succeeded - clones
        assert not hidden, self._told(hidden)
        guessed = [
            one
            for one in in_doubt
            if repeats(Verb(self.asked[one]["type"]), resolve=policy == "resolve")
        ]
        assert not guessed, self._told(guessed)
        self._assert_ids(succeeded)
        self._assert_order()

    def _was_superfluous(self, command_id: str) -> bool:
        """Say whether a command asked to resume a run that no pause before it had paused."""
        command = self.asked[command_id]
        paused = {self.asked[one]["run_id"] for one in self.effects if self._is(one, "pause_run")}
        return self._is(command_id, "resume_run") and command["run_id"] not in paused

    def _is(self, command_id: str, verb: str) -> bool:
        return bool(self.asked[command_id]["type"] == verb)

    def _assert_ids(self, succeeded: set[str]) -> None:
        """See that results name what was made."""
        for one in succeeded:
            verb = self.asked[one]["type"]
            if verb in _MADE:
                id_of_it = "run_id" if verb == "start_run" else "mission_id"
                assert self.finals[one][id_of_it] == self.made[one][_MADE[verb]], self.finals[one]

    def _assert_order(self) -> None:
        place = {command_id: number for number, command_id in enumerate(self.effects)}
        for key, command_ids in self.order.items():
            places = [place[one] for one in command_ids if one in place]
            assert places == sorted(places), f"the effects of {key!r} came out of order"

    def _told(self, ids: Any) -> list[Any]:
        return [self.finals[one] for one in sorted(ids)[:3]]


def review(scene: Stage) -> Day:
    """Compare commands, results and effects; fail unless each command has one final result."""
    topic = f"{scene.prefix}.commands"
    asked: dict[str, Command] = {}
    order: defaultdict[bytes, list[str]] = defaultdict(list)
    where: dict[str, tuple[int, int]] = {}
    with decoder(scene.registry_url, topic) as decode:
        for record in read_topic(scene.broker, topic, deadline=120):
            command = decode(record.value or b"")
            command_id = command["command_id"]
            asked[command_id] = command
            order[record.key or b""].append(command_id)
            where[command_id] = record.partition, record.offset
    finals: dict[str, dict[str, Any]] = {}
    interim: defaultdict[str, list[str]] = defaultdict(list)
    for result in results(scene):
        command_id = result["command_id"]
        assert command_id not in finals, [finals[command_id], result]
        assert where[command_id] == (result["source_partition"], result["source_offset"]), result
        if result["final"]:
            finals[command_id] = result
        else:
            interim[command_id].append(result["status"])
    assert finals.keys() == asked.keys(), sorted(asked.keys() - finals.keys())[:3]
    assert all(set(told) == {"IN_DOUBT"} for told in interim.values()), interim
    by_subject = {_ordered(command): command_id for command_id, command in asked.items()}
    assert len(by_subject) == len(asked), "commands of one test must be about different things"
    ledger = scene.effects()
    effects = [by_subject[_done(effect)] for effect in ledger]
    return Day(
        asked=asked,
        finals=finals,
        interim=dict(interim),
        effects=effects,
        made=dict(zip(effects, ledger, strict=True)),
        order=dict(order),
    )


def _ordered(command: Command) -> Subject:
    verb, body = command["type"], command["body"]
    if verb in _MARKED:
        return verb, command["command_id"]
    part = body.get("step_id") or body.get("telnyx_agent_id") or ""
    steps = ",".join(step["step_id"] for step in body.get("steps", ()))
    return verb, command["run_id"] or command["mission_id"], part or steps


def _done(effect: Mapping[str, Any]) -> Subject:
    verb = effect["operation"]
    if verb in _MARKED:
        return verb, effect["command_id"]
    part = effect.get("step_id") or effect.get("telnyx_agent_id") or ""
    steps = ",".join(effect.get("step_ids", ()))
    return verb, effect.get("run_id") or effect["mission_id"], part or steps
