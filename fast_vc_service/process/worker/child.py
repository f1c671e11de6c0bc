"""The worker process: does one piece of work after the other until its parent is gone.

Started by :mod:`.worker` with the number of its end of a socket pair. Its standard input is a pipe
that nobody writes to: when that ends, the parent has ended, however it did.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

from fast_vc_service.process.worker.limits import give_way, limited

LOADED, DONE, RAISED, OUT_OF_MEMORY = "loaded", "done", "raised", "out of memory"
"""First members of what is sent to the parent."""

Message = tuple[str, Any]


def serve(connection: Connection) -> None:
    """Do what comes over ``connection`` until it ends."""
    while True:
        try:
            pickled = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(pickle.dumps(_answer(pickled, connection)))


def _answer(pickled: bytes, connection: Connection) -> Message:
    try:
        work = pickle.loads(pickled)  # noqa: S301 - from the parent
        if work.load is not None:
            work.load()
        connection.send((LOADED, None))
        with limited(work.cpu_s, work.memory_bytes):
            result = work.run()
        return (DONE, result)
    except BaseException as error:
        if _is_out_of_memory(error):
            return (OUT_OF_MEMORY, None)
        return (RAISED, _portable(error))


def _is_out_of_memory(error: BaseException) -> bool:
    # PyTorch tells it with an error of its own.
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )


def _portable(error: BaseException) -> BaseException:
    """Return ``error`` with its traceback as a note, or what can be pickled in its place."""
    trace = traceback.format_exc()
    error.add_note(f"in a worker process:\n{trace}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        return RuntimeError(f"in a worker process:\n{trace}")
    return error


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    give_way()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    serve(Connection(int(sys.argv[1])))
