"""What RFC 6455 asks of a server, over a raw socket; ids are case numbers of the Autobahn suite.

The suite has an echo to talk to. Here text is a marker, which comes back with its id, and binary is
audio, which comes back as long as it was sent. Compression (12 and 13) is not offered, and so not
negotiated; limits and performance (9) are elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from _pytest.mark import ParameterSet
from service import RunningService
from test_floods import Raw

from benchmarks.attacks import UPGRADE, frame, text

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CONFIG = text(type="config", realtime=False, session_id="rfc6455")
LENGTHS = (0, 125, 126, 127, 128, 65_535, 65_536)


@dataclass(frozen=True)
class Said:
    """What comes of a case.

    Attributes:
        code: With which the server closes; None: the session goes on.
        audio: Bytes of audio that come back.
        markers: Ids of the markers that do.
        pongs: Payloads of all pongs.
    """

    code: int | None = None
    audio: int = 0
    markers: tuple[str, ...] = ()
    pongs: tuple[bytes, ...] = ()


def marker(name: str, length: int = 0) -> bytes:
    """The text of a marker, padded to ``length`` bytes."""
    content = json.dumps({"type": "marker", "id": name}, ensure_ascii=False).encode()
    return content + b" " * max(0, length - len(content))


def reserved(bits: int, whole: bytes) -> bytes:
    """A frame with some of the three reserved bits set."""
    return bytes([whole[0] | bits << 4]) + whole[1:]


def fragments(opcode: int, *payloads: bytes, between: bytes = b"") -> bytes:
    """A message in several frames, with ``between`` after each but the last."""
    last = len(payloads) - 1
    return b"".join(
        frame(opcode if not at else CONT, payload, fin=at == last) + (between if at < last else b"")
        for at, payload in enumerate(payloads)
    )


def closing(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, (b"" if code is None else code.to_bytes(2, "big")) + reason)


class Sent:
    """A case: ``data`` in writes of ``chop`` bytes, 0 for one write of all."""

    def __init__(self, data: bytes, chop: int = 0) -> None:
        self.data = data
        self.chop = chop or len(data)

    def pieces(self) -> Sequence[bytes]:
        return [self.data[at : at + self.chop] for at in range(0, len(self.data), self.chop)]


def case(number: str, data: bytes, said: Said, chop: int = 0) -> ParameterSet:
    return pytest.param(Sent(data, chop), said, id=number)


OTHER = frame(TEXT, marker("other"))
AFTER = Said(markers=("other",))
ABC = (b'{"type": "mar', b'ker", "i', b'd": "abc"}')
ABC_BACK = Said(markers=("abc",))


def framing() -> list[ParameterSet]:
    texts = [
        case(f"1.1.{at}", frame(TEXT, marker("x", length)), Said(markers=("x",)))
        for at, length in enumerate(LENGTHS, 1)
        if length
    ]
    audio = [
        case(f"1.2.{at}", frame(BINARY, bytes(length)), Said(audio=length // 2 * 2))
        for at, length in enumerate(LENGTHS, 1)
    ]
    return [
        case("1.1.1", frame(TEXT), Said()),
        *texts,
        case("1.1.8", frame(TEXT, marker("x", 65_536)), Said(markers=("x",)), 997),
        *audio,
        case("1.2.8", frame(BINARY, bytes(65_536)), Said(audio=65_536), 997),
    ]


def pings() -> list[ParameterSet]:
    tens = [f"payload-{at}".encode() for at in range(10)]
    return [
        case("2.1", frame(PING), Said(pongs=(b"",))),
        case("2.2", frame(PING, b"Hello, world!"), Said(pongs=(b"Hello, world!",))),
        case("2.3", frame(PING, b"\x00\xff\xfe\xfd"), Said(pongs=(b"\x00\xff\xfe\xfd",))),
        case("2.4", frame(PING, b"\xfe" * 125), Said(pongs=(b"\xfe" * 125,))),
        case("2.5", frame(PING, b"\xfe" * 126), Said(1002)),
        case("2.6", frame(PING, b"\xfe" * 125), Said(pongs=(b"\xfe" * 125,)), 1),
        case("2.7", frame(PONG), Said()),
        case("2.8", frame(PONG, b"unsolicited"), Said()),
        case("2.9", frame(PONG, b"unsolicited") + frame(PING, b"own"), Said(pongs=(b"own",))),
        case("2.10", b"".join(frame(PING, each) for each in tens), Said(pongs=tuple(tens))),
        case("2.11", b"".join(frame(PING, each) for each in tens), Said(pongs=tuple(tens)), 1),
    ]


def reserved_bits_and_opcodes() -> list[ParameterSet]:
    bits = [
        (1, OTHER),
        (2, OTHER),
        (3, OTHER),
        (4, OTHER),
        (5, frame(BINARY, bytes(8))),
        (6, frame(PING, b"ping")),
        (7, closing(1000)),
    ]
    kinds = [*range(3, 8), *range(11, 16)]
    return [
        *(case(f"3.{at}", OTHER + reserved(at, whole), Said(1002)) for at, whole in bits),
        *(case(f"3.{at}c", reserved(at, whole), Said(1002), 1) for at, whole in bits),
        *(case(f"4.{kind}", frame(kind), Said(1002)) for kind in kinds),
        *(case(f"4.{kind}p", OTHER + frame(kind, b"payload"), Said(1002), 1) for kind in kinds),
    ]


def fragmentation() -> list[ParameterSet]:
    whole = b"".join(ABC)
    octets = [bytes([each]) for each in whole]
    ping, pong = frame(PING, b"ping"), (b"ping",)
    broken = frame(CONT, b"none was begun")
    unfinished = frame(CONT, b"none was begun", fin=False)
    return [
        case("5.1", fragments(PING, b"frag", b"ment"), Said(1002)),
        case("5.2", fragments(PONG, b"frag", b"ment"), Said(1002)),
        case("5.3", fragments(TEXT, whole[:9], whole[9:]), ABC_BACK),
        case("5.4", fragments(TEXT, whole[:9], whole[9:]), ABC_BACK, 7),
        case("5.5", fragments(TEXT, whole[:9], whole[9:]), ABC_BACK, 1),
        *(
            case(
                f"5.{number}",
                fragments(TEXT, whole[:9], whole[9:], between=ping),
                Said(markers=("abc",), pongs=pong),
                chop,
            )
            for number, chop in ((6, 0), (7, 7), (8, 1))
        ),
        *(case(f"5.{at}", broken + OTHER, Said(1002), c) for at, c in ((9, 0), (10, 7), (11, 1))),
        *(
            case(f"5.{at}", unfinished + OTHER, Said(1002), chop)
            for at, chop in ((12, 0), (13, 7), (14, 1))
        ),
        case("5.15", fragments(TEXT, *ABC[:2]) + unfinished + OTHER, Said(1002)),
        *(
            case(f"5.{at}", (unfinished + fragments(TEXT, *ABC)) * 2, Said(1002), chop)
            for at, chop in ((16, 0), (17, 1))
        ),
        case("5.18", frame(TEXT, ABC[0], fin=False) + OTHER, Said(1002)),
        case(
            "5.19",
            fragments(TEXT, *ABC, between=ping),
            Said(markers=("abc",), pongs=pong * 2),
        ),
        case(
            "5.20",
            fragments(TEXT, *octets, between=ping),
            Said(markers=("abc",), pongs=pong * (len(octets) - 1)),
        ),
        case("5.b1", fragments(BINARY, *[bytes(101)] * 6), Said(audio=606)),
        case("5.b2", fragments(BINARY, b"", b"", b""), Said()),
        case("10.1.1", fragments(BINARY, *[bytes(1300)] * 50), Said(audio=65_000)),
        case("10.1.1t", fragments(TEXT, *ABC, *[b" " * 1300] * 45), ABC_BACK),
    ]


GREEK = "κόσμε"
VALID = {
    "6.2.1": "Hello-µ@ßöäüàá-UTF-8!!",
    "6.5": GREEK,
    "6.7.1": "\x7f",
    "6.7.2": "\x80",
    "6.7.3": "\u0800",
    "6.7.4": "\U00010000",
    "6.9.2": "\u07ff",
    "6.9.3": "\uffff",
    "6.9.4": "\U0010ffff",
    "6.11.1": "\ud7ff",
    "6.11.2": "\ue000",
    "6.11.3": "\ufffd",
    "6.22": "\ufffe\uffff\U0001fffe\U0010fffe",
    "6.23": "\ufff9\ufffa\ufffc\ufffd",
}
INVALID = {
    "6.3.1": GREEK.encode() + b"\xed\xa0\x80edited",
    "6.6.1": b"\xce",
    "6.6.2": GREEK.encode() + b"\xe1\xbd",
    "6.6.3": GREEK.encode()[:-1],
    "6.8.1": b"\xf8\x88\x80\x80\x80",
    "6.8.2": b"\xfc\x84\x80\x80\x80\x80",
    "6.10.1": b"\xf7\xbf\xbf\xbf",
    "6.10.2": b"\xfb\xbf\xbf\xbf\xbf",
    "6.10.3": b"\xfd\xbf\xbf\xbf\xbf\xbf",
    "6.11.5": b"\xf4\x90\x80\x80",
    "6.12.1": b"\x80",
    "6.12.8": b"\x80\xbf\x80\xbf\x80\xbf\x80",
    "6.13.1": b"\xc0 \xc1 ",
    "6.14.1": b"\xc0",
    "6.14.2": b"\xe0\x80",
    "6.14.3": b"\xf0\x80\x80",
    "6.15.1": b"\xc0\xe0\x80\xf0\x80\x80",
    "6.16.1": b"\xfe",
    "6.16.2": b"\xff",
    "6.17.1": b"\xc0\xaf",
    "6.17.2": b"\xe0\x80\xaf",
    "6.17.3": b"\xf0\x80\x80\xaf",
    "6.18.1": b"\xc1\xbf",
    "6.18.2": b"\xe0\x9f\xbf",
    "6.19.1": b"\xc0\x80",
    "6.20.1": b"\xed\xa0\x80",
    "6.20.7": b"\xed\xbf\xbf",
    "6.21.1": b"\xed\xa0\x80\xed\xb0\x80",
}


def utf8() -> list[ParameterSet]:
    hello = marker(VALID["6.2.1"])
    octets = [bytes([each]) for each in hello]
    return [
        *(case(at, frame(TEXT, marker(name)), Said(markers=(name,))) for at, name in VALID.items()),
        case("6.2.2", fragments(TEXT, hello[:35], hello[35:]), Said(markers=(VALID["6.2.1"],))),
        case("6.2.3", fragments(TEXT, *octets), Said(markers=(VALID["6.2.1"],))),
        case("6.2.4", fragments(TEXT, *octets), Said(markers=(VALID["6.2.1"],)), 1),
        *(case(at, frame(TEXT, data), Said(1007)) for at, data in INVALID.items()),
        *(
            case(f"{at}f", fragments(TEXT, b'{"type": "', data, b'"}'), Said(1007), 1)
            for at, data in INVALID.items()
        ),
    ]


def close_handshakes() -> list[ParameterSet]:
    codes = [1000, 1001, 1002, 1003, *range(1007, 1012), 3000, 3999, 4000, 4999]
    never = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535]
    done = Said(1000)
    return [
        case("7.1.1", OTHER + closing(1000), done),
        case("7.1.2", closing(1000) * 2, done),
        case("7.1.3", closing(1000) + frame(PING), done),
        case("7.1.4", closing(1000) + OTHER, done),
        case("7.1.5", fragments(TEXT, *ABC, between=closing(1000)), done),
        case("7.1.5b", fragments(BINARY, bytes(640), bytes(640), between=closing(1000)), done),
        case("7.1.6", frame(BINARY, bytes(1 << 18)) + closing(1000) + frame(PING), done),
        case("7.3.1", closing(), Said(1005)),
        case("7.3.2", frame(CLOSE, b"a"), Said(1002)),
        case("7.3.3", closing(1000), done),
        case("7.3.4", closing(1000, b"Hello World!"), done),
        case("7.3.5", closing(1000, b"*" * 123), done),
        case("7.3.6", closing(1000, b"*" * 124), Said(1002)),
        case("7.5.1", closing(1000, GREEK.encode() + b"\xed\xa0\x80"), Said(1007)),
        *(case(f"7.7.{code}", closing(code), Said(code)) for code in codes),
        *(case(f"7.9.{code}", closing(code), Said(1002)) for code in never),
    ]


CASES = [
    *framing(),
    *pings(),
    *reserved_bits_and_opcodes(),
    *fragmentation(),
    *utf8(),
    *close_handshakes(),
    case("unmasked", bytes([0x82, 4]) + b"data", Said(1002)),
]


def heard(raw: Raw) -> tuple[Said, list[str], bool]:
    """What comes until the line ends: it all, the types of texts, whether a code was told."""
    audio, markers, pongs, types, code = 0, [], [], [], None
    after = 0
    for opcode, data in raw.read():
        after += code is not None
        if opcode == BINARY:
            audio += len(data)
        elif opcode == TEXT:
            message = json.loads(data)
            types.append(message["type"])
            if message["type"] == "marker":
                markers.append(message["id"])
        elif opcode == PONG:
            pongs.append(bytes(data))
        elif opcode == CLOSE:
            code = int.from_bytes(data[:2], "big") if data else 1005
            raw.send(frame(CLOSE, data))
    return Said(code, audio, tuple(markers), tuple(pongs)), types, after == 0


@pytest.mark.parametrize(("sent", "said"), CASES)
def test_a_session_speaks_the_protocol(passthrough: RunningService, sent: Sent, said: Said) -> None:
    with Raw(passthrough, "upgraded") as raw:
        raw.send(CONFIG)
        assert raw.hear()["type"] == "ready"
        for piece in sent.pieces():
            raw.send(piece)
        if said.code is None:
            raw.send(text(type="end"))
            got, types, silent = heard(raw)
            assert got == Said(1000, said.audio, said.markers, said.pongs)
            assert types[-1] == "complete"
        else:
            got, types, silent = heard(raw)
            assert got.code == said.code
            assert "complete" not in types
        assert silent, "nothing follows the close frame"


VIOLATIONS = [
    each
    for each in CASES
    if (said := each.values[1]).code not in {None, 1000, 1005}  # type: ignore[union-attr]
]


@pytest.mark.parametrize(("sent", "said"), VIOLATIONS)
def test_whoever_has_no_session_yet_is_told_the_same(
    passthrough: RunningService, sent: Sent, said: Said
) -> None:
    with Raw(passthrough, "upgraded") as raw:
        if sent.data.startswith(OTHER):
            sent = Sent(sent.data.removeprefix(OTHER), sent.chop)
        for piece in sent.pieces():
            raw.send(piece)
        got, _, silent = heard(raw)
        assert (got.code, silent) == (said.code, True)


def test_a_reason_is_said_back(passthrough: RunningService) -> None:
    with Raw(passthrough, "upgraded") as raw:
        raw.send(closing(1000, b"Hello World!"))
        assert [(opcode, bytes(data)) for opcode, data in raw.read()] == [
            (CLOSE, b"\x03\xe8Hello World!")
        ]


def test_compression_is_not_negotiated(passthrough: RunningService) -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    with Raw(passthrough) as raw:
        raw.send(UPGRADE.removesuffix(b"\r\n") + offer)
        head = b""
        while b"\r\n\r\n" not in head:
            head += raw.socket.recv(4096)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in head.lower()
