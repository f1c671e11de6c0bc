import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message, Receive, Scope, Send

from fast_vc_service.server.auth import KeyEntry, KeyRing
from fast_vc_service.server.authority import Authority, parse_authority
from fast_vc_service.server.http.response_headers import with_headers
from fast_vc_service.server.refusal import no_such_socket
from fast_vc_service.server.request_policy import (
    ConnectionLimits,
    HostPolicy,
    OriginPolicy,
)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("localhost", Authority("localhost", None)),
        ("LocalHost:8042", Authority("localhost", 8042)),
        ("example.org.", Authority("example.org", None)),
        ("example.org.:80", Authority("example.org", 80)),
        (" 127.0.0.1:1 ", Authority("127.0.0.1", 1)),
        ("[::1]:8042", Authority("::1", 8042)),
        ("[0:0:0:0:0:0:0:1]", Authority("::1", None)),
        ("[::FFFF:127.0.0.1]", Authority("::ffff:7f00:1", None)),
        ("", None),
        (".", None),
        (":80", None),
        ("localhost:", None),
        ("localhost:x", None),
        ("localhost:65536", None),
        ("localhost:-1", None),
        ("localhost:²", None),
        ("::1", None),
        ("[::1", None),
        ("[::1]x", None),
        ("[localhost]", None),
        ("[fe80::1%lo]", None),
        ("user@localhost", None),
        ("localhost/x", None),
        ("localhost localhost", None),
        ("localhost,evil.org", None),
        ("http://localhost", None),
        ("x" * 254, None),
    ],
)
def test_authority(text: str, authority: Authority | None) -> None:
    told = parse_authority(text)
    if told is not None and told.host.startswith("::ffff:"):
        # The way an embedded IPv4 address is written differs between versions of Python.
        told = Authority("::ffff:7f00:1", told.port)
    assert told == authority


@given(st.text())
def test_any_host_is_judged(text: str) -> None:
    assert HostPolicy().allows(text) in {True, False}
    assert OriginPolicy().allows(text, text, secure=False) in {True, False}


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.:8042",
        "127.0.0.1",
        "127.255.0.9:1",
        "[::1]:8042",
        "[::ffff:127.0.0.1]",
        "voice.example.org",
        "Voice.Example.Org:443",
        "192.168.1.5:8042",
        "[2001:db8::5]",
    ],
)
def test_hosts_that_pass(host: str) -> None:
    assert HostPolicy(["voice.example.org", "192.168.1.5", "2001:DB8::5"]).allows(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.org",
        "localhost.evil.org",
        "evil.localhost",
        "127.0.0.1.evil.org",
        "127.1",
        "2130706433",
        "0.0.0.0",
        "0.0.0.0:8042",
        "[::]",
        "192.168.1.5",
        "xexample.org",
        "sub.example.org",
    ],
)
def test_hosts_that_do_not(host: str | None) -> None:
    assert not HostPolicy(["example.org"]).allows(host)


@pytest.mark.parametrize("entry", ["https://example.org", "example.org:80", "", "a b", "*"])
def test_wrong_allowed_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="allowed_hosts"):
        HostPolicy([entry])


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8042", "localhost:8042"),
        ("http://LOCALHOST:8042/", "localhost.:8042"),
        ("https://voice.org", "voice.org"),
        ("https://voice.org", "voice.org:443"),
        ("https://voice.org:443", "voice.org"),
        ("http://voice.org:80", "voice.org"),
        ("http://[::1]:8042", "[::1]:8042"),
        ("https://app.org", "voice.org"),
        ("https://app.org:443", "localhost:8042"),
        ("http://app.org:3000", "localhost:8042"),
    ],
)
def test_origins_that_pass(origin: str, host: str) -> None:
    policy = OriginPolicy(["https://App.org", "http://app.org:3000/"])
    assert policy.allows(origin, host, secure=False)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.org", "localhost:8042"),
        ("http://localhost", "localhost:8042"),
        ("http://localhost:3000", "localhost:8042"),
        ("http://127.0.0.1:8042", "localhost:8042"),
        ("http://app.org", "localhost:8042"),
        ("https://sub.app.org", "localhost:8042"),
        ("https://app.org.evil.org", "localhost:8042"),
        ("null", "localhost:8042"),
        ("", "localhost:8042"),
        ("file://", "localhost:8042"),
        ("file://localhost", "localhost"),
        ("http://localhost:8042@evil.org", "localhost:8042"),
        ("http://localhost:8042/x", "localhost:8042"),
        ("http://localhost:8042", None),
        ("http://[::1", "[::1"),
    ],
)
def test_origins_that_do_not(origin: str, host: str | None) -> None:
    assert not OriginPolicy(["https://app.org"]).allows(origin, host, secure=False)


