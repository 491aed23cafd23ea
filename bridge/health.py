"""What keeps the bridge from being ready, and whether its loops still turn.

Remote systems decide readiness and never liveness: a restart does not mend a broker.
"""

from __future__ import annotations

from bridge import telemetry
from bridge.clock import Clock


class Health:
    """Reasons for not being ready by part, and the last turn of each loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reasons: dict[str, str] = {}
        self._beats: dict[str, tuple[float, float]] = {}
        self._was_ready: bool | None = None

    def unready(self, part: str, reason: str) -> None:
        """Say that `part` cannot work now, and why."""
        self._reasons[part] = reason
        self._note()

    def ready(self, part: str) -> None:
        """Say that `part` works."""
        self._reasons.pop(part, None)
        self._note()

    def beat(self, loop: str, within: float) -> None:
        """Say that `loop` took a turn and will take the next within so many seconds."""
        self._beats[loop] = (self._clock.monotonic(), within)

    def forget(self, loop: str) -> None:
        """Stop expecting turns of a loop that ended on purpose."""
        self._beats.pop(loop, None)

    @property
    def reasons(self) -> dict[str, str]:
        """Why the bridge is not ready, by part; empty when it is."""
        return dict(self._reasons)

    def stuck(self) -> list[str]:
        """Name the loops that did not turn within their bound."""
        now = self._clock.monotonic()
        return sorted(name for name, (last, within) in self._beats.items() if now - last > within)

    def _note(self) -> None:
        ready = not self._reasons
        if ready != self._was_ready:
            self._was_ready = ready
            telemetry.readiness(
                ready=ready, reason="; ".join(f"{k}: {v}" for k, v in self._reasons.items())
            )
