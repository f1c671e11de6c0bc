"""Opening a WebSocket connection to the service, and why one could not be opened or has ended."""

from __future__ import annotations

import ipaddress
import ssl
from typing import Any, Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException

from fast_vc_service.client.errors import (
    CLIENT_TIMEOUT,
    CODE_OF_CLOSE,
    CONNECTION_FAILED,
    CONNECTION_LOST,
    VoiceServiceError,
)
from fast_vc_service.client.messages import Failed

MAX_MESSAGE_BYTES = 16 << 20
"""Bytes of one message from the server: six minutes of PCM, more than it ever sends at once."""

CLOSE_TIMEOUT_S = 5.0

_UPGRADE_HINTS = {
    401: "the service, or a proxy before it, wants a key",
    403: "the service accepts neither this Origin nor this Host; see allowed_origins and "
    "allowed_hosts in its configuration",
    404: "the path is /ws, as in ws://localhost:8042/ws",
    503: "the service has too many connections; try again later",
}


async def open_connection(
    url: str, *, timeout_s: float, tls: ssl.SSLContext | None = None
) -> ClientConnection:
    """Connect to ``url``; no compression and no pings, both of which cost live audio its pace.

    Raises:
        VoiceServiceError: The service cannot be reached, or refuses the upgrade.
    """
    # A proxy for the outside world cannot know what runs on this machine.
    proxy: Literal[True] | None = None if is_loopback(url) else True
    encrypted: dict[str, Any] = {} if tls is None else {"ssl": tls}
    try:
        return await connect(
            url,
            compression=None,
            ping_interval=None,
            max_size=MAX_MESSAGE_BYTES,
            open_timeout=timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            proxy=proxy,
            **encrypted,
        )
    except InvalidStatus as error:
        raise _refused_upgrade(error) from error
    except TimeoutError as error:
        raise VoiceServiceError(
            CLIENT_TIMEOUT,
            f"{url} did not answer within {timeout_s:g} s",
            {"hint": "is this the address of the service? `fast-vc status` tells it"},
        ) from error
    except ssl.SSLError as error:
        raise VoiceServiceError(
            CONNECTION_FAILED,
            f"no secure connection to {url}: {error}",
            {"hint": "trust the server's certificate, or use the host name it was made for"},
        ) from error
    except (ValueError, InvalidURI) as error:
        raise VoiceServiceError(
            CONNECTION_FAILED,
            f"{url!r} is no address of a service: {error}",
            {"expected": "ws://HOST:PORT/ws or wss://HOST:PORT/ws"},
        ) from error
    except (OSError, WebSocketException) as error:
        raise VoiceServiceError(
            CONNECTION_FAILED,
            f"cannot connect to {url}: {error}",
            {"hint": "is the service running there? `fast-vc serve` starts it"},
        ) from error


def why_ended(closed: ConnectionClosed, refusal: Failed | None) -> VoiceServiceError:
    """Return why a session ended early.

    Args:
        closed: How the connection ended.
        refusal: What the server said before, if it did; without a code in the simple dialect.
    """
    code = None if closed.rcvd is None else CODE_OF_CLOSE.get(closed.rcvd.code)
    if refusal is not None:
        return VoiceServiceError(
            refusal.code or code or CONNECTION_LOST, refusal.message, refusal.details
        )
    if closed.rcvd is None:
        return VoiceServiceError(
            CONNECTION_LOST,
            "the connection broke off without a word of the server",
            {"hint": "the log of the service may say more; `fast-vc status` tells if it runs"},
        )
    reason = closed.rcvd.reason or "no reason given"
    return VoiceServiceError(
        code or CONNECTION_LOST,
        f"the server closed the connection before the session was complete "
        f"({closed.rcvd.code}, {reason})",
    )


def _refused_upgrade(error: InvalidStatus) -> VoiceServiceError:
    response = error.response
    status = response.status_code
    details: dict[str, object] = {"got": f"HTTP {status} {response.reason_phrase}"}
    retry_after = response.headers.get("Retry-After", "")
    if retry_after.isdecimal():
        details["retry_after_s"] = int(retry_after)
    if status in _UPGRADE_HINTS:
        details["hint"] = _UPGRADE_HINTS[status]
    body = (response.body or b"").decode("utf-8", "replace").strip()[:300]
    message = "the server refused the WebSocket connection" + (f": {body}" if body else "")
    return VoiceServiceError(f"HTTP_{status}", message, details)


def is_loopback(url: str) -> bool:
    """Tell whether ``url`` leads to this machine."""
    host = ""
    try:
        host = urlsplit(url).hostname or ""
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
