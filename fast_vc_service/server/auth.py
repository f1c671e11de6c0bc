"""API keys: who presents which, how many sessions each may hold, and what a wrong one costs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from fast_vc_service.server.local_access import LocalAccess

_SHA256_PREFIX = "sha256:"
_TOKEN_PREFIX = "fvt_"  # noqa: S105


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One configured key.

    Attributes:
        name: Who uses it; the only part that may be logged.
        key: The key, or ``sha256:`` and the hex digest of its UTF-8 bytes.
        max_sessions: Live sessions it may hold; None means no limit.
        admin: Whether it may see and remove what other keys have made.
    """

    name: str
    key: str = field(repr=False)
    max_sessions: int | None = None
    admin: bool = False


@dataclass(frozen=True, slots=True)
class KeyIdentity:
    """Whose key was presented."""

    name: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and with what.

    Attributes:
        identity: Whose key or token it was; None on a service without keys.
        admin: Whether what belongs to others is theirs to see and to remove.
        by_token: They presented a token: it stands for its key, but makes no further tokens.
    """

    identity: KeyIdentity | None = None
    admin: bool = False
    by_token: bool = False

    @property
    def owner(self) -> str | None:
        """Name that what they make is kept under; None is everybody's."""
        return None if self.identity is None or self.admin else self.identity.name


@dataclass(frozen=True, slots=True)
class Token:
    """Stands for a key for a short time, so that a browser need not know the key.

    Attributes:
        text: What the browser presents instead of the key.
        expires_at: Seconds since the epoch.
    """

    text: str = field(repr=False)
    expires_at: float


class KeyRing:
    """All configured keys; used on the event loop only.

    Tokens are signed with a secret of this object: they end with the process.

    Args:
        entries: The keys; without any, everybody is let in.
        failure_delay_s: How long :meth:`delay_failure` waits.
        token_s: How long a token is good for.
        local: Who needs none, being on this machine.

    Attributes:
        local: As given.

    Raises:
        ValueError: A key is empty, a digest is none, or a name or key comes twice.
    """

    def __init__(
        self,
        entries: Sequence[KeyEntry] = (),
        *,
        failure_delay_s: float = 0.5,
        token_s: float = 300.0,
        local: LocalAccess | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.token_s = token_s
        self.local = local or LocalAccess()
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._digests: dict[KeyIdentity, bytes] = {}
        self._admins: set[KeyIdentity] = set()
        self._max_sessions: dict[KeyIdentity, int | None] = {}
        self._live: Counter[KeyIdentity] = Counter()
        self._failure_delay_s = failure_delay_s
        for entry in entries:
            self._add(entry)

    @property
    def required(self) -> bool:
        """True when clients must present a key."""
        return bool(self._digests)

    def check(self, presented: str | None) -> KeyIdentity | None:
        """Return whose key or token ``presented`` is; None when it is nobody's."""
        caller = self.caller(presented)
        return None if caller is None else caller.identity

    def caller(self, presented: str | None) -> Caller | None:
        """Return who presents this key or token; None when it is nobody's.

        Takes the same time for every wrong or right key: digests are compared, all of them.
        """
        if presented is None:
            return None
        if presented.startswith(_TOKEN_PREFIX):
            holder = self._read(presented.removeprefix(_TOKEN_PREFIX))
            if holder is not None:
                return Caller(holder, by_token=True)
        digest = _digest(presented)
        found = None
        for identity, known in self._digests.items():
            if hmac.compare_digest(known, digest):
                found = identity
        return None if found is None else Caller(found, admin=found in self._admins)

    def issue(self, identity: KeyIdentity) -> Token:
        """Make a token that stands for the key of ``identity``, but never for an admin's rights."""
        expires_at = float(round(self._clock() + self.token_s))
        body = f"{expires_at:.0f}:{identity.name}".encode()
        text = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (body, self._sign(body)))
        return Token(_TOKEN_PREFIX + text.decode(), expires_at)

    def _read(self, text: str) -> KeyIdentity | None:
        """Return whom a token (without its prefix) stands for; None when it is none, or is over."""
        try:
            body, signature = (
                urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in text.split(".")
            )
        except (ValueError, Base64Error):
            return None
        if not hmac.compare_digest(self._sign(body), signature):
            return None
        expires_at, _, name = body.decode().partition(":")
        return KeyIdentity(name) if self._clock() < float(expires_at) else None

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")

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
        # However many wait: a right key passes them all, and their sockets are bounded.
        await asyncio.sleep(self._failure_delay_s)

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
        if entry.admin:
            self._admins.add(identity)
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
