"""What the headers of an event's record, or of its dead letter, say about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.avro.headers import readable
from bridge.kafka.consumer import Received
from bridge.source.identity import digest

REPLAY: Final = "bridge_replay_id"
"""Header of events that were written again on purpose: they prove nothing of the first time."""

ORIGIN: Final = "bridge_origin"
"""Header of events and dead letters: name=value pairs with semicolons between them."""

DIGEST: Final = "bridge_event_digest"
"""Header of dead letters: the event's digest in the checkpoint, hexadecimal."""

REASON: Final = "bridge_error_class"
"""Header of dead letters: the kind of mistake in them."""


def headers_of(record: Received) -> dict[str, str]:
    """Return the headers as text, null ones left out; of one that repeats the last counts."""
    # What any client may write: aiokafka's types do not say that a header can be null.
    pairs: Mapping[str, bytes | None] = dict(record.headers)
    return {
        readable(name): raw.decode(errors="replace")
        for name, raw in pairs.items()
        if raw is not None
    }


def digest_of(record: Received, headers: Mapping[str, str]) -> bytes | None:
    """Return the digest of the event that a record holds; None for what is no event."""
    if DIGEST in headers:
        try:
            return bytes.fromhex(headers[DIGEST])
        except ValueError:
            return None
    run_id = (record.key or b"").decode(errors="replace")
    name = headers.get("ce_id", "")
    event_id = name.removeprefix(f"{run_id}/")
    return digest(run_id, event_id) if event_id != name else None


def origin_in(headers: Mapping[str, str]) -> dict[str, str]:
    """Return how an event was found: source, batch, sweep, pass, page, size; empty if not said."""
    pairs = (pair.partition("=") for pair in headers.get(ORIGIN, "").split(";"))
    return {name: value for name, equals, value in pairs if equals}
