from __future__ import annotations

import asyncio
import gzip
import json
import socket
import tracemalloc
import zlib
from pathlib import Path

import httpx
import pytest
from missions_fakes import MISSION, RUN, client_on, run, serving

from bridge.clock import Clock
from bridge.errors import ApiError, ConfigError
from bridge.missions import wire
from bridge.missions.models import StartRun

META = {"page_number": 1, "page_size": 1_000, "total_pages": 1, "total_results": 1}
EMPTY = json.dumps({"data": [], "meta": META}).encode()


pytestmark = pytest.mark.usefixtures("one_attempt")


def head(length: int | None, status: str = "200 OK", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *more]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_an_answer_of_one_byte_at_a_time_ends_with_the_whole_call() -> None:
    gone = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(head(len(EMPTY)))
            for byte in EMPTY * 1_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await Clock().sleep(0.02)
        finally:
            gone.set()

    async with serving(drip) as url, client_on(None, base_url=url, timeout=0.5) as client:
        with pytest.raises(ApiError, match="timeout") as caught:
            await client.list_events()
        async with asyncio.timeout(10):
            await gone.wait()

    assert caught.value.executed is None


async def test_headers_of_one_byte_at_a_time_end_as_well() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await Clock().sleep(0.02)

    async with serving(drip) as url, client_on(None, base_url=url, timeout=0.5) as client:
        with pytest.raises(ApiError, match="timeout"):
            await client.list_events()


async def test_a_request_given_up_is_reset_so_that_the_kernel_sends_no_more() -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
            ended.set_result("closed in good order")
        except ConnectionResetError:
            ended.set_result("reset")

    async with serving(silent) as url, client_on(None, base_url=url, timeout=0.3) as client:
        with pytest.raises(ApiError) as caught:
            await client.cancel_run(MISSION, RUN)
        async with asyncio.timeout(10):
            assert await ended == "reset"

    assert caught.value.executed is None


def test_unacknowledged_bytes_end_the_connection_where_the_platform_can() -> None:
    options = wire._socket_options(30.0)

    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000) in options


@pytest.mark.parametrize(
    "answer",
    [
        head(len(EMPTY) + 10) + EMPTY,
        head(len(EMPTY) - 10) + EMPTY,
        head(None, "200 OK", "Transfer-Encoding: chunked") + b"5\r\n" + EMPTY[:5] + b"\r\n",
        head(None, "200 OK", "Content-Encoding: gzip") + gzip.compress(EMPTY)[:-9],
        head(None, "200 OK", "Content-Encoding: gzip") + gzip.compress(EMPTY) + b"more",
        head(None, "200 OK", "Content-Encoding: gzip") + b"no gzip at all",
        head(None, "200 OK", "Content-Encoding: br") + EMPTY,
        head(None, "200 OK", "Content-Encoding: gzip, gzip, br") + gzip.compress(EMPTY),
        head(None, "200 OK", "Content-Encoding: deflate") + zlib.compress(EMPTY)[:-5],
        head(len(EMPTY))[:20],
        b"",
        b"SSH-2.0-OpenSSH\r\n",
    ],
    ids=[
        "too long",
        "too short",
        "open chunk",
        "gzip cut",
        "more than gzip",
        "no gzip",
        "brotli",
        "several",
        "deflate cut",
        "cut headers",
        "nothing",
        "no HTTP",
    ],
)
async def test_a_broken_answer_is_refused_whole(answer: bytes) -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with serving(handle) as url, client_on(None, base_url=url) as client:
        for call in (client.list_events(), client.start_run(MISSION, StartRun())):
            with pytest.raises(ApiError) as caught:
                await call
            assert caught.value.executed is None


RAW = zlib.compress(EMPTY, wbits=-15)


