r"""What follows from a look for an effect: it is found, it is surely absent, or wait. Pure.

    no clear answer, or a refusal --> look at once --> look a settle time later --> conclusion
                                           \--> the command's own mark: whenever it is seen

A read may be old, so a state proves nothing by itself: the picture may be from before the request,
which may also still be on its way and undo what a later command of the key does. A state counts
when two looks a settle time apart show it. So it is after a refusal, where the state tells whether
there was nothing left to do.

Absence is proven by two whole looks a settle time apart, where the later one shows that the list is
no old copy, else by one more after a second settle time. Then a verb that only sets what it says
is repeated, others only under the policy `resolve`: a request that is carried out later than that
cannot be told from one that never is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bridge.commands.model import Verb
from bridge.commands.requests.effects import Effect, Nothing, Otherwise, Sight

MOST_ATTEMPTS = 5
"""Requests without a clear answer and without an effect, after which a command has FAILED."""


MOST_SETTLES = 6
"""Settle times after the first look, after which looks that contradict each other are a doubt."""


class Repeat(Enum):
    """When a request is made again that seems to have had no effect."""

    AT_ONCE = "twice is the same as once, also when the first comes late"
    SETTLED = "twice is the same as once, unless the first comes after a later command"
    IF_RESOLVE = "twice is not the same: only where the operator chose to"
    NEVER = "its effect cannot be recognized"


REPEAT = {
    Verb.CREATE_MISSION: Repeat.IF_RESOLVE,
    Verb.UPDATE_MISSION: Repeat.SETTLED,
    Verb.DELETE_MISSION: Repeat.AT_ONCE,
    Verb.CLONE_MISSION: Repeat.NEVER,
    Verb.START_RUN: Repeat.IF_RESOLVE,
    Verb.UPDATE_RUN: Repeat.SETTLED,
    Verb.CANCEL_RUN: Repeat.AT_ONCE,
    Verb.PAUSE_RUN: Repeat.IF_RESOLVE,
    Verb.RESUME_RUN: Repeat.IF_RESOLVE,
    Verb.LOG_EVENT: Repeat.IF_RESOLVE,
    Verb.CREATE_PLAN: Repeat.SETTLED,
    Verb.ADD_STEPS: Repeat.SETTLED,
    Verb.UPDATE_STEP: Repeat.SETTLED,
    Verb.LINK_AGENT: Repeat.SETTLED,
    Verb.UNLINK_AGENT: Repeat.SETTLED,
}


@dataclass(frozen=True, slots=True)
class Wait:
    """Too early to say; look again at `due`, monotonic."""

    due: float


Conclusion = Sight | Wait
"""A sight to be acted on; Nothing means here that surely no request had the effect."""


@dataclass(slots=True)
class Watch:
    """The looks for one request; times are monotonic.

    `since` is when the request was given up or refused, or when this owner began, who knows
    nothing of when its predecessor's request left. `settle` seconds later it is over. All looks
    since `alike_since` were of the kind `alike`.
    """

    since: float
    settle: float
    alike: type[Sight] | None = None
    alike_since: float = 0.0
    first: float | None = None

    def conclude(self, sight: Sight, began: float) -> Conclusion:
        """Return what follows from a look that `began` then."""
        if isinstance(sight, Effect) and sight.proven:
            return sight
        if self.first is None:
            self.first = began
        if type(sight) is not self.alike:
            self.alike, self.alike_since = type(sight), began
        due = self.settle + (self.since if isinstance(sight, Otherwise) else self.alike_since)
        if isinstance(sight, Nothing) and began >= due and not sight.certain:
            due += self.settle
        if began >= due:
            return sight
        if began >= self.first + MOST_SETTLES * self.settle:
            return Otherwise("looks at it contradict each other")
        return Wait(due)


def repeats(verb: Verb, *, resolve: bool) -> bool:
    """Say whether a request that had no effect is made again."""
    rule = REPEAT[verb]
    return rule in (Repeat.AT_ONCE, Repeat.SETTLED) or (resolve and rule is Repeat.IF_RESOLVE)
