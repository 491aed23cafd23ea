"""A feed that moves while it is read, and a reader that publishes it: the sweep's whole world.

Everything follows from a seed. A feed has weather: what may happen to it between two requests. The
reader does what the poller does, without network and Kafka: it drives passes, decides what is new
against a real checkpoint, and is killed now and then, after which only the records count.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bridge.clock import SECOND, Micros
from bridge.source import sweep
from bridge.source.checkpoint import Checkpoint, Climb, Position
from bridge.source.checkpoint_records import read_back, records
from bridge.source.climb import climb as ascend
from bridge.source.server_clock import ServerClock
from bridge.source.sweep import BEGINNING, Ask, Found, Item, Swept, Window

RUNS = 6
"""Runs that events belong to; each is a mission of its own and can be deleted."""

ENOUGH = 20_000
"""A pass that asks for so many pages does not end."""


@dataclass(frozen=True)
class Weather:
    """What may happen; times in seconds, chances per second where nothing else is said."""

    rate: float = 0.25
    """Events a second."""
    burst: float = 0.006
    """Chance of 5 to 60 events at once."""
    grid: int = 1
    """Timestamps fall on it, so that many are equal."""
    late: float = 0.0
    """Share of events that appear late, by less than the lateness window."""
    future: float = 0.0
    """Share of events dated up to five lateness windows ahead."""
    deletion: float = 0.0
    """Chance that a whole mission vanishes."""
    holes: bool = False
    """What was deleted keeps its position, so that pages come out short."""
    shuffle: bool = False
    """Equal timestamps stand in another order on each read."""
    newest_only: int | None = None
    """The list ends after so many events."""
    steps: float = 0.0
    """Chance that the server's clock is set back or forth, by up to two lateness windows."""
    wrong_dates: float = 0.0
    """Share of answers with a Date three lateness windows ahead."""
    lateness: int = 20
    page: int = 10
    past: int = 400
    """The first poll comes after so many seconds at most."""


class Feed:
    """The list, kept oldest first and shown newest first."""

    def __init__(self, weather: Weather, rng: Random) -> None:
        self.weather = weather
        self.frozen = False
        self.now = 1000
        self.asked = 0
        self.visible: dict[bytes, Item] = {}
        """Everything that was ever in the list."""
        self.deleted: set[bytes] = set()
        self._rng = rng
        self._offset = 0
        self._rows: list[Item] = []
        self._coming: list[tuple[int, Item]] = []
        self._count = 0

    @property
    def server_time(self) -> Micros:
        """What the server takes for the time."""
        return (self.now + self._offset) * SECOND

    def pass_by(self, seconds: int) -> None:
        """Let time pass, and happen what may."""
        for _ in range(seconds):
            self.now += 1
            if not self.frozen:
                self._happen()
            self._show()

    def answer(self, ask: Ask, clock: ServerClock) -> Window:
        """Answer a request, which takes a moment."""
        self.asked += 1
        sent = self.now
        self.pass_by(self._rng.choice((0, 0, 1, 2)))
        date = self.server_time
        if self._rng.random() < self.weather.wrong_dates:
            date += 3 * self.weather.lateness * SECOND
        bound = clock.observe(date, float(sent), float(self.now - sent))
        end = len(self._rows)
        begin = 0
        if self.weather.newest_only is not None:
            begin = max(0, end - self.weather.newest_only)
        low, high = max(begin, end - ask.offset - ask.size), max(begin, end - ask.offset)
        rows = self._shuffled(low, high) if self.weather.shuffle else self._rows[low:high]
        if self.weather.holes:
            rows = [item for item in rows if item.digest not in self.deleted]
        return Window(ask, rows[::-1], bound, end - begin)

    def _happen(self) -> None:
        weather, rng = self.weather, self._rng
        count = 0
        while rng.random() < weather.rate / (1 + weather.rate):
            count += 1
        if rng.random() < weather.burst:
            count += rng.randrange(5, 60)
        for _ in range(count):
            self._create()
        if rng.random() < weather.deletion:
            self._delete(str(rng.randrange(RUNS)))
        if rng.random() < weather.steps:
            self._offset += rng.randrange(-2 * weather.lateness, 2 * weather.lateness)

    def _create(self) -> None:
        weather, rng = self.weather, self._rng
        at = (self.now + self._offset) // weather.grid * weather.grid
        appears = self.now
        if rng.random() < weather.late:
            appears += rng.randrange(1, max(2, weather.lateness - weather.grid - 2))
        if rng.random() < weather.future:
            at += rng.randrange(1, 5 * weather.lateness)
        self._count += 1
        digest = self._count.to_bytes(16, "big")
        item = Item(at * SECOND, digest, str(rng.randrange(RUNS)), None)
        self._coming.append((appears, item))

    def _show(self) -> None:
        for appears, item in self._coming:
            if appears <= self.now:
                insort(self._rows, item, key=lambda one: (one.at, one.digest))
                self.visible[item.digest] = item
        self._coming = [coming for coming in self._coming if coming[0] > self.now]

    def _delete(self, run_id: str) -> None:
        self.deleted.update(item.digest for item in self._rows if item.run_id == run_id)
        if not self.weather.holes:
            self._rows = [item for item in self._rows if item.run_id != run_id]

    def _shuffled(self, low: int, high: int) -> list[Item]:
        rows = self._rows
        first, last = low, high
        while 0 < first < high and rows[first - 1].at == rows[first].at:
            first -= 1
        while low < last < len(rows) and rows[last].at == rows[last - 1].at:
            last += 1
        ordered = sorted(rows[first:last], key=lambda item: (item.at, self._rng.random()))
        return ordered[low - first : high - first]


