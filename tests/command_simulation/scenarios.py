"""The scenarios: each a way in which users, the API, Kafka and processes misbehave together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from simulation.chaos import Chaos

from command_simulation.orders import Mix
from command_simulation.roads import Road, Roads


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one kind of story is about. Times in seconds."""

    about: str
    mix: Mix = field(default_factory=Mix)
    roads: Roads = field(default_factory=Roads)
    chaos: Chaos = field(default_factory=Chaos)
    resolve: bool = False
    """The policy on doubt; else strict."""
    orders: int = 10
    """Records that users put on the topic."""
    ordering: float = 40.0
    """How long users go on to order."""
    seconds: float = 40.0
    """How long the story goes on before everything calms down."""
    lives: float = 0.0
    """Times that a process goes in or out, on average, before it is killed; 0: it is not."""
    naps: float = 0.0
    """The same, before it is frozen for a while."""
    freezes: tuple[float, ...] = (1.0, 6.0, 12.0, 20.0, 50.0)
    """How long it is frozen: one of these."""
    frozen_commits: float = 0.0
    """Share of transactions after which the process is frozen, before it hears of the end."""
    compaction: float = 0.0
    """Chance a second that the ledger is compacted."""
    retention: float = 0.0
    """Chance a second that retention removes what was read of the commands."""
    registry_away: float = 0.0
    """Chance a second that the schema registry is away, for a while."""
    brakes: float = 0.0
    """Chance a second that somebody holds commands back, for a while."""
    remembers: int | None = None
    """Finished commands that a ledger remembers; None: as many as the bridge does."""
    clock_off: float = 0.0
    """Days by which the clocks of bridges are off, until they are set right at half time."""
    partitions: int = 2
    share: float = 1.0
    """Stories of this kind for each one of another."""
    producers: int = 60
    """More than so many opened are owners that fence each other for ever."""


FAULTY: Final = Roads(
    writes=dict.fromkeys(
        (
            Road.RESET,
            Road.SILENT,
            Road.VANISHED,
            Road.SWALLOWED,
            Road.FAILED,
            Road.UNSERVED,
            Road.BROKEN,
        ),
        0.06,
    )
    | {Road.REFUSED: 0.05, Road.THROTTLED: 0.05},
    reads={Road.SWALLOWED: 0.02, Road.UNSERVED: 0.05, Road.REFUSED: 0.03, Road.THROTTLED: 0.03},
)
LATE: Final = Roads(writes={Road.LATE: 0.25, Road.SILENT: 0.05, Road.FAILED: 0.05})
VERY_LATE: Final = Roads(writes={Road.VERY_LATE: 0.2, Road.LATE: 0.1, Road.SILENT: 0.05})
INTERMEDIARIES: Final = Roads(
    writes=dict.fromkeys(
        (Road.REDIRECTED, Road.INTERCEPTED, Road.TURNED_AWAY, Road.NOT_PASSED_ON), 0.1
    ),
    reads=dict.fromkeys((Road.REDIRECTED, Road.TURNED_AWAY, Road.NOT_PASSED_ON), 0.03),
)
DEADLY: Final = Roads(
    writes={Road.KILLED_BEFORE: 0.07, Road.KILLED_UNDER_WAY: 0.1, Road.KILLED_ANSWERED: 0.1},
    reads={Road.KILLED_ANSWERED: 0.03},
)
USERS: Final = Mix(
    again=0.12, other=0.08, expiring=0.08, denied=0.05, invalid=0.05, misrouted=0.05, garbage=0.08
)
STEERING: Final = Mix(
    verbs={"pause_run": 2.0, "resume_run": 2.0, "cancel_run": 2.0, "link_agent": 1.0}
)
SEVERAL: Final = Chaos(
    killed=0.03, doubtful=0.03, repeated=0.02, replicas=3, frozen=0.03, handed_over=0.05
)

