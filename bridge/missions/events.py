"""Events out of the bytes of an answer: a fast way for pages as expected, and an exact one.

Both give the same, byte for byte. Payloads and unknown fields are passed on as the text that was
received: no objects are built of them, whatever their size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from bridge.missions import jsontext, slices
from bridge.missions.models import Event, Malformed

MOST_NAMES: Final = 32
"""How many fields that are not documented the fast way learns."""

_INSIDE: Final = jsontext.MAX_DEPTH - 1
"""How deep the value of an event's field may be nested."""

_REQUIRED: Final = ("event_id", "run_id", "type", "timestamp")
_OPTIONAL: Final = ("summary", "step_id", "agent_id", "idempotency_key")
_IDS: Final = frozenset(("event_id", "run_id", "step_id", "agent_id", "idempotency_key"))
_DOCUMENTED: Final = frozenset((*_REQUIRED, *_OPTIONAL, "payload"))
_USABLE: Final = re.compile(r"[\w .:/@$-]{1,128}")
"""Names that msgspec takes for a field, and not too long."""

_INTEGER: Final = re.compile(r"-?[0-9]+")


class EventReader:
    """Reads pages fast, and learns the names of new fields from pages that were not as expected."""

    def __init__(self) -> None:
        self._extras: list[tuple[str, str]] = []
        self._names: tuple[str, ...] = ()
        self._row, self._decoder = _decoders(())

    def read(self, body: bytes) -> tuple[list[Event], bytes] | None:
        """Return the events of a page and the text of its `meta`; None: it is to be read exactly.

        That is no verdict on the page: no error of this way counts.
        """
        try:
            page = self._decoder.decode(body)
            return [self._event(row) for row in page.data], bytes(page.meta)
        except slices.REFUSED:
            return None

    def exact(self, pieces: Iterable[bytes]) -> tuple[list[Event | Malformed], set[str]]:
        """Return the events in these texts, and the names of their unknown fields.

        Each is read fast where that is possible: one that is not as expected slows no others.
        """
        found: list[Event | Malformed] = []
        unknown: set[str] = set()
        for piece in pieces:
            try:
                found.append(self._event(self._row.decode(piece)))
            except slices.REFUSED:
                found.append(event_of(piece, unknown))
        return found, unknown

    def learn(self, names: Iterable[str]) -> None:
        """Expect these fields as well, from now on; they were on a page that was read exactly."""
        usable = (name for name in names if _USABLE.fullmatch(name))
        known = tuple(dict.fromkeys((*self._names, *usable)))[:MOST_NAMES]
        if known != self._names:
            self._names = known
            self._row, self._decoder = _decoders(known)
            self._extras = sorted((name, f"extra_{number}") for number, name in enumerate(known))

    def _event(self, row: Any) -> Event:
        extra = None
        if self._extras:
            found = [(name, getattr(row, place)) for name, place in self._extras]
            extra = _object([(name, _text(raw)) for name, raw in found if raw is not _ABSENT])
        payload = None if row.payload is _ABSENT else _text(row.payload)
        return Event(
            row.event_id,
            row.run_id,
            row.type,
            row.timestamp,
            row.summary or "",
            row.step_id,
            row.agent_id,
            row.idempotency_key,
            None if payload == "null" else payload,
            extra,
        )


def event_of(data: bytes, unknown: set[str] | None = None) -> Event | Malformed:
    """Return the event in a JSON text, and add to `unknown` the names that are not documented."""
    try:
        slices.check(data, jsontext.MAX_DEPTH)
    except slices.REFUSED:
        text = data.decode(errors="surrogateescape")
        return Malformed(jsontext.Raw(text), "no JSON, not UTF-8, or nested too deep")
    try:
        found = {name: piece.decode() for name, piece in slices.members(data).items()}
    except ValueError:
        return Malformed(jsontext.Raw(data.decode()), "it is no object")
    faults: list[str] = []
    fields = {name: _field(found, name, faults) for name in (*_REQUIRED, *_OPTIONAL)}
    if faults:
        return Malformed({name: _shallow(text) for name, text in found.items()}, "; ".join(faults))
    payload = found.get("payload", "null")
    extra = sorted(found.keys() - _DOCUMENTED)
    if unknown is not None:
        unknown.update(extra)
    return Event(
        **{name: value for name, value in fields.items() if value is not None},
        payload=None if payload == "null" else payload,
        extra=_object([(name, found[name]) for name in extra]),
    )


def _field(found: dict[str, str], name: str, faults: list[str]) -> str | None:
    """Return a field of text; an id that is a whole number is taken as its digits."""
    text = found.get(name, "null")
    if text[0] == '"':
        value: str = jsontext.loads(text)
        if value.isascii() or not _SURROGATE.search(value):
            return value
        faults.append(f"{name}: has a lone surrogate, which no UTF-8 can hold")
    elif text == "null":
        if name in _REQUIRED:
            faults.append(f"{name}: is required")
    elif name in _IDS and _INTEGER.fullmatch(text):
        return text
    else:
        faults.append(f"{name}: is no text")
    return None


def _shallow(text: str) -> Any:
    return jsontext.Raw(text) if text[0] in "[{" else jsontext.loads(text)


def _object(extra: list[tuple[str, str]]) -> str | None:
    members = (f"{jsontext.dumps(name)}:{text}" for name, text in extra)
    return "{" + ",".join(members) + "}" if extra else None


def _text(raw: bytes) -> str:
    text = str(raw, "utf-8")
    if text.count("[") + text.count("{") > _INSIDE and slices.is_deeper(bytes(raw), _INSIDE):
        raise ValueError("nested too deep")
    return text


def _decoders(
    extras: tuple[str, ...],
) -> tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]:
    """Return decoders of events that may have these fields as well, and of pages of them."""
    places = {f"extra_{number}": name for number, name in enumerate(extras)}
    row = msgspec.defstruct(
        "Row",
        [
            *((name, str) for name in _REQUIRED),
            *((name, str | None, None) for name in _OPTIONAL),
            *((name, msgspec.Raw, _ABSENT) for name in ("payload", *places)),
        ],
        rename=places,
        forbid_unknown_fields=True,
    )
    page = msgspec.defstruct("Page", [("data", list[row]), ("meta", msgspec.Raw, _ABSENT)])  # type: ignore[valid-type]
    return msgspec.json.Decoder(row), msgspec.json.Decoder(page)


_ABSENT: Final = msgspec.Raw(b"null")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