class _Killed(Exception):
    """The reader ends here; what it did not commit is gone."""


@dataclass
class Reader:
    """Polls a feed as the poller does, and keeps what it published."""

    feed: Feed
    rng: Random
    clock: ServerClock = field(init=False)
    checkpoint: Checkpoint = field(init=False)
    published: list[tuple[Item, bool]] = field(default_factory=list)
    """In order, each with its mark `late`."""
    gaps: int = 0
    _fresh_until: Micros | None = None
    _live: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start()

    @property
    def lateness(self) -> Micros:
        return self.feed.weather.lateness * SECOND

    @property
    def lateness_max(self) -> Micros:
        return 4 * self.lateness

    def start(self) -> None:
        """Begin with nothing but what the records say."""
        self.clock = ServerClock(self.lateness_max / SECOND)
        self.checkpoint = read_back("s", "f", self._live)
        self._fresh_until = None

    def poll(self, *, deep: bool) -> None:
        """Take a turn; it may be killed and start anew."""
        try:
            self._turn(deep=deep)
        except _Killed:
            self.start()

    def _turn(self, *, deep: bool) -> None:
        position = self.checkpoint.position
        if position.climb is not None:
            self._climb(position.climb, 0)
            return
        stop, page = self._stop(), self.feed.weather.page
        swept = self._drive(
            sweep.forward(stop, page, self.checkpoint.seen.__contains__, deep=deep), None
        )
        self.gaps += swept.gap
        if swept.backlog:
            self._climb(Climb(stop, swept.server_time), swept.total)
            return
        if swept.complete and swept.newest is not None:
            position = Position(self._ahead(swept.newest), kept_from=position.kept_from)
        self._commit(swept.items, position, None)
        self._fresh_until = swept.server_time

    def _climb(self, climb: Climb, total: int) -> None:
        group: list[Item] = []
        position = self.checkpoint.position

        def found(one: Found) -> None:
            nonlocal group
            group += one.items
            if self.rng.random() < 0.5:
                now = self.checkpoint.position
                on_the_way = Position(
                    now.frontier, climb=Climb(one.low, climb.began), kept_from=now.kept_from
                )
                self._commit(group, on_the_way, one.newest)
                group = []

        page = self.feed.weather.page
        swept = self._drive(ascend(climb.low, climb.began, page, total), found)
        self.gaps += swept.gap
        position = self.checkpoint.position
        frontier = position.frontier
        if swept.complete and swept.newest is not None:
            frontier = self._ahead(swept.newest)
        position = Position(frontier, kept_from=position.kept_from)
        self._commit(group + swept.items, position, None)
        self._fresh_until = climb.began

    def _drive(self, steps: sweep.Reading[Swept], found: Callable[[Found], None] | None) -> Swept:
        asked = self.feed.asked
        try:
            step = next(steps)
            while True:
                assert self.feed.asked - asked < ENOUGH, "the pass does not end"
                if self.rng.random() < 0.004 and not self.feed.frozen:
                    raise _Killed
                if isinstance(step, Found):
                    assert found is not None
                    found(step)
                    step = next(steps)
                else:
                    step = steps.send(self.feed.answer(step, self.clock))
        except StopIteration as done:
            swept: Swept = done.value
            return swept

    def _commit(self, items: list[Item], position: Position, settled: Micros | None) -> None:
        settled = position.frontier if settled is None else settled
        batch = self.checkpoint.plan(
            items,
            position,
            server_time=self.feed.server_time,
            keep=BEGINNING if settled is None else settled - self.lateness_max,
            publish=lambda _: True,
        )
        for key, value in records(self.checkpoint, batch):
            if value is None:
                self._live.pop(key, None)
            else:
                self._live[key] = value
        self.published += [(one.item, one.late) for one in batch.fresh]
        self.checkpoint.apply(batch)

    def _stop(self) -> Micros:
        position = self.checkpoint.position
        if position.frontier is None:
            return position.oldest
        settled = position.frontier
        if self._fresh_until is not None:
            settled = min(settled, self._fresh_until)
        stop = settled - self.lateness - self.clock.step
        return max(stop, position.frontier - self.lateness_max, position.oldest)

    def _ahead(self, newest: Micros) -> Micros:
        frontier = self.checkpoint.position.frontier
        return newest if frontier is None else max(frontier, newest)