@pytest.mark.parametrize(
    ("label", "body"),
    [
        ("gzip", gzip.compress(EMPTY)),
        ("x-gzip", gzip.compress(EMPTY)),
        ("GZIP, identity", gzip.compress(EMPTY)),
        ("", gzip.compress(EMPTY)),
        ("identity", gzip.compress(EMPTY)),
        ("gzip", gzip.compress(EMPTY[:9]) + gzip.compress(EMPTY[9:]) + bytes(3)),
        ("gzip", EMPTY),
        ("", EMPTY),
        ("utf-8", EMPTY),
        ("deflate", zlib.compress(EMPTY)),
        ("deflate", RAW),
        ("deflate", EMPTY),
        ("gzip", gzip.compress(b"\xef\xbb\xbf" + EMPTY)),
        ("", b"\xef\xbb\xbf" + EMPTY),
    ],
    ids=lambda one: one if isinstance(one, str) else "body",  # packed, it holds the time
)
@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_a_body_is_read_however_it_is_packed_and_labelled(
    label: str, body: bytes, step: int
) -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(len(body), "200 OK", f"Content-Encoding: {label}"))
        for begin in range(0, len(body), step):
            writer.write(body[begin : begin + step])
            await writer.drain()

    async with serving(handle) as url, client_on(None, base_url=url) as client:
        assert (await client.list_events()).items == ()


async def test_a_gzip_bomb_is_given_up_at_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LONGEST_BODY", 2**20)
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    megabyte = bytes(2**20)
    bomb = b"".join([packer.compress(megabyte) for _ in range(100)] + [packer.flush()])

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(len(bomb), "200 OK", "Content-Encoding: gzip") + bomb)
        await writer.drain()

    async with serving(handle) as url, client_on(None, base_url=url) as client:
        tracemalloc.start()
        try:
            with pytest.raises(ApiError, match="more than 1048576 bytes") as caught:
                await client.list_events()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert caught.value.executed is None
    assert peak < 16 * 2**20


async def test_of_an_endless_error_body_only_the_beginning_is_read() -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(None, "404 Not Found"))
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with serving(handle) as url, client_on(None, base_url=url) as client:
        with pytest.raises(ApiError) as caught:
            await client.pause_run(MISSION, RUN)

    assert caught.value.status == 404
    assert len(caught.value.body or "") == 8_192


async def test_nobody_listening_means_not_carried_out() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v2"
        async with client_on(None, base_url=url) as client:
            with pytest.raises(ApiError, match="connect") as caught:
                await client.start_run(MISSION, StartRun())

    assert caught.value.executed is False


async def test_a_server_without_tls_is_never_told_the_key() -> None:
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(4_096))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
        async with client_on(None, base_url=url) as client:
            with pytest.raises(ApiError) as caught:
                await client.start_run(MISSION, StartRun())

    assert caught.value.executed is False
    assert b"Bearer" not in heard


async def test_the_guard_is_asked_again_when_the_connection_stands() -> None:
    connected = asyncio.Event()
    asked: list[bool] = []

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"data": run()}).encode()
        writer.write(head(len(body)) + body)
        await writer.drain()

    async with serving(handle) as url, client_on(None, base_url=url) as client:
        await client.guarded(lambda: asked.append(connected.is_set())).pause_run(MISSION, RUN)
        assert len(asked) == 2

        def second_time() -> None:
            asked.append(True)
            if len(asked) == 4:
                raise RuntimeError("too late")

        with pytest.raises(RuntimeError, match="too late"):
            await client.guarded(second_time).pause_run(MISSION, RUN)
        assert (await client.pause_run(MISSION, RUN)).value.run_id == RUN


async def test_the_environment_chooses_neither_proxy_nor_certificates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(len(EMPTY)) + EMPTY)
        await writer.drain()

    async with serving(handle) as url, client_on(None, base_url=url) as client:
        assert (await client.list_events()).items == ()


def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for content in (None, "no certificate"):
        path = tmp_path / "ca.pem"
        if content:
            path.write_text(content)
        with pytest.raises(ConfigError, match=r"BRIDGE_API__CA_FILE.*ca\.pem"):
            wire._transport(30.0, None, path)


def test_a_reply_keeps_headers_whatever_their_case() -> None:
    reply = wire.RawAnswer("x", 200, httpx.Headers({"Date": "y"}), b"", 0.0, 0.0)

    assert reply.headers.get("date") == "y"
