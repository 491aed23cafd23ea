"""Dead letters: what they say, which are meant, how they go back to their topic. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import typer

from bridge.avro.headers import readable
from bridge.clock import Micros, utc
from bridge.commands.intake import LARGEST_COMMAND
from bridge.kafka.consumer import Received
from bridge.kafka.partition import Partitioner, murmur2
from bridge.kafka.producer import Record
from bridge.missions import jsontext
from bridge.source.writing.headers import DIGEST, REASON, headers_of

REPLAYS: Final = "bridge_dlq_replays"
"""Header of a command that was put back: how often. Its next dead letter still has it."""

REPLAYS_AT_MOST: Final = 1

_FAILS_AGAIN: Final = {
    "null_value": "a null value is no command",
    "wrong_magic": "it is no Avro in the wire format",
    "bad_header": "its header names were no UTF-8, and are escaped here",
    "unreadable": "it is no record of Kafka, but bytes of its batch",
}
"""By reason: why a record fails whatever schemas the registry has."""

_UNLESS_SCHEMAS_CHANGED: Final = frozenset({"truncated", "trailing_bytes", "undecodable"})

_CONNECT: Final = "__connect.errors."
_OURS: Final = (_CONNECT, "bridge_")
_STUB_LENGTH: Final = "bridge_stub_length"
_EVENT_STUB: Final = {"stub", "sha256", "length", "begins"}
_PLACE: Final = re.compile(
    r"(?:(?P<topic>\S+)-)?(?P<partition>[0-9]{1,9})(?::(?P<offset>[0-9]{1,18}))?"
)


@dataclass(frozen=True, slots=True)
class LetterPlace:
    """Where a record is or was; `topic` None: in any, `offset` None: at any."""

    topic: str | None
    partition: int
    offset: int | None

    @classmethod
    def parse(cls, option: str, text: str) -> LetterPlace:
        """Read `[TOPIC-]PARTITION[:OFFSET]`; raises typer.BadParameter."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise typer.BadParameter(
                f"{option} must be PARTITION, PARTITION:OFFSET or TOPIC-PARTITION:OFFSET"
            )
        offset = match["offset"]
        return cls(match["topic"], int(match["partition"]), None if offset is None else int(offset))

    def covers(self, other: LetterPlace | None) -> bool:
        """Whether another place is this one, where this one says anything."""
        return (
            other is not None
            and self.topic in (None, other.topic)
            and self.partition == other.partition
            and self.offset in (None, other.offset)
        )

    def __str__(self) -> str:
        topic = "" if self.topic is None else f"{self.topic}-"
        return f"{topic}{self.partition}{'' if self.offset is None else f':{self.offset}'}"


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of a dead-letter topic; `headers` are its own, as text."""

    record: Received
    headers: Mapping[str, str]

    @classmethod
    def of(cls, record: Received) -> Letter:
        """Return what a record of a dead-letter topic says."""
        return cls(record, headers_of(record))

    @property
    def at(self) -> LetterPlace:
        """Where the letter is."""
        return LetterPlace(self.record.topic, self.record.partition, self.record.offset)

    @property
    def position(self) -> str:
        """Where the letter is on its topic, as `dlq show` takes it."""
        return f"{self.record.partition}:{self.record.offset}"

    @property
    def reason(self) -> str:
        """The kind of mistake; a dash where the letter does not say."""
        return self.headers.get(REASON, "-")

    @property
    def message(self) -> str:
        """What was wrong, in words."""
        return self.headers.get(f"{_CONNECT}exception.message", "")

    @property
    def origin(self) -> LetterPlace | None:
        """Where the record was read; None: it came from the API, or the letter does not say."""
        topic, *numbers = (self.headers.get(_CONNECT + n) for n in ("topic", "partition", "offset"))
        if topic is None or not all(n is not None and n.isdecimal() for n in numbers):
            return None
        return LetterPlace(topic, *(int(n or 0) for n in numbers))

    @property
    def replays(self) -> int:
        """How often the record was put back before it failed again."""
        said = self.headers.get(REPLAYS, "0")
        return int(said) if said.isdecimal() else 0

    @property
    def length(self) -> int | None:
        """Bytes of the value before it was cut; None: the value is whole."""
        if DIGEST in self.headers:
            return _event_stub_length(self.record.value)
        said = self.headers.get(_STUB_LENGTH)
        return int(said) if said is not None and said.isdecimal() else None

    @property
    def own_headers(self) -> tuple[tuple[str, bytes], ...]:
        """The headers that the record had before it became a letter."""
        # What any client may write: aiokafka's types do not say that a header can be null.
        pairs: tuple[tuple[str, bytes | None], ...] = tuple(self.record.headers)
        return tuple(
            (readable(name), raw or b"") for name, raw in pairs if not name.startswith(_OURS)
        )


def _event_stub_length(value: bytes | None) -> int | None:
    try:
        row = jsontext.loads(value or b"")
    except ValueError:
        return None
    return int(row["length"]) if isinstance(row, dict) and row.keys() == _EVENT_STUB else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant: those that fit all that is said."""

    reasons: frozenset[str] = field(default_factory=frozenset)
    since: Micros | None = None
    key: str | None = None
    origin: LetterPlace | None = None

    def fits(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        record = letter.record
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (self.since is None or record.timestamp * 1000 >= self.since)
            and (self.key is None or record.key == self.key.encode())
            and (self.origin is None or self.origin.covers(letter.origin))
        )


