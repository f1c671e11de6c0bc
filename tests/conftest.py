from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable, Generator

import pytest
from hypothesis import settings

from fast_vc_service.process.interpreter import limit_torch_threads

# Machines under load are slow, not wrong: no deadline, the same examples everywhere.
settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")

# As the service does before torch is loaded: one session's step is not worth two cores.
limit_torch_threads(1)

# Where nohup started the tests, SIGHUP is ignored, and every service that they start would inherit
# that. A handler is not inherited.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


SLOW_TIMEOUT_S = 3600


def _has_cuda() -> bool:
    import torch

    from fast_vc_service.models.float32 import exact_float32

    exact_float32()
    return torch.cuda.is_available()


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "cuda": (_has_cuda, "no CUDA device"),
    "ray": (lambda: importlib.util.find_spec("ray") is not None, "no Ray: make cluster"),
    "media": (lambda: importlib.util.find_spec("av") is not None, "no PyAV: make media"),
}
"""By marker: whether what its tests need is there, and what is said where it is not."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fail-on-skip",
        action="store_true",
        help="a test that is skipped fails the run: what cannot run must be deselected",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") is not None:
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, (is_there, reason) in NEEDS.items():
        if item.get_closest_marker(name) is not None and not is_there():
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_skipped(item.config, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(collector.config, report)
    return report


def fail_if_skipped(
    config: pytest.Config, report: pytest.TestReport | pytest.CollectReport
) -> None:
    # Whoever asks for the tests of GPUs alone wants to know what their GPU does.
    of_gpus = config.getoption("markexpr") == "cuda" and isinstance(report, pytest.TestReport)
    forbidden = config.getoption("--fail-on-skip") or of_gpus
    if not forbidden or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = (
        f"{report.nodeid} was skipped, which --fail-on-skip and -m cuda forbid: {reason}"
    )
