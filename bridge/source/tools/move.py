"""Takes a source's checkpoint over to another address of the same account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import AccessError, ApiRejected, Damaged, InvalidRecord, StateError
from bridge.kafka.lease import holder
from bridge.source.checkpoint.records import misfit, read_back, read_frontier
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.reading.windows import Ask
from bridge.source.takeover import organization
from bridge.source.tools.access import SourceAccess
from bridge.source.tools.replacement import Replacement, Stored, read_stored


@dataclass(frozen=True, slots=True)
class Move:
    """A checkpoint, and what speaks for its being of the account at the new address.

    `needed` is False where it is of this address already. Of the events that the first page of the
    feed `shows`, `known` are those that the checkpoint remembers (None: it cannot be read whole).
    """

    there: Checkpoint
    needed: bool
    shows: int
    known: int | None


async def survey(view: SourceAccess) -> Move:
    """Say what a move would do; nothing is written.

    Raises StateError where there is no checkpoint or it is another account's, what the API client
    raises, KafkaAway, RegistryAway.
    """
    stored = await read_stored(view)
    frontier = await _frontier(view, stored)
    there = await _checked(view, frontier)
    feed = frontier["body"][1]["feed"]
    page = await view.feed.fetch(1, view.source.page_size)
    ask = Ask(1, view.source.page_size)
    items = view.feed.items(page.items, ask, view.clock.now()) or ()
    known = None
    try:
        live = await view.desk.read()
        own = {key: value for key, value in live.items() if view.desk.owns(key)}
        seen = read_back(view.source.name, feed, own).seen
        known = sum(item.digest in seen for item in items)
    except Damaged:
        pass  # where it stands can be moved all the same, and the rest repaired afterwards
    return Move(there, feed != view.desk.feed, len(items), known)


async def move(view: SourceAccess) -> None:
    """Write in one transaction that the checkpoint is of the address that is set; the rest stays.

    Raises StateError also while a bridge works on the source; Fenced if one begins meanwhile:
    nothing was changed then.
    """
    layout = view.desk.layout
    there = await holder(
        view.desk.kafka,
        group=view.settings.source_group,
        topic=layout.checkpoint,
        partition=layout.checkpoint_partition,
    )
    if there is not None:
        raise StateError(
            f"source {view.source.name} is worked on by {there}: stop that bridge, or wait "
            f"{view.settings.kafka.session_timeout:g} s if it died, and move the checkpoint then"
        )
    writer = await view.writer(view.settings.transactional_id_source(view.source.name))
    try:
        place = await Replacement.begin(view, writer)
        try:
            frontier = await _frontier(view, place.stored)
            account = (await _checked(view, frontier)).account
        except Exception:
            await place.give_up()
            raise
        kind, body = frontier["body"]
        moved = {**body, "feed": view.desk.feed, "account": account}
        value = {**frontier, "body": (kind, moved)}
        await place.end_with((f"frontier/{view.source.name}", value))
    finally:
        await writer.close()


async def _frontier(view: SourceAccess, stored: Stored) -> Mapping[str, Any]:
    """Return the source's frontier record as it is."""
    name, desk = view.source.name, view.desk
    value = stored.get((desk.layout.checkpoint_partition, f"frontier/{name}"))
    if value is None:
        raise StateError(f"source {name} has no checkpoint: there is nothing to move")
    try:
        return await desk.codec.decode(f"{desk.layout.checkpoint}-value", value)
    except InvalidRecord as error:
        raise Damaged(misfit(name, f"its frontier cannot be decoded ({error})")) from error


async def _checked(view: SourceAccess, frontier: Mapping[str, Any]) -> Checkpoint:
    """Return what the frontier says, with the account; refuses where the API shows another one."""
    name = view.source.name
    feed = frontier["body"][1].get("feed", "")
    there = read_frontier(name, feed, frontier)
    try:
        account = await organization(view.client)
    except (AccessError, ApiRejected):
        account = None  # as in a bridge that runs: the list of runs is refused to this key
    if None not in (account, there.account) and account != there.account:
        raise StateError(
            f"the checkpoint of source {name} belongs to organization {there.account}, and the API "
            f"key to {account}: it is moved to no other account"
        )
    there.account = there.account or account
    return there
