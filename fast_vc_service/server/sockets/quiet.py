"""The log of what single connections do: nothing, unless it is a fault of ours.

The library's own lines hold paths and queries, keys among them, and cost a flood nothing to cause.
What a connection is refused for is counted and summed up instead.
"""

from __future__ import annotations

import logging

CONNECTION_LOG = logging.getLogger("fast_vc_service.connections")
CONNECTION_LOG.setLevel(logging.ERROR)
