"""What nobody meant to send: answers, bodies and records, each drawn from a seed."""

from __future__ import annotations

import json
from io import BytesIO
from random import Random
from typing import Any
from uuid import UUID

import fastavro
import httpx

from bridge.commands.model import Verb

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


def answer(draw: Random, statuses: range = range(100, 600)) -> httpx.Response:
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


def raw_answer(draw: Random) -> bytes:
    """Return an answer as bytes on a connection, of any status, mostly HTTP."""
    if draw.random() < 0.1:
        return draw.randbytes(draw.randrange(300))
    content = body(draw)
    lines = [f"HTTP/1.1 {draw.randrange(100, 600)} Odd"]
    names = draw.sample(_HEADERS, draw.randrange(len(_HEADERS)))
    lines += [f"{name}: {draw.choice(_VALUES)}" for name in names]
    length = draw.choice([len(content), len(content), len(content), 0, 10**9])
    lines.append(draw.choice([f"content-length: {length}", "connection: close"]))
    return "\r\n".join([*lines, "", ""]).encode() + content


def raw_headers(draw: Random) -> tuple[tuple[bytes, bytes | None], ...]:
    """Return headers of a record as any client may write them."""
    names = [b"", b"traceparent", b"reply_topic", b"correlation_id", b"\xff\xfe", b"x" * 5_000]
    return tuple(
        (draw.choice(names), draw.choice([None, b"", draw.randbytes(draw.randrange(60))]))
        for _ in range(draw.choice([0, 0, 1, 3, 200]))
    )


def schema(text: str) -> Any:
    """Return a schema ready for `written`."""
    return fastavro.parse_schema(json.loads(text))


def other_schema(draw: Random, text: str) -> str:
    """Return a schema with something changed: a type, a name, a field left out."""
    changed = json.loads(text)
    body_type = next(field for field in changed["fields"] if field["name"] == "body")
    record = draw.choice([changed, *(one for one in body_type["type"] if one.get("fields"))])
    field = draw.choice(record["fields"]) if record["fields"] else None
    match draw.randrange(5):
        case 0 if field is not None:
            field["type"] = draw.choice(["long", "bytes", "boolean", "double", ["null", "int"]])
        case 1 if field is not None:
            record["fields"].remove(field)
        case 2 if field is not None:
            field["name"] += "_odd"
        case 3:
            branch = draw.choice(body_type["type"])
            branch.pop("fields", None)
            branch.update(type="fixed", size=draw.choice([0, 4]))
        case _:
            body_type["type"] = body_type["type"][: draw.randrange(1, 15)]
    if field is not None:
        field.pop("default", None)
    return json.dumps(changed)


def written(draw: Random, parsed: Any) -> bytes:
    """Return a value that a schema allows: any verb with any body."""
    out = BytesIO()
    fastavro.schemaless_writer(out, parsed, _fitting(draw, parsed, parsed["__named_schemas"]))
    return out.getvalue()


_TEXTS = ("", "x", "null", "{}", '{"a": 1e999}', "[" * 5_000, "\0", "../..", "é" * 2_000, "strict")
_VERBS = tuple(verb.value for verb in Verb)


def _fitting(draw: Random, wanted: Any, named: Any) -> Any:  # noqa: PLR0911 - a case for each type
    """Return any value of a type of Avro; `named` are those that may be meant by name."""
    wanted = named.get(wanted, wanted) if isinstance(wanted, str) else wanted
    if isinstance(wanted, list):
        branch = draw.choice(wanted)
        made = _fitting(draw, branch, named)
        has_name = isinstance(branch, dict) and branch.get("type") in ("record", "fixed")
        return (branch["name"], made) if has_name else made
    kind = wanted["type"] if isinstance(wanted, dict) else wanted
    match kind:
        case "record":
            made = {one["name"]: _fitting(draw, one["type"], named) for one in wanted["fields"]}
            return _nearly_valid(draw, made)
        case "array":
            return [
                _fitting(draw, wanted["items"], named) for _ in range(draw.choice([0, 1, 3, 300]))
            ]
        case "string":
            return draw.choice([*_TEXTS, str(UUID(int=draw.getrandbits(128), version=4))])
        case "int" | "long":
            return draw.choice([0, -1, 2**31 - 1, draw.randrange(2**31)])
        case "boolean":
            return draw.random() < 0.5
        case "double" | "float":
            return draw.choice([0.0, float("nan"), float("inf")])
        case "bytes" | "fixed":
            size = wanted.get("size", 9) if isinstance(wanted, dict) else 9
            return draw.randbytes(size)
    return None


def _nearly_valid(draw: Random, made: dict[str, Any]) -> dict[str, Any]:
    """Give a command an id and, mostly, a verb that goes with its body."""
    if not isinstance(made.get("type"), str) or "command_id" not in made:
        return made
    made["type"] = draw.choice(_VERBS)
    if isinstance(made.get("body"), tuple) and draw.random() < 0.8:
        name = str(made["body"][0]).rpartition(".")[2]
        made["type"] = next((one.value for one in Verb if one.branch == name), made["type"])
    if isinstance(made["command_id"], str) and draw.random() < 0.8:
        made["command_id"] = draw.randbytes(16).hex()
    return made
