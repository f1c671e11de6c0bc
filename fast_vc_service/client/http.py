"""Requests to the HTTP routes, and their refusals as the one exception of this library."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from fast_vc_service.client.connection import is_loopback
from fast_vc_service.client.errors import (
    CLIENT_TIMEOUT,
    CONNECTION_FAILED,
    CONNECTION_LOST,
    PROTOCOL_ERROR,
    VoiceServiceError,
)

CONNECT_TIMEOUT_S = 10.0


class HttpConnection:
    """Requests to one service.

    Args:
        url: Its address, ``http://`` or ``https://``, without a path.
        api_key: Key or token, if it wants one.
        tls: Certificates to trust with ``https://``; None means the system's.
        answer_timeout_s: How long it may stay silent.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        tls: ssl.SSLContext | None,
        answer_timeout_s: float,
    ) -> None:
        self._url = url
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={} if api_key is None else {"authorization": f"Bearer {api_key}"},
            verify=True if tls is None else tls,
            timeout=httpx2.Timeout(answer_timeout_s, connect=CONNECT_TIMEOUT_S),
            # A proxy for the outside world cannot know what runs on this machine.
            trust_env=not is_loopback(url),
        )

    async def close(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    async def json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Return the JSON object that answers a request.

        Raises:
            VoiceServiceError: The service cannot be reached, refuses, or answers something else.
        """
        async with self.answer(method, path, **request) as response:
            await response.aread()
            return _object(response)

    async def content(self, method: str, path: str, **request: Any) -> bytes:
        """Return the bytes that answer a request.

        Raises:
            VoiceServiceError: As :meth:`json`.
        """
        async with self.answer(method, path, **request) as response:
            return await response.aread()

    @asynccontextmanager
    async def answer(
        self, method: str, path: str, **request: Any
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request and give its answer, of which the body is still to come.

        Args:
            method: Of HTTP.
            path: Below the service's address.
            request: ``params``, ``data`` and ``files``, as of httpx.

        Raises:
            VoiceServiceError: As :meth:`json`; also when the body breaks off.
        """
        try:
            async with self._http.stream(method, path, **request) as response:
                if response.status_code >= 400:
                    await response.aread()
                    raise _refusal(response)
                yield response
        except httpx2.TimeoutException as error:
            raise VoiceServiceError(
                CLIENT_TIMEOUT,
                f"{self._url} did not answer in time",
                {"hint": "is this the address of the service? `fast-vc status` tells it"},
            ) from error
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise VoiceServiceError(
                CONNECTION_FAILED,
                f"{self._url!r} is no address of a service: {error}",
                {"expected": "http://HOST:PORT or https://HOST:PORT"},
            ) from error
        except (httpx2.ConnectError, httpx2.ProxyError) as error:
            raise VoiceServiceError(
                CONNECTION_FAILED,
                f"cannot connect to {self._url}: {error}",
                {"hint": "is the service running there? `fast-vc serve` starts it"},
            ) from error
        except httpx2.TransportError as error:
            raise VoiceServiceError(
                CONNECTION_LOST,
                f"the answer of {self._url} broke off: {error}",
                {"hint": "the log of the service may say more"},
            ) from error


def _object(response: httpx2.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise VoiceServiceError(
            PROTOCOL_ERROR,
            "the server answered something that is no JSON object",
            {"got": response.text[:200], "hint": "is this URL the voice conversion service?"},
        )
    return content


def _refusal(response: httpx2.Response) -> VoiceServiceError:
    """Return the error of a response: the service's own, or HTTP's when a proxy made it."""
    status = f"HTTP {response.status_code} {response.reason_phrase}"
    try:
        content = response.json()
        details = content["details"]
        if isinstance(details, Mapping):
            code, message = str(content["error_code"]), str(content["message"])
            return VoiceServiceError(
                code, message, {"http_status": response.status_code, **details}
            )
    except (ValueError, TypeError, KeyError):
        pass
    return VoiceServiceError(
        f"HTTP_{response.status_code}", "the server refused the request", {"got": status}
    )
