"""How many sockets the system lets this process have open."""

from __future__ import annotations

import resource

from loguru import logger

from fast_vc_service.server.sockets.places import KEPT_BACK

FOR_FILES = 96
"""Descriptors that are left for models, voices, recordings, uploads, logs and the loop itself."""


def places_for(wanted: int) -> int:
    """Return how many of the ``wanted`` connections there can be; a warning says why fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + KEPT_BACK + FOR_FILES
    if soft == resource.RLIM_INFINITY or soft >= need:
        return wanted
    most = need if hard == resource.RLIM_INFINITY else min(need, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    places = max(1, min(wanted, most - KEPT_BACK - FOR_FILES))
    if places < wanted:
        logger.warning(
            "max_connections is {}, but {} files may be open: {} connections are served; "
            "raise the limit with ulimit -n {}",
            wanted,
            most,
            places,
            need,
        )
    return places