def test_over_tls_a_page_without_is_another_origin() -> None:
    policy = OriginPolicy()
    assert policy.allows("https://voice.org", "voice.org", secure=True)
    assert not policy.allows("http://voice.org", "voice.org", secure=True)


@pytest.mark.parametrize("entry", ["app.org", "null", "*", "https://", "https://app.org/x", ""])
def test_wrong_allowed_origin_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="allowed_origins"):
        OriginPolicy([entry])


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer HTTP with 200; accept a WebSocket and keep it until the peer goes."""
    if scope["type"] == "http":
        await PlainTextResponse("served")(scope, receive, send)
        return
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": "echo"})


def client(app: ConnectionLimits, base_url: str = "http://localhost:8042") -> TestClient:
    return TestClient(app, base_url=base_url)


def test_http_request_of_a_foreign_host_is_refused() -> None:
    refused: list[str] = []
    app = ConnectionLimits(echo, on_refused=refused.append)
    assert client(app).get("/").text == "served"
    answer = client(app, "http://evil.org").get("/")
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert (told["type"], told["error_code"]) == ("error", "FORBIDDEN_HOST")
    assert told["details"]["got"] == "evil.org"
    assert set(told["details"]) == {"expected", "got", "hint"}
    assert refused == ["FORBIDDEN_HOST"]


def test_http_request_of_a_foreign_page_is_refused() -> None:
    app = ConnectionLimits(echo, allowed_origins=["https://app.org"])
    assert client(app).get("/", headers={"Origin": "https://app.org"}).status_code == 200
    assert client(app).get("/", headers={"Origin": "http://localhost:8042"}).status_code == 200
    answer = client(app).get("/", headers={"Origin": "https://evil.org"})
    assert answer.status_code == 403
    assert answer.json()["error_code"] == "FORBIDDEN_ORIGIN"


def test_upgrade_of_a_foreign_page_is_refused_with_a_body() -> None:
    app = ConnectionLimits(echo)
    # The test client takes the Host of a WebSocket from its URL.
    url = "ws://localhost:8042/ws"
    with client(app).websocket_connect(url) as socket:
        socket.send_text("x")
        assert socket.receive_text() == "echo"
    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        client(app).websocket_connect(url, headers={"Origin": "https://evil.org"}),
    ):
        pass
    assert caught.value.status_code == 403
    assert caught.value.json()["error_code"] == "FORBIDDEN_ORIGIN"


def test_upgrade_over_the_cap_is_refused_until_one_leaves() -> None:
    refused: list[str] = []
    app = ConnectionLimits(echo, max_connections=1, on_refused=refused.append)
    url = "ws://localhost:8042/ws"
    with client(app) as served:
        with served.websocket_connect(url):
            with pytest.raises(WebSocketDenialResponse) as caught, served.websocket_connect(url):
                pass
            assert caught.value.status_code == 503
            assert caught.value.headers["retry-after"] == "5"
            told = caught.value.json()
            assert told["error_code"] == "TOO_MANY_CONNECTIONS"
            assert told["details"]["retry_after_s"] == 5
            assert served.get("/metrics").status_code == 503
            assert served.get("/health/ready").status_code == 200
            assert refused == ["TOO_MANY_CONNECTIONS"] * 2
        with served.websocket_connect(url):
            pass


def run(
    app: Callable[[Scope, Receive, Send], Awaitable[None]], scope: dict[str, Any]
) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"host", b"localhost"), (b"host", b"localhost")],
        [(b"host", b"localhost"), (b"host", b"evil.org")],
        [(b"host", b"\xff\xfe")],
    ],
)
def test_missing_or_repeated_host_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    scope = {"type": "http", "scheme": "http", "path": "/", "method": "GET", "headers": headers}
    sent = run(ConnectionLimits(echo), scope)
    assert sent[0]["status"] == 403


def test_one_foreign_origin_of_two_is_enough() -> None:
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"origin", b"http://x")]
    scope = {"type": "http", "scheme": "http", "path": "/", "method": "GET", "headers": headers}
    assert run(ConnectionLimits(echo), scope)[0]["status"] == 403


def test_a_server_without_the_extension_closes() -> None:
    scope = {"type": "websocket", "scheme": "ws", "path": "/ws", "headers": []}
    assert run(ConnectionLimits(echo), scope) == [{"type": "websocket.close", "code": 1008}]


def test_a_place_is_given_back_after_a_fault() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise OSError("gone")

    app = ConnectionLimits(broken, max_connections=1)
    scope = {
        "type": "http",
        "scheme": "http",
        "path": "/",
        "method": "GET",
        "headers": [(b"host", b"localhost")],
    }
    for _ in range(3):
        with pytest.raises(OSError, match="gone"):
            run(app, scope)


def test_lifespan_passes() -> None:
    sent = run(ConnectionLimits(echo, max_connections=0), {"type": "lifespan"})
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


KEYS = KeyRing([KeyEntry("one", "a-right-key"), KeyEntry("root", "an-admin-key", admin=True)])
CROSS = {"sec-fetch-site": "cross-site"}
NAVIGATES = CROSS | {"sec-fetch-mode": "navigate"}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/voices", CROSS, 403),
        ("/metrics", CROSS | {"sec-fetch-mode": "no-cors"}, 403),
        ("/voices", NAVIGATES, 403),
        ("/", CROSS, 403),
        ("/demo/page.js", CROSS, 403),
        ("/voices", CROSS | {"authorization": "Bearer wrong"}, 403),
        ("/voices", CROSS | {"authorization": "Bearer a-right-key"}, 200),
        ("/voices", CROSS | {"origin": "https://friend.example"}, 200),
        ("/voices", CROSS | {"origin": "https://evil.example"}, 403),
        ("/", NAVIGATES, 200),
        ("/demo/", NAVIGATES, 200),
        ("/health", CROSS, 200),
        ("/health/ready", CROSS, 200),
        ("/voices", {"sec-fetch-site": "same-origin"}, 200),
        ("/voices", {"sec-fetch-site": "same-site"}, 200),
        ("/voices", {"sec-fetch-site": "none"}, 200),
        ("/voices", {}, 200),
    ],
)
def test_pages_of_other_sites_get_nothing_without_a_key(
    path: str, headers: dict[str, str], status: int
) -> None:
    app = ConnectionLimits(echo, keys=KEYS, allowed_origins=["https://friend.example"])
    assert client(app).get(path, headers=headers).status_code == status


def test_upgrades_of_pages_of_other_sites_are_refused() -> None:
    app = ConnectionLimits(echo)
    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        client(app).websocket_connect("ws://localhost:8042/ws", headers=CROSS),
    ):
        pass
    assert caught.value.status_code == 403
    assert caught.value.headers["x-content-type-options"] == "nosniff"
    assert caught.value.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_full_service_still_answers_admins() -> None:
    app = ConnectionLimits(echo, max_connections=0, keys=KEYS)
    for key, status in (("an-admin-key", 200), ("a-right-key", 503), ("wrong", 503)):
        answer = client(app).get("/voices", headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == status


def test_every_answer_says_what_it_is_and_for_whom() -> None:
    answer = TestClient(with_headers(echo), base_url="http://localhost").get("/")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_an_unknown_socket_is_told_the_right_path() -> None:
    refusal = no_such_socket()
    assert refusal.status == 404
    assert "/ws" in refusal.details["hint"]  # type: ignore[operator]
