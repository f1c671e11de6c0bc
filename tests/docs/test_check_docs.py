"""The checks of the documentation find what is wrong, and let pass what is right."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_docs
from import_contracts import Contracts
from pages import ROOT, Page

FENCE = "```"


def page(text: str, name: str = "docs/made-up.md") -> Page:
    return Page(ROOT / name, text)


def shell(line: str) -> Page:
    return page(f"{FENCE}bash\n{line}\n{FENCE}\n")


def test_a_link_to_a_missing_file_is_found() -> None:
    made = page("See [this](nowhere.md) and [that](troubleshooting.md).")
    assert list(check_docs.broken_links(made, {})) == ["links to nowhere.md, which does not exist"]


def test_a_link_to_a_missing_heading_is_found() -> None:
    made = page("# A title\n\n[good](#a-title) [bad](#another)", "README.md")
    assert [found.split(",")[0] for found in check_docs.broken_links(made, {made.path: made})] == [
        "links to #another"
    ]


def test_a_missing_file_named_in_code_is_found() -> None:
    made = page("`engine/stream.py`, `docs/architecture.md`, `docs/nowhere.md`, `outputs/x/y.wav`")
    assert list(check_docs.missing_files(made)) == ["names docs/nowhere.md, which does not exist"]


@pytest.mark.parametrize(
    "line",
    [
        "fast-vc serve --port 9000 --latency-ms=200",
        "nohup uv run fast-vc serve > /dev/null 2>&1 &",
        "FAST_VC_PORT=1 .venv/bin/fast-vc status --json && fast-vc stop -f",
        "fast-vc --help",
        'make run ARGS="--port 9000"',
        "fast-vc stop  # not --a-flag",
    ],
)
def test_what_can_be_typed_passes(line: str) -> None:
    assert list(check_docs.wrong_commands(shell(line))) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("fast-vc fly", "no such command"),
        ("fast-vc session fly", "no such command"),
        ("fast-vc serve --prot 9000", "no flag --prot"),
        ("true && fast-vc stop --now", "no flag --now"),
        ("make coffee", "no target coffee"),
        ("python examples/nowhere.py", "examples/nowhere.py does not exist"),
    ],
)
def test_what_cannot_be_typed_is_found(line: str, problem: str) -> None:
    found = list(check_docs.wrong_commands(shell(line)))
    assert len(found) == 1
    assert found[0].endswith(problem)


def test_a_command_in_prose_is_checked_too() -> None:
    assert len(list(check_docs.wrong_commands(page("Try `fast-vc fly --high`.")))) == 1


def test_json_that_does_not_parse_is_found() -> None:
    made = page(f'{FENCE}json\n{{"type": "end",}}\n{FENCE}\n')
    assert len(list(check_docs.bad_json(made))) == 1


def test_an_error_code_without_an_entry_is_found() -> None:
    path = ROOT / check_docs.TROUBLESHOOTING
    text = path.read_text()
    assert list(check_docs.code_entries(Page(path, text))) == []
    shortened = text.replace("### `BUSY`", "### `BUZY`").replace("| 4408 |", "| 4409 |")
    assert list(check_docs.code_entries(Page(path, shortened))) == [
        "has no entry for BUSY under Errors",
        "has an entry for BUZY under Errors, which is no such code",
        "does not say that TIMEOUT closes with 4408",
    ]


def test_a_translation_that_left_something_out_is_found() -> None:
    original = page("# One\n\n## Two\n\n## Three\n", "docs/a.md")
    pages = {original.path: original}
    whole = page("# 一\n\n## 二\n\n## 三\n", "docs/a_zh.md")
    short = page("# 一\n\n## 二\n", "docs/a_zh.md")
    assert list(check_docs.translation_gaps(whole, pages)) == []
    assert len(list(check_docs.translation_gaps(short, pages))) == 1


def test_the_host_of_a_registry_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check_docs, "ROOT", tmp_path)
    bad, good = tmp_path / "bad.toml", tmp_path / "good.toml"
    bad.write_text("index = 'https://py" + "pi.org/simple'")
    good.write_text("see https://docs.astral.sh/uv/")
    monkeypatch.setattr(check_docs, "tracked", lambda: [bad, good])
    assert list(check_docs.registry_hosts()) == ["bad.toml: names the host of a package registry"]


def test_a_changed_import_contract_is_found() -> None:
    page = Page(ROOT / check_docs.ARCHITECTURE, (ROOT / check_docs.ARCHITECTURE).read_text())
    project = (ROOT / "pyproject.toml").read_text()

    def problems(old: str, new: str) -> list[str]:
        assert project.count(old) == 1
        changed = Contracts(project.replace(old, new))
        return list(check_docs.wrong_rooms(page, changed))

    assert problems('    "voices",\n', '    "voices",\n') == []
    (moved,) = problems('    "voices",\n    "engine",\n', '    "engine",\n    "voices",\n')
    assert "sessions, engine, voices" in moved
    (opened,) = problems('    "fast_vc_service.engine.build",\n', "")
    assert opened.startswith("says that engine may import: all below; `settings` in `build` only")
    (closed,) = problems('    "torch",\n', '    "numpy",\n    "torch",\n')
    assert "no `numpy`, `torch`" in closed
