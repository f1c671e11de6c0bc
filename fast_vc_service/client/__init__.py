"""Python client library: speak with a running service.

:class:`VoiceClient` is one live session; :func:`convert_file_over_ws` sends a file through one.
"""

from fast_vc_service.client.client import VoiceClient
from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.messages import (
    GoingAway,
    MarkerReached,
    Notice,
    Ready,
    SessionOptions,
    Updated,
    Warned,
)
from fast_vc_service.client.run import convert_file_over_ws
from fast_vc_service.client.timeline import Timeline, TimelineEntry

__all__ = [
    "GoingAway",
    "MarkerReached",
    "Notice",
    "Ready",
    "SessionOptions",
    "Timeline",
    "TimelineEntry",
    "Updated",
    "VoiceClient",
    "VoiceServiceError",
    "Warned",
    "convert_file_over_ws",
]