SCENARIOS: dict[str, Scenario] = {
    "calm": Scenario("orders, and nothing else"),
    "users": Scenario("repeated, changed, expired, misrouted and unreadable orders", USERS),
    "faults": Scenario("answers lost after and without effect, 5xx, 429", roads=FAULTY),
    "faults-resolve": Scenario(
        "the same, and requests are repeated", Mix(strict=0.2), roads=FAULTY, resolve=True
    ),
    "late": Scenario("requests carried out late, within the settle time", roads=LATE),
    "late-resolve": Scenario("the same, and requests are repeated", roads=LATE, resolve=True),
    "late-again": Scenario(
        "late requests for what is so already, before orders of the opposite",
        Mix(verbs={"pause_run": 2.0, "resume_run": 2.0, "update_run": 1.0}),
        LATE,
    ),
    "very-late": Scenario("requests carried out after the settle time", roads=VERY_LATE),
    "very-late-resolve": Scenario(
        "the same, and requests are repeated", roads=VERY_LATE, resolve=True
    ),
    "killed-calls": Scenario("killed before, during and after requests", USERS, DEADLY),
    "killed-calls-resolve": Scenario(
        "the same, and requests are repeated", USERS, DEADLY, resolve=True
    ),
    "killed": Scenario("killed anywhere, again and again", USERS, lives=60.0),
    "commits": Scenario(
        "transactions fail, or nobody hears how they ended",
        USERS,
        chaos=Chaos(killed=0.06, doubtful=0.06, repeated=0.04),
    ),
    "zombies": Scenario(
        "owners freeze, others take over, and they wake up",
        Mix(verbs={"start_run": 3.0, "log_event": 2.0, "update_run": 1.0, "pause_run": 1.0}),
        Roads(writes={Road.FROZEN_BEFORE: 0.15, Road.FROZEN_UNDER_WAY: 0.08}),
        Chaos(replicas=3, frozen=0.01),
        naps=300.0,
        freezes=(6.0, 20.0, 50.0, 200.0),
        seconds=250.0,
        frozen_commits=0.1,
    ),
    "rebalances": Scenario(
        "three replicas, killed, frozen, and given each other's partitions",
        USERS,
        chaos=SEVERAL,
        partitions=3,
    ),
    "everything": Scenario(
        "faults and late requests while owners change",
        USERS,
        Roads(writes={**FAULTY.writes, Road.LATE: 0.05, Road.VERY_LATE: 0.02}, reads=FAULTY.reads),
        SEVERAL,
        lives=300.0,
    ),
    "everything-resolve": Scenario(
        "the same, and requests are repeated",
        USERS,
        Roads(writes={**FAULTY.writes, Road.LATE: 0.05, Road.VERY_LATE: 0.02}, reads=FAULTY.reads),
        SEVERAL,
        resolve=True,
        lives=300.0,
    ),
    "key": Scenario(
        "the key is refused for a while, and some commands with any key",
        roads=Roads(revocations=0.05, forbidden=0.15, writes=FAULTY.writes),
    ),
    "stale": Scenario(
        "reads show old pictures",
        roads=Roads(writes=FAULTY.writes, reads=FAULTY.reads, stale=0.5, stale_by=60.0),
        seconds=120.0,
    ),
    "stale-resolve": Scenario(
        "the same, and requests are repeated",
        roads=Roads(writes=FAULTY.writes, reads=FAULTY.reads, stale=0.5, stale_by=60.0),
        resolve=True,
        seconds=120.0,
    ),
    "old-copies": Scenario(
        "reads from copies that lag behind by less than the settle time, also after refusals",
        STEERING,
        Roads(writes=FAULTY.writes, stale=0.5, stale_by=30.0, meddling=0.05),
    ),
    "old-copies-resolve": Scenario(
        "the same, and requests are repeated",
        STEERING,
        Roads(writes=FAULTY.writes, stale=0.5, stale_by=30.0),
        resolve=True,
    ),
    "intermediaries": Scenario(
        "proxies and gateways answer in the place of the API, before and after the effect",
        roads=INTERMEDIARIES,
    ),
    "intermediaries-resolve": Scenario(
        "the same, and requests are repeated", roads=INTERMEDIARIES, resolve=True
    ),
    "meddlers": Scenario(
        "somebody else pauses, resumes and cancels",
        Mix(verbs={"pause_run": 2.0, "resume_run": 1.0, "cancel_run": 1.0, "update_run": 2.0}),
        Roads(writes=FAULTY.writes, meddling=0.1),
    ),
    "vanishing-resolve": Scenario(
        "somebody else deletes missions, and requests are repeated",
        Mix(verbs={"start_run": 4.0, "log_event": 2.0, "update_run": 1.0}),
        Roads(writes=FAULTY.writes, vanishing=0.02),
        resolve=True,
    ),
    "deadlines-resolve": Scenario(
        "orders expire while requests are repeated",
        Mix(expiring=0.6),
        FAULTY,
        resolve=True,
    ),
    "strangers": Scenario(
        "somebody leaves transactions open on the ledger's partitions",
        USERS,
        DEADLY,
        Chaos(foreign=0.05, killed=0.03, doubtful=0.03),
    ),
    "outages": Scenario(
        "Kafka, the API and the registry are away",
        USERS,
        Roads(outages=0.02, writes=FAULTY.writes),
        Chaos(kafka_away=0.02, killed=0.02, replicas=2),
        registry_away=0.03,
    ),
    "forgetting": Scenario(
        "finished commands are soon forgotten, and the ledger is compacted",
        Mix(expiring=0.1, garbage=0.1, invalid=0.1),
        chaos=Chaos(killed=0.05, doubtful=0.03),
        compaction=0.2,
        lives=150.0,
        remembers=2,
    ),
    "clock-behind": Scenario(
        "clocks are nine days behind, and set right",
        Mix(again=0.4, other=0.1),
        chaos=Chaos(killed=0.03, doubtful=0.03, replicas=2),
        clock_off=-9.0,
        orders=16,
        lives=300.0,
    ),
    "brakes": Scenario(
        "people hold commands back, and let them go",
        USERS,
        Roads(writes={**FAULTY.writes, Road.LATE: 0.05}),
        Chaos(killed=0.03, doubtful=0.03, replicas=2, handed_over=0.05, foreign=0.05),
        brakes=0.08,
        compaction=0.1,
        lives=300.0,
    ),
    "forgetful": Scenario(
        "the API does not know the keys of logged events again",
        Mix(verbs={"log_event": 3.0, "start_run": 1.0}),
        Roads(writes={**FAULTY.writes, **DEADLY.writes, Road.LATE: 0.1}, forgets_keys=True),
    ),
    "forgetful-resolve": Scenario(
        "the same, and requests are repeated",
        Mix(verbs={"log_event": 3.0, "start_run": 1.0}, strict=0.2),
        Roads(writes={**FAULTY.writes, **DEADLY.writes, Road.LATE: 0.1}, forgets_keys=True),
        resolve=True,
    ),
    "housekeeping": Scenario(
        "the ledger is compacted, commands in progress expire from their topic",
        USERS,
        Roads(writes={**DEADLY.writes, Road.SWALLOWED: 0.05, Road.LATE: 0.05}),
        compaction=0.1,
        retention=0.1,
        lives=200.0,
    ),
}