def story(seed: int, weather: Weather, polls: int = 60) -> tuple[Feed, Reader]:
    """Let a reader poll a feed, then let the feed stand still until all is read."""
    rng = Random(seed)
    feed = Feed(weather, rng)
    feed.pass_by(rng.randrange(weather.past))
    reader = Reader(feed, rng)
    for _ in range(polls):
        feed.pass_by(rng.choice((1, 1, 2, 5, rng.randrange(1, 200) if rng.random() < 0.1 else 1)))
        reader.poll(deep=rng.random() < 0.3)
    feed.frozen = True
    feed.pass_by(3 * weather.lateness)
    for _ in range(4):
        feed.pass_by(1)
        reader.poll(deep=True)
    return feed, reader


def check(feed: Feed, reader: Reader) -> list[str]:
    """Name what is wrong with what was published; empty when nothing is."""
    wrong = []
    digests = [item.digest for item, _ in reader.published]
    if doubled := len(digests) - len(set(digests)):
        wrong.append(f"{doubled} published twice")
    if lost := feed.visible.keys() - feed.deleted - set(digests):
        wrong.append(f"{len(lost)} of {len(feed.visible)} lost")
    newest: dict[str, Micros] = {}
    for item, late in reader.published:
        before = newest.get(item.run_id, BEGINNING)
        if late != (before > item.at):
            wrong.append(f"an event of run {item.run_id} is {'' if late else 'not '}marked late")
            break
        newest[item.run_id] = max(before, item.at)
    if reader.checkpoint.published != len(digests):
        wrong.append("the checkpoint counts wrong")
    return wrong
