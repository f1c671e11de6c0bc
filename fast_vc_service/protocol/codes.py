"""Error, warning and close codes."""

from __future__ import annotations

from enum import StrEnum

from fast_vc_service.protocol.words import Words

CLOSE_NORMAL = 1000


class ErrorCode(StrEnum):
    """Error codes that end a session."""

    INVALID_CONFIG = "INVALID_CONFIG"
    AUTH_FAILED = "AUTH_FAILED"
    UNKNOWN_VOICE = "UNKNOWN_VOICE"
    TIMEOUT = "TIMEOUT"
    SESSION_LIMIT = "SESSION_LIMIT"
    SLOW_READER = "SLOW_READER"
    INVALID_AUDIO = "INVALID_AUDIO"
    RATE_LIMITED = "RATE_LIMITED"
    BUSY = "BUSY"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    GOING_AWAY = "GOING_AWAY"

    @property
    def close_code(self) -> int:
        """The WebSocket close code that goes with the error."""
        return _ERRORS[self][0]

    @property
    def when(self) -> Words:
        """When a client meets it."""
        return _ERRORS[self][1]


_ERRORS = {
    ErrorCode.INVALID_CONFIG: (
        4400,
        Words(
            "the first message is wrong, out of range, binary, or `end`",
            "第一条消息有误、超出范围、是二进制，或是 `end`",
        ),
    ),
    ErrorCode.AUTH_FAILED: (4401, Words("the key is missing or wrong", "密钥缺失或错误")),
    ErrorCode.UNKNOWN_VOICE: (
        4404,
        Words(
            "there is no such `voice`; `details.available` lists the names",
            "没有这个 `voice`；`details.available` 列出可用名称",
        ),
    ),
    ErrorCode.TIMEOUT: (
        4408,
        Words(
            "no first message in 10 s, or no message for `idle_timeout_s`",
            "10 秒内没有第一条消息，或 `idle_timeout_s` 内没有消息",
        ),
    ),
    ErrorCode.SESSION_LIMIT: (
        4410,
        Words("longer than `max_session_s`", "超过 `max_session_s`"),
    ),
    ErrorCode.SLOW_READER: (
        4413,
        Words("the client accepted no output for 10 s", "客户端 10 秒没有接收任何输出"),
    ),
    ErrorCode.INVALID_AUDIO: (
        4415,
        Words(
            "a message above `max_message_bytes`, or a second of Opus packets in a row that cannot "
            "be decoded",
            "消息大于 `max_message_bytes`，或连续一秒的 Opus 包无法解码",
        ),
    ),
    ErrorCode.RATE_LIMITED: (
        4420,
        Words(
            "more than 500 texts, pings, pongs, empty messages and fragments below 1 KiB a second, "
            "or 1000 at once; audio is never counted, only paced",
            "每秒超过 500 个（或一次超过 1000 个）文本消息、ping、pong、空消息和小于 1 KiB 的"
            "分片；音频从不计数，只会被限速读取",
        ),
    ),
    ErrorCode.BUSY: (
        4429,
        Words(
            "no free capacity, said instead of `ready`; `details.retry_after_s`: when a slot is "
            "likely to be free, by how often sessions ended lately",
            "没有空余容量，代替 `ready` 发出；`details.retry_after_s`：按最近会话结束的频率"
            "估计何时会有空位",
        ),
    ),
    ErrorCode.INTERNAL_ERROR: (1011, Words("a fault of the server", "服务器自身的故障")),
    ErrorCode.GOING_AWAY: (
        1012,
        Words(
            "the service stopped; sent instead of `complete`", "服务已停止；代替 `complete` 发出"
        ),
    ),
}


class WarningCode(StrEnum):
    """Warnings; the session goes on."""

    LATE = "LATE"
    CORRUPT_AUDIO = "CORRUPT_AUDIO"
    PARTIAL_SAMPLE = "PARTIAL_SAMPLE"
    TOO_MANY_MARKERS = "TOO_MANY_MARKERS"
    UNKNOWN_VOICE = "UNKNOWN_VOICE"
    INVALID_UPDATE = "INVALID_UPDATE"
    TOO_MANY_UPDATES = "TOO_MANY_UPDATES"
    UNKNOWN_MESSAGE = "UNKNOWN_MESSAGE"
    CONVERSION_FAILED = "CONVERSION_FAILED"


class EdgeCode(StrEnum):
    """Error codes that only HTTP knows; the others are :class:`ErrorCode`."""

    FORBIDDEN_HOST = "FORBIDDEN_HOST"
    FORBIDDEN_ORIGIN = "FORBIDDEN_ORIGIN"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    HTTP_ERROR = "HTTP_ERROR"
    FORBIDDEN = "FORBIDDEN"
    NO_KEYS = "NO_KEYS"
    INVALID_REQUEST = "INVALID_REQUEST"
    CONSENT_REQUIRED = "CONSENT_REQUIRED"
    VOICE_EXISTS = "VOICE_EXISTS"
    TOO_MANY_VOICES = "TOO_MANY_VOICES"
    TOO_LARGE = "TOO_LARGE"
    UNSUPPORTED_AUDIO = "UNSUPPORTED_AUDIO"
    UNSUITABLE_CLIP = "UNSUITABLE_CLIP"
    UPLOAD_STALLED = "UPLOAD_STALLED"
    QUEUE_FULL = "QUEUE_FULL"
    NO_SPACE = "NO_SPACE"
    UNKNOWN_JOB = "UNKNOWN_JOB"
    JOB_NOT_DONE = "JOB_NOT_DONE"
