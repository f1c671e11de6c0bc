import asyncio
import hashlib
import hmac
import time
from typing import Any

import pytest

from fast_vc_service.server.auth import (
    Caller,
    KeyEntry,
    KeyIdentity,
    KeyRing,
    bearer,
)
from waiting import spend_async

ALICE, BOB = KeyIdentity("alice"), KeyIdentity("bob")
BOB_KEY = "schlüssel-😀"
RING = (
    KeyEntry("alice", "alice-secret", max_sessions=2),
    KeyEntry("bob", "sha256:" + hashlib.sha256(BOB_KEY.encode()).hexdigest().upper()),
)


def test_keys_plain_and_hashed_are_known() -> None:
    ring = KeyRing(RING)
    assert ring.required
    assert ring.check("alice-secret") == ALICE
    assert ring.check(BOB_KEY) == BOB


@pytest.mark.parametrize(
    "presented",
    [None, "", "alice", "alice-secret ", "ALICE-SECRET", RING[1].key, "\ud800", "x" * 100_000],
)
def test_anything_else_is_nobody(presented: str | None) -> None:
    assert KeyRing(RING).check(presented) is None


def test_without_keys_nobody_is_asked() -> None:
    ring = KeyRing()
    assert not ring.required
    assert ring.check("anything") is None
    assert ring.acquire(None)
    ring.release(None)


def test_every_key_is_compared_whichever_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    real = hmac.compare_digest

    def spy(left: bytes, right: bytes) -> bool:
        compared.append(left)
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    ring = KeyRing([KeyEntry(str(n), f"secret-{n}") for n in range(5)])
    for presented in ("secret-0", "secret-4", "wrong"):
        compared.clear()
        ring.check(presented)
        assert len(set(compared)) == 5


def test_a_key_holds_so_many_sessions_and_no_more() -> None:
    ring = KeyRing(RING)
    assert ring.acquire(ALICE)
    assert ring.acquire(ALICE)
    assert not ring.acquire(ALICE)
    assert all(ring.acquire(BOB) for _ in range(100))
    ring.release(ALICE)
    assert ring.acquire(ALICE)


def test_giving_back_what_was_not_granted_is_a_fault() -> None:
    ring = KeyRing(RING)
    with pytest.raises(RuntimeError, match="alice"):
        ring.release(ALICE)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([KeyEntry("a", "")], "'a'.*empty"),
        ([KeyEntry("a", "sha256:12")], "'a'.*64 hex"),
        ([KeyEntry("a", "sha256:" + "g" * 64)], "'a'.*64 hex"),
        ([KeyEntry("a", "one"), KeyEntry("a", "two")], "'a' twice"),
        ([KeyEntry("a", "one"), KeyEntry("b", "one")], "'a' and 'b'"),
    ],
)
def test_wrong_entries_are_refused_without_showing_the_key(
    entries: list[KeyEntry], told: str
) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        KeyRing(entries)
    assert all(entry.key not in str(caught.value) for entry in entries if len(entry.key) > 3)


def test_an_entry_does_not_show_its_key() -> None:
    assert "alice-secret" not in repr(RING[0])


def test_every_failure_waits_however_many_there_are() -> None:
    async def done_at_once(ring: KeyRing, failures: int) -> int:
        tasks = [asyncio.create_task(ring.delay_failure()) for _ in range(failures)]
        await spend_async(0.05)
        at_once = sum(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return at_once

    assert asyncio.run(done_at_once(KeyRing(RING, failure_delay_s=3600), 1500)) == 0


def test_a_failure_is_told_after_the_delay() -> None:
    started = time.monotonic()
    asyncio.run(KeyRing(RING, failure_delay_s=0.1).delay_failure())
    assert time.monotonic() - started >= 0.09


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"Bearer secret", "secret"),
        (b"bearer  secret ", "secret"),
        (b"BEARER two words", "two words"),
        ("Bearer schlüssel".encode(), "schlüssel"),
        (b"Bearer \xff", "\ufffd"),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Basic c2VjcmV0", None),
        (b"secret", None),
        (b"", None),
    ],
)
def test_bearer(value: bytes, token: str | None) -> None:
    assert bearer([(b"host", b"localhost"), (b"authorization", value)]) == token


def test_no_header_is_no_token() -> None:
    assert bearer([]) is None
    assert bearer([(b"x-authorization", b"Bearer secret")]) is None


def test_a_token_ends_and_cannot_be_forged() -> None:
    now = 1_000.0
    keys = KeyRing([KeyEntry("a:b é", "alice-secret")], token_s=60, clock=lambda: now)
    (identity,) = {keys.check("alice-secret")}
    assert identity is not None
    token = keys.issue(identity)
    assert token.expires_at == 1_060
    assert token.text not in repr(token)
    assert keys.caller(token.text) == Caller(identity, by_token=True)
    for place in range(len("fvt_"), len(token.text)):
        other = "A" if token.text[place] != "A" else "B"
        forged = token.text[:place] + other + token.text[place + 1 :]
        # The last character of base64 may hold bits that mean nothing.
        if place + 1 not in {len(token.text), token.text.index(".")}:
            assert keys.caller(forged) is None, place
    for wrong in ("fvt_", "fvt_.", "fvt_é.x", "fvt_a.b.c", token.text[:-4]):
        assert keys.caller(wrong) is None
    assert KeyRing([KeyEntry("a:b é", "alice-secret")]).caller(token.text) is None
    now = 1_060.0
    assert keys.caller(token.text) is None
