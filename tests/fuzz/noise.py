"""What nobody meant to send: answers, bodies and records, each drawn from a seed."""

from __future__ import annotations

import json
from random import Random

import httpx

_HEADERS = ("content-type", "content-encoding", "retry-after", "date", "location", "x-request-id")
_VALUES = ("text/html", "gzip", "-1", "nan", "9" * 400, "", "application/json; charset=utf-7")


def body(draw: Random) -> bytes:
    """Return the body of an answer."""
    error = {"errors": [{"code": "10015", "title": "no", "detail": "not now"}]}
    whole = json.dumps(draw.choice([error, {"detail": "no"}, {"data": [{"run_id": 1}]}])).encode()
    return draw.choice(
        [
            whole,
            whole[: draw.randrange(len(whole))],
            b"<html><body>502 Bad Gateway</body></html>",
            b'{"data":' + b"[" * draw.choice([100, 100_000]),
            b'{"data":' + b"9" * draw.choice([400, 5_000]) + b"}",
            b'{"data": {"run_id": NaN, "status": "\\ud800"}}',
            whole.decode().encode("utf-16"),
            draw.randbytes(draw.randrange(200)),
            b"",
            b"null",
        ]
    )


def answer(draw: Random, statuses: range = range(200, 600)) -> httpx.Response:
    """Return an answer, not decoded yet, as one comes from the network."""
    headers = {
        name: draw.choice(_VALUES) for name in draw.sample(_HEADERS, draw.randrange(len(_HEADERS)))
    }
    stream = httpx.ByteStream(body(draw))
    return httpx.Response(draw.choice(statuses), headers=headers, stream=stream)


def value(draw: Random, good: bytes) -> bytes | None:
    """Return the value of a record, mostly a good one with something wrong."""
    at = draw.randrange(len(good))
    flipped = bytearray(good)
    flipped[at] ^= 1 << draw.randrange(8)
    return draw.choice(
        [
            None,
            bytes(flipped),
            good[:at],
            good + draw.randbytes(9),
            b"\0" + draw.randbytes(4) + good[5:],
            good[:5] + b"\xff" * 9 + b"\x01" + good[5:],
            good[:5] + draw.randbytes(draw.randrange(300)),
            b'{"command_id": "j", "type": "start_run"}',
            b'{"command_id": ' + b"[" * 100_000,
            b'{"command_id": ' + b"9" * 5_000 + b"}",
            b"\0" * draw.choice([6, 400_000]),
            draw.randbytes(draw.randrange(100)),
        ]
    )


def headers(draw: Random) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a record; names that are not UTF-8 come as surrogates."""
    names = ["", "traceparent", "reply-to", "\udcff", "é" * 300]
    return tuple(
        (draw.choice(names), draw.randbytes(draw.randrange(60)))
        for _ in range(draw.choice([0, 0, 1, 3]))
    )
