"""What a client does with requests and answers, whatever the operation."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from missions_fakes import (
    BASE,
    KEY,
    MISSION,
    RUN,
    FakeClock,
    answering,
    client_on,
    mission,
    ok,
    page,
    run,
)

from bridge import metrics
from bridge.errors import (
    AccessError,
    ApiError,
    ApiRejected,
    BridgeError,
    ConfigError,
    RateLimited,
)
from bridge.missions import jsontext
from bridge.missions.models import (
    LinkAgent,
    StartRun,
)

pytestmark = pytest.mark.usefixtures("at_once")


def counted(operation: str, status: str) -> float:
    labels = {"operation": operation, "status": status}
    return metrics.METRICS.get_sample_value("bridge_api_requests_total", labels) or 0.0


async def test_a_request_carries_the_key_as_it_is_now_and_no_cookie() -> None:
    keys = iter(["KEY-of-before-the-change", "KEY-of-after-the-change"])
    handler, seen = answering(page([], headers={"set-cookie": "replica=7; Path=/"}))
    async with client_on(handler) as client:
        client._wire._key = lambda: next(keys)
        await client.list_events()
        await client.list_events()

    assert [request.headers["authorization"] for request in seen] == [
        "Bearer KEY-of-before-the-change",
        "Bearer KEY-of-after-the-change",
    ]
    assert "cookie" not in seen[1].headers
    assert seen[0].headers["accept-encoding"] == "gzip, identity"


async def test_filters_travel_in_the_query() -> None:
    handler, seen = answering(page([], 3, 50))
    async with client_on(handler) as client:
        await client.list_run_events(
            MISSION, RUN, page=3, size=50, type="x&y", step_id="a b", agent_id="../é"
        )
        await client.list_recent_runs(page=3, size=50, status="running")

    assert dict(seen[0].url.params) == {
        "page[number]": "3",
        "page[size]": "50",
        "type": "x&y",
        "step_id": "a b",
        "agent_id": "../é",
    }
    assert seen[1].url.params["status"] == "running"


async def test_explicit_nulls_are_absence_and_unknown_fields_are_kept() -> None:
    handler, _ = answering(ok({"data": run(status="hibernating")}))
    async with client_on(handler) as client:
        found = await client.get_run(MISSION, RUN)

    assert found.finished_at is None
    assert found.status == "hibernating"
    assert (found.model_extra or {})["organization_id"].startswith("3a1e3e40")


async def test_free_objects_are_sent_with_their_numbers_as_received() -> None:
    handler, seen = answering(ok({"data": run()}, 201))
    free = jsontext.loads('{"price":1.10,"big":1e400,"deep":[{"x":null,"n":-0}]}')
    async with client_on(handler) as client:
        await client.start_run(MISSION, StartRun(input=free, metadata=None))

    assert seen[0].content == (b'{"input":{"price":1.10,"big":1e400,"deep":[{"x":null,"n":-0}]}}')


# Clone and delete, whose answers the API does not describe


@pytest.mark.parametrize("body", [{"data": mission()}, mission()])
async def test_a_clone_is_found_wrapped_or_not(body: Any) -> None:
    handler, _ = answering(ok(body, 201))
    async with client_on(handler) as client:
        answer = await client.clone_mission(MISSION)

    assert answer.value is not None
    assert answer.value.mission_id == MISSION


async def test_a_clone_in_another_form_is_kept_as_text() -> None:
    handler, _ = answering(ok({"id": 1}, 201))
    async with client_on(handler) as client:
        answer = await client.clone_mission(MISSION)

    assert (answer.value, answer.text) == (None, '{"id": 1}')


async def test_a_delete_answered_by_a_web_page_is_in_doubt() -> None:
    handler, _ = answering(httpx.Response(200, text="<html>log in</html>"))
    async with client_on(handler) as client:
        with pytest.raises(ApiError) as caught:
            await client.delete_mission(MISSION)

    assert caught.value.executed is None


# Failures and repetitions


async def test_repetitions_of_a_read_end() -> None:
    handler, seen = answering(httpx.Response(502))
    async with client_on(handler) as client:
        with pytest.raises(ApiError, match="502"):
            await client.list_events()

    assert len(seen) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(404, json={"errors": [{"code": "10005", "title": "no"}]}), ApiRejected),
        (httpx.Response(401), AccessError),
        (httpx.Response(403), AccessError),
        (httpx.Response(429, headers={"retry-after": "30"}), RateLimited),
        (httpx.Response(302, headers={"location": "https://evil.example/"}), ApiError),
    ],
)
async def test_a_read_is_not_repeated_where_that_is_of_no_use(
    answer: httpx.Response, kind: type[BridgeError]
) -> None:
    handler, seen = answering(answer)
    async with client_on(handler, clock=FakeClock()) as client:
        with pytest.raises(kind):
            await client.list_events()

    assert len(seen) == 1


async def test_a_probe_is_made_once_and_asks_for_next_to_nothing() -> None:
    handler, seen = answering(httpx.Response(503))
    async with client_on(handler) as client:
        with pytest.raises(ApiError):
            await client.probe()

    assert [str(request.url.query, "ascii") for request in seen] == [
        "page%5Bnumber%5D=1&page%5Bsize%5D=1"
    ]


async def test_a_redirect_is_not_followed_even_on_the_same_host() -> None:
    handler, seen = answering(httpx.Response(307, headers={"location": "/v2/elsewhere"}))
    async with client_on(handler) as client:
        with pytest.raises(ApiError, match="never followed") as caught:
            await client.pause_run(MISSION, RUN)

    assert caught.value.executed is None
    assert len(seen) == 1


async def test_a_429_of_one_call_holds_back_the_next() -> None:
    clock = FakeClock()
    handler, _ = answering(httpx.Response(429, headers={"retry-after": "40"}), page([]))
    async with client_on(handler, clock=clock) as client:
        with pytest.raises(RateLimited) as caught:
            await client.cancel_run(MISSION, RUN)
        assert caught.value.wait == 40
        await client.list_events()

    assert clock.slept == [40]


async def test_failures_are_counted_by_kind() -> None:
    handler, _ = answering(httpx.ConnectError("refused"))
    before = counted("link_agent", "connect")
    async with client_on(handler) as client:
        with pytest.raises(ApiError) as caught:
            await client.link_agent(MISSION, RUN, LinkAgent(telnyx_agent_id="a"))

    assert caught.value.executed is False
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert counted("link_agent", "connect") == before + 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(201, text=""),
        httpx.Response(201, text="<html>"),
        httpx.Response(201, text='{"data": {"run_id": "x"'),
        httpx.Response(201, json={"data": None}),
        httpx.Response(201, json={"ok": True}),
        httpx.Response(201, json=[]),
        httpx.Response(204),
    ],
)
async def test_a_2xx_with_another_body_leaves_a_write_in_doubt(answer: httpx.Response) -> None:
    handler, seen = answering(answer)
    async with client_on(handler) as client:
        with pytest.raises(ApiError) as caught:
            await client.start_run(MISSION, StartRun())

    assert (caught.value.executed, caught.value.status) == (None, answer.status_code)
    assert len(seen) == 1


# The guard


async def test_a_guard_that_refuses_keeps_the_request_from_being_sent() -> None:
    handler, seen = answering(ok({"data": run()}))

    def too_late() -> None:
        raise RuntimeError("woke up too late")

    async with client_on(handler) as client:
        with pytest.raises(RuntimeError, match="too late"):
            await client.guarded(too_late).pause_run(MISSION, RUN)
        assert seen == []

        await client.pause_run(MISSION, RUN)
        assert len(seen) == 1


async def test_a_guard_is_asked_after_the_wait_for_the_budget() -> None:
    clock = FakeClock()
    handler, _ = answering(httpx.Response(429, headers={"retry-after": "40"}), ok({"data": run()}))
    asked: list[float] = []
    async with client_on(handler, clock=clock) as client:
        guarded = client.guarded(lambda: asked.append(clock.monotonic()))
        with pytest.raises(RateLimited):
            await guarded.pause_run(MISSION, RUN)
        await guarded.pause_run(MISSION, RUN)

    assert asked == [1_000, 1_040]


# The key


@pytest.mark.parametrize("key", ["", " ", "KEY with spaces", "KEY\r\nX: y", "KEYé", "KEY\n"])
async def test_a_key_that_no_header_can_carry_counts_as_refused(key: str) -> None:
    handler, seen = answering(page([]))
    async with client_on(handler, key=key) as client:
        with pytest.raises(AccessError) as caught:
            await client.list_events()

    assert seen == []
    assert "KEY" not in str(caught.value).replace("TELNYX_API_KEY", "")


async def test_the_key_shows_nowhere(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)

    def echo(status: int) -> Callable[[httpx.Request], httpx.Response]:
        return lambda request: httpx.Response(
            status, json={"errors": [{"detail": request.headers["authorization"]}]}
        )

    def fails(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    shown: list[str] = []
    handlers = [fails, *(echo(status) for status in (200, 201, 302, 400, 401, 429, 500))]
    for handler in handlers:
        client = client_on(handler, clock=FakeClock())
        shown += [repr(client), repr(client._wire), repr(client._wire.__dict__)]
        for call in (client.get_run(MISSION, RUN), client.pause_run(MISSION, RUN)):
            with pytest.raises(BridgeError) as caught:
                await call
            shown += traceback.format_exception(caught.value)
            shown += map(repr, (caught.value, vars(caught.value)))
        await client.aclose()
    captured = capfd.readouterr()

    assert len(shown) > 40
    for text in [*shown, caplog.text, captured.out, captured.err]:
        assert KEY not in text


@pytest.mark.parametrize(
    "base_url",
    ["", "api.example.test/v2", "ftp://x/v2", "https://me:pw@x/v2", "https:///v2", "https://x/v2?y=1",
     "https://x:port/v2"],
)  # fmt: skip
def test_a_base_url_that_cannot_be_right_is_refused_by_name(base_url: str) -> None:
    with pytest.raises(ConfigError, match="TELNYX_BASE_URL"):
        client_on(None, base_url=base_url)


async def test_a_slash_at_the_end_of_the_base_url_does_not_matter() -> None:
    handler, seen = answering(page([]))
    async with client_on(handler, base_url=BASE + "/") as client:
        await client.list_events()

    assert seen[0].url.path == "/v2/ai/missions/events"
