from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from fast_vc_service.server.sockets.answers import granted
from waiting import spend_async


class Route:
    """Takes its grant, then waits to be let go on."""

    def __init__(self, places: int) -> None:
        self.begun = self.answered = 0
        self.go_on = asyncio.Event()
        self._served = granted(self._serve, asyncio.Semaphore(places))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["extensions"]["grant"].take()
        self.begun += 1
        await self.go_on.wait()
        if scope["path"] == "/fault":
            raise ValueError
        await send({"type": "http.response.start"})
        self.answered += 1
        await asyncio.Event().wait()

    def ask(self, method: str = "GET", path: str = "/") -> asyncio.Task[None]:
        async def tell(_message: Any) -> None: ...

        async def hear() -> Any: ...

        scope = {"type": "http", "method": method, "path": path, "extensions": {}}
        return asyncio.ensure_future(self._ask(scope, hear, tell))

    async def _ask(
        self, scope: Scope, hear: Callable[[], Awaitable[Any]], tell: Callable[[Any], Any]
    ) -> None:
        await self._served(scope, hear, tell)


async def settle() -> None:
    for _ in range(50):
        await spend_async(0)


@pytest.mark.parametrize(("method", "begun"), [("GET", 4), ("HEAD", 4), ("POST", 20)])
def test_so_many_are_answered_at_a_time(method: str, begun: int) -> None:
    async def script() -> None:
        route = Route(4)
        tasks = [route.ask(method) for _ in range(20)]
        await settle()
        assert route.begun == begun
        route.go_on.set()
        # Whoever has begun to answer stands in nobody's way, however long the answer takes.
        await settle()
        assert route.answered == 20
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(script())


def test_who_fails_or_goes_away_leaves_the_place_to_the_next() -> None:
    async def script() -> None:
        route = Route(1)
        gone, waiting, fault, last = (route.ask(path=path) for path in ("/", "/", "/fault", "/"))
        await settle()
        gone.cancel()
        waiting.cancel()
        await settle()
        route.go_on.set()
        await settle()
        assert isinstance(fault.exception(), ValueError)
        assert route.answered == 1
        last.cancel()
        await asyncio.gather(gone, waiting, last, return_exceptions=True)

    asyncio.run(script())
