"""Python client library: speak with a running service.

:class:`VoiceClient` is one live session, :class:`SyncVoiceClient` the same without ``async``;
:func:`convert_stream` and :func:`convert_chunks` send what an iterator yields through one,
:func:`convert_file_over_ws` a file, and ``microphone.talk`` what a microphone hears.
:class:`ServiceClient` and :class:`SyncServiceClient` speak HTTP: voices, files, jobs, tokens.
"""

from fast_vc_service.client.client import VoiceClient
from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.messages import Notice
from fast_vc_service.client.protocol_types import (
    GoingAway,
    MarkerReached,
    Ready,
    SessionOptions,
    Updated,
    Warned,
)
from fast_vc_service.client.records import BrowserToken, Job, VoiceInfo
from fast_vc_service.client.run import convert_file_over_ws
from fast_vc_service.client.service import ServiceClient
from fast_vc_service.client.streams import convert_chunks, convert_stream
from fast_vc_service.client.sync import SyncVoiceClient
from fast_vc_service.client.sync_service import SyncServiceClient
from fast_vc_service.client.timeline import Timeline, TimelineEntry

__all__ = [
    "BrowserToken",
    "GoingAway",
    "Job",
    "MarkerReached",
    "Notice",
    "Ready",
    "ServiceClient",
    "SessionOptions",
    "SyncServiceClient",
    "SyncVoiceClient",
    "Timeline",
    "TimelineEntry",
    "Updated",
    "VoiceClient",
    "VoiceInfo",
    "VoiceServiceError",
    "Warned",
    "convert_chunks",
    "convert_file_over_ws",
    "convert_stream",
]
