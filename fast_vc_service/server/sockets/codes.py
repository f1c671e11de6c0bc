"""Why a connection is turned away before anything was asked of the application."""

from __future__ import annotations

from enum import StrEnum


class SocketCode(StrEnum):
    """Labels of the metric ``fast_vc_refused``; most are never told to anybody."""

    NO_PLACE = "NO_PLACE"
    PLACE_LOST = "PLACE_LOST"
    TOO_MANY_OF_ADDRESS = "TOO_MANY_OF_ADDRESS"
    NO_DESCRIPTORS = "NO_DESCRIPTORS"
    TLS_FAILED = "TLS_FAILED"
    HEAD_TIMEOUT = "HEAD_TIMEOUT"
    HEAD_TOO_LARGE = "HEAD_TOO_LARGE"
    BAD_REQUEST = "BAD_REQUEST"
    BAD_UPGRADE = "BAD_UPGRADE"
    BAD_FRAME = "BAD_FRAME"
    UNREAD = "UNREAD"
