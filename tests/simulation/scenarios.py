"""The scenarios: each a way in which the API, Kafka and processes misbehave together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simulation.chaos import Chaos
from simulation.roads import Roads
from simulation.weather import Weather


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one kind of story is about. Times in seconds."""

    about: str
    weather: Weather = field(default_factory=Weather)
    roads: Roads = field(default_factory=Roads)
    chaos: Chaos = field(default_factory=Chaos)
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    """Of the simulated API: see `bridge.dev.faults.Behaviour`."""
    faults: tuple[Mapping[str, Any], ...] = ()
    """Of the simulated API, until the story calms down."""
    start: float | Literal["earliest", "latest"] = "earliest"
    """Where the source is told to begin; a number counts from the time of its start."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    sources: int = 1
    """How many accounts are read at once, each by processes of its own."""
    page: int = 20
    lateness: float = 20.0
    poll: float = 2.0
    seconds: float = 40.0
    """How long the story goes on before everything calms down."""
    settle: float = 70.0
    """How long it goes on after that, at least."""
    audits: float = 200.0
    """Seconds between two audits of a live run."""
    requests: int = 4000
    """More than so many are a livelock."""
    seals: bool = False
    """Every run that ended must be sealed in the end."""
    share: float = 1.0
    """Stories of this kind for each one of another: long ones are played less often."""
    is_race: bool = False
    """The backlog must be read within `seconds`, then it calms down at once."""
    producers: int = 100
    """More than so many opened are owners that fence each other for ever."""


QUICK = Roads(latencies=(0.01, 0.02, 0.05))
SEEN = Roads(hidden_runs=0.0)
CRASHING = Chaos(killed=0.1, killed_reading=0.002)

SCENARIOS: dict[str, Scenario] = {
    "calm": Scenario("bursts, and nothing else"),
    "ties": Scenario("a coarse clock: many equal timestamps", behaviour={"granularity": 5}),
    "late": Scenario(
        "events appear late, within the lateness window",
        Weather(late=0.1),
        behaviour={"granularity": 3},
    ),
    "deletions": Scenario(
        "missions vanish while pages are read",
        Weather(late=0.1, deletions=0.03),
        behaviour={"granularity": 3},
    ),
    "future": Scenario(
        "events dated up to five lateness windows ahead",
        Weather(late=0.05, future=0.03, deletions=0.01),
    ),
    "crashes": Scenario(
        "killed at a tenth of the commits, half of them after the commit, and while reading",
        Weather(late=0.1, deletions=0.01, bursts=0.02),
        chaos=CRASHING,
    ),
    "very-late": Scenario(
        "events appear later than the lateness window: only audits find them",
        Weather(late=0.1, very_late=0.03, endings=0.01),
        roads=SEEN,
        settle=200.0,
        audits=100.0,
        chaos=CRASHING,
        share=0.4,
    ),
    "endings": Scenario(
        "runs end: each is sealed once its list has shown the same twice",
        Weather(late=0.1, endings=0.05, deletions=0.005),
        roads=SEEN,
        chaos=CRASHING,
        settle=400.0,
        audits=60.0,
        seals=True,
        share=0.2,
    ),
    "edits": Scenario(
        "events that were shown get other content",
        Weather(late=0.05, edits=0.1),
        roads=Roads(hidden_runs=0.5),
        chaos=CRASHING,
    ),
    "truncated": Scenario(
        "the list ends after the newest 40 events",
        Weather(late=0.1, bursts=0.015, deletions=0.01),
        roads=SEEN,
        settle=150.0,
        audits=100.0,
        chaos=CRASHING,
        behaviour={"newest_only": 40},
        share=0.4,
    ),
    "busy": Scenario(
        "bursts and deletions while pages are read",
        Weather(rate=0.7, bursts=0.03, late=0.1, deletions=0.06),
        chaos=CRASHING,
        behaviour={"granularity": 3},
        share=0.5,
    ),
    "larger-pages": Scenario(
        "many events, and pages that hold them",
        Weather(rate=1.5, bursts=0.03, late=0.1, deletions=0.01),
        chaos=CRASHING,
        page=50,
    ),
    "start-later": Scenario(
        "the source is told to begin half a minute before its first start",
        Weather(late=0.1, bursts=0.02, past=200.0),
        roads=Roads(hidden_runs=0.5),
        chaos=CRASHING,
        start=-30.0,
    ),
    "from-now-on": Scenario(
        "the source is told to publish only what comes from now on",
        Weather(late=0.1, bursts=0.02),
        roads=Roads(hidden_runs=0.5),
        chaos=CRASHING,
        start="latest",
    ),
    "at-least-once": Scenario(
        "Kafka without transactions: nothing is lost, and only what fails may be written twice",
        Weather(late=0.1, bursts=0.02),
        chaos=Chaos(killed=0.06, doubtful=0.04, killed_reading=0.002),
        delivery="at_least_once",
    ),
    "read-back": Scenario(
        "events later than digests are kept: the topic itself tells what is published",
        Weather(late=0.1, very_late=0.06, endings=0.01, deletions=0.005),
        roads=SEEN,
        chaos=CRASHING,
        lateness=10.0,
        seconds=80.0,
        settle=200.0,
        audits=60.0,
        share=0.3,
    ),
    "two-sources": Scenario(
        "two accounts: their checkpoints share a partition, their events the topics",
        Weather(late=0.1, broken=0.02, deletions=0.01),
        chaos=Chaos(replicas=2, killed=0.05, doubtful=0.03, repeated=0.03, handed_over=0.03),
        sources=2,
        share=0.4,
    ),
    "long-ties": Scenario(
        "runs of equal timestamps longer than a page",
        Weather(rate=0.25, bursts=0.03, late=0.05, past=60.0),
        roads=QUICK,
        poll=8.0,
        chaos=CRASHING,
        behaviour={"granularity": 40},
        page=12,
        lateness=60.0,
        seconds=40.0,
        share=0.2,
    ),
    "shuffled-ties": Scenario(
        "equal timestamps in another order on each read",
        Weather(late=0.1),
        behaviour={"granularity": 5, "shuffle_ties": True},
        share=0.4,
    ),
    "long-shuffled-ties": Scenario(
        "the same, in runs longer than a page",
        Weather(rate=0.3, bursts=0.03, late=0.05, past=60.0),
        roads=QUICK,
        poll=8.0,
        behaviour={"granularity": 40, "shuffle_ties": True},
        lateness=60.0,
        seconds=40.0,
        share=0.1,
    ),
    "short-pages": Scenario(
        "rows are filtered after they were counted, so pages come out short",
        Weather(rate=0.8, bursts=0.02, late=0.1, deletions=0.02),
        behaviour={"filter_after_limit": True},
    ),
    "oldest-first": Scenario(
        "the list shows the oldest event first",
        Weather(late=0.1, deletions=0.01),
        behaviour={"order": "oldest"},
        chaos=CRASHING,
    ),
    "oldest-first-ties": Scenario(
        "the same, with runs of equal timestamps, bursts and a backlog",
        Weather(rate=0.5, late=0.1, bursts=0.02, past=250.0),
        roads=QUICK,
        poll=4.0,
        chaos=CRASHING,
        behaviour={"order": "oldest", "granularity": 10, "shuffle_ties": True},
        share=0.2,
    ),
    "order-of-creation": Scenario(
        "the list is sorted by creation, whatever the timestamps say",
        Weather(late=0.1, deletions=0.01),
        behaviour={"order": "created"},
    ),
    "clamped": Scenario(
        "the server cuts pages to a size of its own",
        Weather(late=0.1, deletions=0.01),
        behaviour={"max_page_size": 12},
    ),
    "fixed-size": Scenario(
        "the server has one page size, whatever is asked for",
        Weather(late=0.1, deletions=0.01),
        roads=Roads(fixed_size=15),
    ),
    "fixed-size-busy": Scenario(
        "the same, with a backlog, arrivals, bursts and deletions",
        Weather(rate=0.5, late=0.1, bursts=0.02, deletions=0.03, past=200.0, arrivals=0.5),
        roads=Roads(fixed_size=15),
        requests=4000,
        chaos=CRASHING,
        share=0.2,
    ),
    "clock-steps": Scenario(
        "the server's clock is set, and its Date is missing now and then",
        Weather(late=0.1, steps=0.04),
        roads=Roads(no_dates=0.1),
        seconds=60.0,
        settle=150.0,
    ),
    "clock-leaps": Scenario(
        "the server's clock is set by up to an hour, and runs end: only audits see what is stamped",
        Weather(late=0.1, steps=0.02, strides=(2.0, 6.0, 180.0), endings=0.02),
        roads=Roads(hidden_runs=0.0, no_dates=0.1),
        seconds=60.0,
        settle=300.0,
        audits=60.0,
        share=0.2,
    ),
    "skewed": Scenario(
        "Date is always a quarter more than a lateness window ahead",
        Weather(late=0.1),
        behaviour={"date_offset": 25},
    ),
    "no-date": Scenario(
        "answers have no Date",
        Weather(late=0.1, future=0.01),
        behaviour={"date": False},
    ),
    "wrong-dates": Scenario(
        "the Date of one in fifty answers is three lateness windows ahead, and restarts are slow",
        Weather(late=0.1, future=0.05, bursts=0.05),
        roads=Roads(wrong_dates=0.02),
        chaos=Chaos(killed=0.08, down=90.0),
    ),
    "load": Scenario(
        "a backlog is climbed while 30 % of the page capacity arrives",
        Weather(late=0.1, past=250.0, arrivals=6.0),
        chaos=CRASHING,
        seconds=12.0,
        requests=5000,
        share=0.3,
    ),
    "killed-climbs": Scenario(
        "a climb that is killed over and over gets ahead all the same",
        Weather(rate=0.3, bursts=0.0, past=450.0),
        chaos=Chaos(killed_reading=0.07),
        page=10,
        seconds=1500.0,
        is_race=True,
        share=0.2,
    ),
    "shallow": Scenario(
        "the lateness window holds more than a page: most polls are shallow",
        Weather(rate=0.5, late=0.2),
        page=30,
        lateness=120.0,
        seconds=90.0,
        settle=370.0,
        share=0.5,
    ),
    "outage": Scenario(
        "the API is away for longer than its truncated list reaches back",
        Weather(rate=0.25, bursts=0.02),
        roads=Roads(outages=0.03, hidden_runs=0.0),
        behaviour={"newest_only": 40},
        seconds=120.0,
        settle=200.0,
        audits=150.0,
        share=0.4,
    ),
    "stale": Scenario(
        "every other answer comes from a replica that lags",
        Weather(late=0.1, margin=10.0),
        faults=({"kind": "stale", "seconds": 6, "probability": 0.5},),
        lateness=30.0,
    ),
    "cached": Scenario(
        "a cache answers with old pages, and says how old",
        Weather(late=0.1, bursts=0.02),
        faults=({"kind": "stale", "seconds": 60, "age": True, "probability": 0.1},),
    ),
    "bad-answers": Scenario(
        "errors, refusals, garbage, wrong page numbers, and no answers at all",
        Weather(late=0.1, deletions=0.01),
        roads=Roads(lost=0.03),
        faults=(
            {"kind": "status", "status": 503, "probability": 0.04},
            {"kind": "status", "status": 429, "probability": 0.03, "retry_after": "7"},
            {"kind": "body", "probability": 0.02},
            {"kind": "cut", "probability": 0.02},
            {"kind": "drop", "probability": 0.02},
            {"kind": "echo", "probability": 0.05},
        ),
    ),
    "other-pages": Scenario(
        "one answer in five holds another page than asked, and says so; pages come out short",
        Weather(late=0.1, bursts=0.02, deletions=0.02),
        roads=Roads(other_pages=0.2),
        behaviour={"filter_after_limit": True},
    ),
    "half-deaf": Scenario(
        "three of four requests fail, and pages come out short",
        Weather(rate=0.8, late=0.1, deletions=0.02),
        behaviour={"filter_after_limit": True},
        faults=({"kind": "status", "status": 503, "probability": 0.75},),
    ),
    "refused-key": Scenario(
        "the key is refused now and then",
        Weather(late=0.1),
        faults=({"kind": "status", "status": 401, "probability": 0.05},),
    ),
    "broken-rows": Scenario(
        "rows that are no events, or that Avro cannot hold",
        Weather(late=0.1, broken=0.1, deletions=0.01),
        chaos=CRASHING,
    ),
    "odd-ids": Scenario(
        "ids that differ only in where the run's ends and the event's begins, or in a few bits",
        Weather(odd_ids=True),
        chaos=CRASHING,
    ),
    "doubtful": Scenario(
        "commits that fail, go unanswered, or are ended twice",
        Weather(rate=0.8, late=0.1, bursts=0.02),
        chaos=Chaos(killed=0.05, doubtful=0.08, repeated=0.08),
        seconds=60.0,
    ),
    "takeover": Scenario(
        "two replicas: one freezes, the other takes over, the first wakes up",
        Weather(late=0.1, deletions=0.01),
        chaos=Chaos(replicas=2, killed=0.03, frozen=0.04, handed_over=0.03, repeated=0.02),
    ),
    "split-brain": Scenario(
        "for a while the group shows the source to both of two replicas",
        Weather(late=0.1),
        chaos=Chaos(replicas=2, handed_over=0.1, deaf=20.0),
        producers=9,
    ),
    "strangers": Scenario(
        "foreign transactions hold back what readers of the checkpoint can see",
        Weather(late=0.1),
        chaos=Chaos(replicas=2, killed=0.1, handed_over=0.03, foreign=0.03),
    ),
    "kafka-away": Scenario(
        "no broker can be reached for a while",
        Weather(late=0.1, bursts=0.02),
        chaos=Chaos(killed=0.03, kafka_away=0.04),
        seconds=60.0,
    ),
    "storm": Scenario(
        "everything at once",
        Weather(rate=0.6, bursts=0.02, late=0.1, future=0.01, deletions=0.03, broken=0.02),
        roads=Roads(lost=0.01, wrong_dates=0.01, no_dates=0.02),
        chaos=Chaos(
            killed=0.04,
            doubtful=0.03,
            repeated=0.03,
            killed_reading=0.001,
            replicas=2,
            frozen=0.02,
            handed_over=0.02,
            foreign=0.01,
            kafka_away=0.005,
        ),
        behaviour={"granularity": 1, "shuffle_ties": True, "filter_after_limit": True},
        faults=({"kind": "status", "status": 503, "probability": 0.02},),
        share=0.4,
        requests=8000,
    ),
}
