"""What the page is made of, without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from fast_vc_service.server.http.page import FOLDER, PageFiles, page_routes

HTML = (FOLDER / "index.html").read_text()
FILES = [path for path in FOLDER.rglob("*") if path.is_file()]


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(page_routes())
    app.mount("/demo", PageFiles())
    with TestClient(app) as opened:
        yield opened


def texts() -> dict[str, dict[str, str]]:
    """The dictionaries of ``texts.js``: an object of double-quoted strings, JSON but for commas."""
    source = (FOLDER / "page" / "texts.js").read_text()
    (body,) = re.findall(r"TEXTS = (\{.*?\n\});", source, re.DOTALL)
    body = re.sub(r"^(\s*)(\w+):", r'\1"\2":', body, flags=re.MULTILINE)
    return dict(json.loads(re.sub(r",(\s*\})", r"\1", body)))


def test_the_page_is_there_and_may_load_nothing_of_others(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert client.head("/").status_code == 200
    assert client.post("/").status_code == 405


def test_what_is_unchanged_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/demo/style.css")
    again = client.get("/demo/style.css", headers={"if-none-match": first.headers["etag"]})
    assert (first.headers["cache-control"], again.status_code) == ("no-cache", 304)


@pytest.mark.parametrize("path", ["nothing.js", "../page.py", "%2e%2e/page.py", "client", ""])
def test_nothing_else_is_there(client: TestClient, path: str) -> None:
    assert client.get(f"/demo/{path}").status_code == 404


def test_html_has_neither_inline_code_nor_inline_style() -> None:
    assert not re.search(r"<script(?![^>]*\bsrc=)", HTML)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", HTML)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_every_file_is_served_and_names_no_other_host(client: TestClient, path: Path) -> None:
    answer = client.get(f"/demo/{path.relative_to(FOLDER).as_posix()}")
    assert answer.status_code == 200
    hosts = re.findall(r"\b(?:https?|wss?)://[\w.-]+", path.read_text())
    examples = {"http://www.w3.org", "http://localhost", "ws://HOST"}
    assert set(hosts) <= examples, "namespaces and examples only"


def test_every_file_that_is_named_exists() -> None:
    for name in re.findall(r'(?:src|href)="(demo/[^"]+)"', HTML):
        assert (FOLDER / name.removeprefix("demo/")).exists(), name
    for path in FILES:
        if path.suffix == ".js":
            for name in re.findall(r'from "(\.[^"]+)"', path.read_text()):
                assert (path.parent / name).exists(), f"{path.name} imports {name}"


def test_both_languages_say_the_same_things() -> None:
    english, chinese = texts()["en"], texts()["zh"]
    assert set(english) == set(chinese)
    for name, text in english.items():
        assert re.findall(r"\{\w+\}", text) == re.findall(r"\{\w+\}", chinese[name]), name
    marked = re.findall(r'data-i18n(?:-label)?="(\w+)"', HTML)
    assert set(marked) <= set(english)
    used = {
        name
        for path in FILES
        if path.suffix == ".js"
        for name in re.findall(r'\btext\("(\w+)"', path.read_text())
    }
    assert used <= set(english)


def test_the_declared_types_are_those_of_the_client_module() -> None:
    source = (FOLDER / "client" / "client.js").read_text()
    declared = (FOLDER / "client" / "client.d.ts").read_text()
    members = re.findall(r"^  (?:async )?([a-z]\w*)\(.*\{$", source, re.MULTILINE)
    assert len(members) >= 7
    for name in set(members) - {"constructor"}:
        assert re.search(rf"^  {name}\(", declared, re.MULTILINE), name
    for name in ("VoiceClient", "ServiceError", "convert", "opusSupported"):
        assert re.search(rf"export (?:class|function) {name}\b", declared), name
        assert re.search(rf"export .*\b{name}\b", source), name
