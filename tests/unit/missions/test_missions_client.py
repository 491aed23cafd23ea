from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
import stamina
from missions_fakes import (
    BASE,
    KEY,
    MISSION,
    RUN,
    FakeClock,
    agent,
    answering,
    client_on,
    event,
    mission,
    ok,
    page,
    run,
    step,
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
from bridge.missions.client import MissionsClient
from bridge.missions.models import (
    AddSteps,
    CreateMission,
    CreatePlan,
    EventType,
    LinkAgent,
    LogEvent,
    NewStep,
    RunStatus,
    StartRun,
    StepStatus,
    UpdateMission,
    UpdateRun,
    UpdateStep,
)

Call = Callable[[MissionsClient], Awaitable[Any]]

M = f"/{MISSION}"
R = f"/{MISSION}/runs/{RUN}"
STEPS = (NewStep(step_id="s-1", description="call", sequence=1),)
STEPS_JSON = {"steps": [{"step_id": "s-1", "description": "call", "sequence": 1}]}
ONE_PAGE = "?page%5Bnumber%5D=1&page%5Bsize%5D=1000"
NO_CONTENT = httpx.Response(204)

READS: list[tuple[str, Call, str, httpx.Response]] = [
    ("list_missions", lambda c: c.list_missions(), ONE_PAGE, page([mission()])),
    ("get_mission", lambda c: c.get_mission(MISSION), M, ok({"data": mission()})),
    ("list_events", lambda c: c.list_events(), "/events" + ONE_PAGE, page([event()])),
    ("list_recent_runs", lambda c: c.list_recent_runs(), "/runs" + ONE_PAGE, page([run()])),
    ("list_runs", lambda c: c.list_runs(MISSION), M + "/runs" + ONE_PAGE, page([run()])),
    ("get_run", lambda c: c.get_run(MISSION, RUN), R, ok({"data": run()})),
    (
        "list_run_events",
        lambda c: c.list_run_events(MISSION, RUN),
        R + "/events" + ONE_PAGE,
        page([event()]),
    ),
    ("get_event", lambda c: c.get_event(MISSION, RUN, "e_1"), R + "/events/e_1",
     ok({"data": event()})),
    ("get_plan", lambda c: c.get_plan(MISSION, RUN), R + "/plan", ok({"data": [step()]})),
    ("get_step", lambda c: c.get_step(MISSION, RUN, "s-1"), R + "/plan/steps/s-1",
     ok({"data": step()})),
    ("list_agents", lambda c: c.list_agents(MISSION, RUN), R + "/telnyx-agents",
     ok({"data": [agent()]})),
]  # fmt: skip

WRITES: list[tuple[str, Call, str, str, Any, httpx.Response]] = [
    ("create_mission", lambda c: c.create_mission(CreateMission(name="n")), "POST", "",
     {"name": "n"}, ok({"data": mission()}, 201)),
    ("update_mission", lambda c: c.update_mission(MISSION, UpdateMission(model="m")), "PUT", M,
     {"model": "m"}, ok({"data": mission()})),
    ("delete_mission", lambda c: c.delete_mission(MISSION), "DELETE", M, None, NO_CONTENT),
    ("clone_mission", lambda c: c.clone_mission(MISSION), "POST", M + "/clone", None,
     ok({"data": mission()}, 201)),
    ("start_run", lambda c: c.start_run(MISSION, StartRun(input={"a": None})), "POST", M + "/runs",
     {"input": {"a": None}}, ok({"data": run()}, 201)),
    ("update_run", lambda c: c.update_run(MISSION, RUN, UpdateRun(status=RunStatus.RUNNING)),
     "PATCH", R, {"status": "running"}, ok({"data": run()})),
    ("cancel_run", lambda c: c.cancel_run(MISSION, RUN), "POST", R + "/cancel", None,
     ok({"data": run()})),
    ("pause_run", lambda c: c.pause_run(MISSION, RUN), "POST", R + "/pause", None,
     ok({"data": run()})),
    ("resume_run", lambda c: c.resume_run(MISSION, RUN), "POST", R + "/resume", None,
     ok({"data": run()})),
    ("log_event",
     lambda c: c.log_event(MISSION, RUN, LogEvent(type=EventType.CUSTOM, summary="s")),
     "POST", R + "/events", {"type": "custom", "summary": "s"}, ok({"data": event()}, 201)),
    ("create_plan", lambda c: c.create_plan(MISSION, RUN, CreatePlan(steps=STEPS)), "POST",
     R + "/plan", STEPS_JSON, ok({"data": [step()]}, 201)),
    ("add_steps", lambda c: c.add_steps(MISSION, RUN, AddSteps(steps=STEPS)), "POST",
     R + "/plan/steps", STEPS_JSON, ok({"data": [step()]}, 201)),
    ("update_step",
     lambda c: c.update_step(MISSION, RUN, "s-1", UpdateStep(status=StepStatus.COMPLETED)),
     "PATCH", R + "/plan/steps/s-1", {"status": "completed"}, ok({"data": step()})),
    ("link_agent", lambda c: c.link_agent(MISSION, RUN, LinkAgent(telnyx_agent_id="assistant-1")),
     "POST", R + "/telnyx-agents", {"telnyx_agent_id": "assistant-1"}, ok({"data": agent()}, 201)),
    ("unlink_agent", lambda c: c.unlink_agent(MISSION, RUN, "assistant-1"), "DELETE",
     R + "/telnyx-agents/assistant-1", None, NO_CONTENT),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


def counted(operation: str, status: str) -> float:
    labels = {"operation": operation, "status": status}
    return metrics.METRICS.get_sample_value("bridge_api_requests_total", labels) or 0.0


def test_all_26_operations_are_here() -> None:
    assert len(READS) + len(WRITES) == 26


@pytest.mark.parametrize(("name", "call", "target", "answer"), READS, ids=[r[0] for r in READS])
async def test_a_read_asks_as_documented_and_understands_the_answer(
    name: str, call: Call, target: str, answer: httpx.Response
) -> None:
    handler, seen = answering(answer)
    before = counted(name, "200")
    async with client_on(handler) as client:
        value = await call(client)

    (request,) = seen
    assert (request.method, str(request.url)) == ("GET", f"{BASE}/ai/missions{target}")
    assert request.content == b""
    assert value
    assert counted(name, "200") == before + 1


@pytest.mark.parametrize(
    ("call", "method", "target", "body", "answer"),
    [write[1:] for write in WRITES],
    ids=[write[0] for write in WRITES],
)
async def test_a_write_asks_as_documented_and_keeps_the_answer_as_received(
    call: Call, method: str, target: str, body: Any, answer: httpx.Response
) -> None:
    handler, seen = answering(answer)
    async with client_on(handler) as client:
        given = await call(client)

    (request,) = seen
    assert (request.method, str(request.url)) == (method, f"{BASE}/ai/missions{target}")
    assert (json.loads(request.content) if request.content else None) == body
    assert request.headers.get("content-type") == (None if body is None else "application/json")
    assert (given.status, given.text) == (answer.status_code, answer.text)
    assert (given.value is None) == (answer.status_code == 204)


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


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        httpx.Response(500),
        httpx.Response(408),
        httpx.Response(200, text="<html>"),
        httpx.Response(429, headers={"retry-after": "1"}),
    ],
    ids=repr,
)
async def test_a_read_is_repeated_where_a_write_is_not(
    trouble: httpx.Response | Exception,
) -> None:
    handler, seen = answering(trouble, ok({"data": run()}))
    async with client_on(handler, clock=FakeClock()) as client:
        assert (await client.get_run(MISSION, RUN)).run_id == RUN
        assert len(seen) == 2

        for _, call, *_ in WRITES:
            handler, seen = answering(trouble)
            client._wire._http = httpx.AsyncClient(transport=httpx.MockTransport(handler))
            with pytest.raises(ApiError):
                await call(client)
            assert len(seen) == 1


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

    assert caught.value.executed is False
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
