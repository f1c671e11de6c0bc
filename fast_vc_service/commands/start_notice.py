"""What somebody who starts the service reads: what begins, and at the end what can be done now."""

from __future__ import annotations

from dataclasses import dataclass

from fast_vc_service import __version__
from fast_vc_service.process.address import page_url

DEFAULT_PORT = 8042


@dataclass(frozen=True)
class StartedService:
    """A service that is ready.

    Attributes:
        url: Of its WebSocket.
        port: It listens on.
        engine, device: What converts, and where.
        sessions: As many are admitted at a time.
        limit_set: Whether a setting says so; else it was measured.
    """

    url: str
    port: int
    engine: str
    device: str
    sessions: int
    limit_set: bool

    @property
    def fits(self) -> str:
        """How many sessions fit, and why."""
        plural = "" if self.sessions == 1 else "s"
        why = "set by max_sessions" if self.limit_set else "measured on this machine"
        return f"{self.sessions} session{plural} at a time ({why})"


def first_line(engine: str, device: str, url: str) -> str:
    """Return what is said before anything slow is done."""
    return (
        f"fast-vc-service {__version__} starts: {engine} on {device}; the page will be "
        f"{page_url(url)}"
    )


def ready_line(service: StartedService) -> str:
    """Return the facts in one line of the log."""
    return (
        f"ready: the page is {page_url(service.url)}, clients connect to {service.url}, "
        f"{service.fits}; stop with Ctrl-C or fast-vc stop"
    )


def banner(service: StartedService) -> str:
    """Return the facts for a terminal, at most 80 columns wide for usual addresses."""
    port = "" if service.port == DEFAULT_PORT else f" --port {service.port}"
    url = "" if service.port == DEFAULT_PORT else f" --url {service.url}"
    rows = (
        ("Page", page_url(service.url)),
        ("WebSocket", service.url),
        ("Room for", service.fits),
        ("Try", "fast-vc convert wavs/sources/whispery-female-22k.wav --voice alto"),
        ("", f"python examples/websocket/ws_client.py --voice soprano{url}"),
        ("", f"fast-vc status{port}"),
        ("Stop", f"Ctrl-C, or in another terminal: fast-vc stop{port}"),
    )
    lines = [f"  {name:<10} {value}" for name, value in rows]
    return "\n".join(["", f"fast-vc-service {__version__} is ready.", "", *lines, ""])
