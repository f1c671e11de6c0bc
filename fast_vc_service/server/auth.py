"""API keys: who presents which, how many sessions each may hold, and what a wrong one costs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MAX_DELAYED = 64
"""Failures that wait at the same time; further ones are answered at once, so that wrong keys
cannot fill the connection cap. Keys are long enough not to be guessed at any rate."""

_SHA256_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One configured key.

    Attributes:
        name: Who uses it; the only part that may be logged.
        key: The key, or ``sha256:`` and the hex digest of its UTF-8 bytes.
        max_sessions: Live sessions it may hold; None means no limit.
    """

    name: str
    key: str = field(repr=False)
    max_sessions: int | None = None


@dataclass(frozen=True, slots=True)
class KeyIdentity:
    """Whose key was presented."""

    name: str


class KeyRing:
    """All configured keys; used on the event loop only.

    Args:
        entries: The keys; without any, everybody is let in.
        failure_delay_s: How long :meth:`delay_failure` waits.

    Raises:
        ValueError: A key is empty, a digest is none, or a name or key comes twice.
    """

    def __init__(self, entries: Sequence[KeyEntry] = (), *, failure_delay_s: float = 0.5) -> None:
        self._digests: dict[KeyIdentity, bytes] = {}
        self._max_sessions: dict[KeyIdentity, int | None] = {}
        self._live: Counter[KeyIdentity] = Counter()
        self._failure_delay_s = failure_delay_s
        self._delayed = 0
        for entry in entries:
            self._add(entry)

    @property
    def required(self) -> bool:
        """True when clients must present a key."""
        return bool(self._digests)

    def check(self, presented: str | None) -> KeyIdentity | None:
        """Return whose key ``presented`` is; None when it is nobody's.

        Takes the same time for every wrong or right key: digests are compared, all of them.
        """
        if presented is None:
            return None
        digest = _digest(presented)
        found = None
        for identity, known in self._digests.items():
            if hmac.compare_digest(known, digest):
                found = identity
        return found

    def acquire(self, identity: KeyIdentity | None) -> bool:
        """Count a session of ``identity``; False when it has all it may hold.

        None, a client of a service without keys, has no limit.
        """
        if identity is None:
            return True
        limit = self._max_sessions[identity]
        if limit is not None and self._live[identity] >= limit:
            return False
        self._live[identity] += 1
        return True

    def release(self, identity: KeyIdentity | None) -> None:
        """Give back what :meth:`acquire` granted.

        Raises:
            RuntimeError: Nothing was granted.
        """
        if identity is None:
            return
        if self._live[identity] <= 0:
            raise RuntimeError(f"key {identity.name!r}: released more sessions than acquired")
        self._live[identity] -= 1

    async def delay_failure(self) -> None:
        """Wait before a wrong key is answered, so that guessing is slow."""
        if self._delayed >= MAX_DELAYED:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(self._failure_delay_s)
        finally:
            self._delayed -= 1

    def _add(self, entry: KeyEntry) -> None:
        identity, digest = KeyIdentity(entry.name), _configured_digest(entry)
        if identity in self._digests:
            raise ValueError(f"API keys: expected different names, got {entry.name!r} twice")
        for other, known in self._digests.items():
            if known == digest:
                raise ValueError(
                    f"API keys: expected different keys, got the same for {other.name!r} "
                    f"and {entry.name!r}"
                )
        self._digests[identity] = digest
        self._max_sessions[identity] = entry.max_sessions


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the token of the header ``Authorization: Bearer TOKEN``; None when there is none.

    Args:
        headers: As in an ASGI scope, names in lower case.
    """
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.strip().partition(b" ")
            if scheme.lower() == b"bearer" and token.strip():
                return token.strip().decode("utf-8", "replace")
    return None


def _digest(key: str) -> bytes:
    # JSON may hold half a surrogate pair, which plain UTF-8 refuses.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _configured_digest(entry: KeyEntry) -> bytes:
    if not entry.key.startswith(_SHA256_PREFIX):
        if not entry.key:
            raise ValueError(f"API key {entry.name!r}: expected a key, got an empty text")
        return _digest(entry.key)
    try:
        digest = bytes.fromhex(entry.key.removeprefix(_SHA256_PREFIX))
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError(
            f"API key {entry.name!r}: expected 64 hex digits after {_SHA256_PREFIX!r}, "
            "got something else"
        )
    return digest