def refusal(letter: Letter, commands: str, partitions: int, *, again: bool) -> str | None:
    """Say why a letter is not put back on the topic of commands; None: it is."""
    origin = letter.origin
    if letter.length is not None:
        return f"a stub: the other bytes of {letter.length} are gone, send the command anew"
    if origin is None or origin.topic != commands:
        return f"it is not from {commands}, but {origin or 'does not say where from'}"
    if origin.partition >= partitions:
        return f"{commands} has {partitions} partitions, it was on {origin.partition}"
    return _fails_again(letter, again=again)


def _fails_again(letter: Letter, *, again: bool) -> str | None:
    """Say why the bridge would only bury a letter once more."""
    why = _FAILS_AGAIN.get(letter.reason)
    if letter.reason == "too_large" and len(letter.record.value or b"") > LARGEST_COMMAND:
        why = f"a command has {LARGEST_COMMAND} bytes at most"
    if why is not None:
        return f"it must fail again: {why}; its producer must send the command anew"
    if again:
        return None
    if letter.replays >= REPLAYS_AT_MOST:
        return "it failed again although it was put back: find out why, then --again"
    if letter.reason in _UNLESS_SCHEMAS_CHANGED:
        return "it fails again unless its schema id meant something else then: if so, --again"
    return None


def put_back(
    letter: Letter, commands: str, partitioner: Partitioner | None, partitions: int
) -> Record:
    """Return the record as it was, with one more replay counted; `refusal` has nothing against it.

    Where producers may choose any partition, or nothing else tells one, it is where it was.
    """
    record, origin = letter.record, letter.origin
    if origin is not None and (partitioner is None or record.key is None):
        partition = origin.partition
    else:
        partition = (partitioner or murmur2)(record.key or b"", partitions)
    mark = (REPLAYS, str(letter.replays + 1).encode())
    return Record(commands, partition, record.key, record.value, (*letter.own_headers, mark))


def as_object(letter: Letter) -> dict[str, Any]:
    """Return what a letter says, for JSON; `written` in microseconds UTC."""
    record, origin = letter.record, letter.origin
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "written": record.timestamp * 1000,
        "key": None if record.key is None else record.key.decode(errors="backslashreplace"),
        "reason": letter.reason,
        "message": letter.message,
        "origin": origin
        and {"topic": origin.topic, "partition": origin.partition, "offset": origin.offset},
        "length": len(record.value or b"") if letter.length is None else letter.length,
        "stub": letter.length is not None,
        "replays": letter.replays,
    }


def as_line(letter: Letter) -> str:
    """Return a letter as one line: when, where, from where, its key and why."""
    record = letter.record
    key = "-" if record.key is None else record.key.decode(errors="backslashreplace")
    notes = ["stub"] * (letter.length is not None)
    notes += [f"replayed {letter.replays}x"] * (letter.replays > 0)
    why = "  ".join([f"{letter.reason}: {letter.message}", *notes])
    when = utc(record.timestamp * 1000)
    return f"{when}  {letter.position:<10}  {letter.origin or '-'}  {key}  {why}"
