"""The HTTP side as a client sees it: routes, answers with their keys, files of the page."""

from __future__ import annotations

import json
import re
from functools import reduce
from typing import Any

import httpx

from fast_vc_service.client import SyncServiceClient
from tests.compatibility.schema_fields import fields, resolve
from tests.compatibility.services import ALICE, BOB, CAROL
from tests.compatibility.wire import kind
from tests.e2e.service import ROOT, RunningService

ALTO = ROOT / "wavs" / "references" / "alto.wav"
SOURCE = ROOT / "wavs" / "sources" / "telephone-male-8k.wav"

PAGE = (
    *("/", "/demo/index.html", "/demo/icon.svg", "/demo/style.css", "/demo/theme.js"),
    *(f"/demo/audio/{name}.js" for name in ("capture-worklet", "graph", "jitter-buffer")),
    *(f"/demo/audio/{name}.js" for name in ("latency", "playback-worklet", "recording")),
    "/demo/audio/resampler.js",
    *(f"/demo/client/{name}" for name in ("client.d.ts", "client.js", "codecs.js", "errors.js")),
    *(f"/demo/page/{name}.js" for name in ("conversation", "devices", "dom", "figures")),
    *(f"/demo/page/{name}.js" for name in ("file-conversion", "main", "notice", "picture")),
    *(f"/demo/page/{name}.js" for name in ("recordings", "service-api", "sign-in", "texts")),
    "/demo/page/voices.js",
)

_VOLATILE_HEADERS = ("date", "etag", "last-modified", "content-length", "x-request-id")
_METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
_VOLATILE = re.compile(r"[0-9a-f]{32}|(?<=/)\d+$")
"""Ids of jobs, and the sizes that a compressed file happens to have."""

EXACT = {"type", "state", "status", "engine", "format", "default", "error_code", "source"}
"""Keys of answers whose values mean something by themselves."""


def of_open_service(service: RunningService) -> dict[str, Any]:
    """Return what a service without keys answers, voices and jobs made and removed."""
    with _client(service) as http:
        answers = {
            **_of_states(http),
            **_of_voices(http),
            **_of_files(http),
            "POST /tokens without keys": _answer(http.post("/tokens")),
            "GET /nowhere": _answer(http.get("/nowhere")),
            "PUT /voices": _answer(http.put("/voices")),
            "GET /health from a strange host": _answer(
                http.get("/health", headers={"host": "rebound.example"})
            ),
        }
        return {
            "answers": answers,
            "page": {url: _answer(http.get(url), with_body=False) for url in PAGE},
            "openapi": routes(http.get("/openapi.json").json()),
            "asyncapi": messages(http.get("/asyncapi.json").json()),
            "metrics": metrics(http.get("/metrics").text),
        }


def of_strict_service(service: RunningService) -> dict[str, Any]:
    """Return what a service with keys answers to those who have one and those who have none."""
    with _client(service) as http:
        http.headers["authorization"] = f"Bearer {ALICE}"
        token = http.post("/tokens")
        bearer = {"authorization": f"Bearer {token.json()['token']}"}
        bob, carol = ({"authorization": f"Bearer {key}"} for key in (BOB, CAROL))
        answers = {
            "POST /tokens": _answer(token),
            "POST /tokens with a token": _answer(http.post("/tokens", headers=bearer)),
            "GET /voices with a token": _answer(http.get("/voices", headers=bearer)),
            "DELETE /voices/anna by another": _answer(http.delete("/voices/anna", headers=bob)),
            "DELETE /voices/alto by an admin": _answer(http.delete("/voices/alto", headers=carol)),
            "GET /jobs": _answer(http.get("/jobs")),
        }
        del http.headers["authorization"]
        for path in ("/health", "/version", "/voices", "/metrics", "/jobs", "/openapi.json"):
            answers[f"GET {path} without a key"] = _answer(http.get(path), with_body="json" in path)
        answers["GET /voices with a wrong key"] = _answer(
            http.get("/voices", headers={"authorization": "Bearer no"})
        )
    return {"answers": answers}


def _of_states(http: httpx.Client) -> dict[str, Any]:
    paths = ("/health", "/health/live", "/health/ready", "/version", "/tools/performance-report")
    return {
        **{f"GET {path}": _answer(http.get(path)) for path in paths},
        **{f"HEAD {path}": _answer(http.head(path), with_body=False) for path in paths[:3]},
    }


def _of_voices(http: httpx.Client) -> dict[str, Any]:
    clip = ALTO.read_bytes()

    def add(data: dict[str, str], content: bytes = clip) -> Any:
        return _answer(http.post("/voices", data=data, files={"clip": ("a.wav", content)}))

    form = {"name": "anna", "consent": "true", "description": "reads news"}
    return {
        "POST /voices": add(form),
        "POST /voices again": add(form),
        "POST /voices without consent": add({"name": "bea"}),
        "POST /voices without a name": add({"consent": "true"}),
        "POST /voices with a wrong name": add({"name": "../bea", "consent": "true"}),
        "POST /voices with no audio": add({"name": "bea", "consent": "true"}, b"none"),
        "POST /voices with an unknown field": add({**form, "colour": "blue"}),
        "GET /voices": _answer(http.get("/voices")),
        "GET /voices/anna": _answer(http.get("/voices/anna")),
        "GET /voices/alto": _answer(http.get("/voices/alto")),
        "GET /voices/anna/sample": _answer(http.get("/voices/anna/sample")),
        "GET /voices/nobody": _answer(http.get("/voices/nobody")),
        "DELETE /voices/alto": _answer(http.delete("/voices/alto")),
        "DELETE /voices/anna": _answer(http.delete("/voices/anna")),
        "DELETE /voices/anna again": _answer(http.delete("/voices/anna")),
    }


def _of_files(http: httpx.Client) -> dict[str, Any]:
    content = SOURCE.read_bytes()

    def post(path: str, source: bytes = content, **form: str) -> httpx.Response:
        return http.post(path, data=form, files={"file": ("talk.wav", source)})

    blend = json.dumps({"alto": 3, "bass": 1})
    job = post("/jobs", voice=blend, pitch_shift="-2", format="flac")
    place = job.headers["location"]
    with SyncServiceClient(str(http.base_url)) as client:
        client.wait_for_job(job.json()["id"], every_s=0.02)
    result = http.get(f"{place}/result", headers={"range": "bytes=0-99"})
    return {
        "POST /convert": _answer(post("/convert", voice="alto")),
        "POST /convert to flac": _answer(post("/convert", format="flac")),
        "POST /convert to ogg by a blend": _answer(post("/convert", format="ogg", voice=blend)),
        "POST /convert to mp3": _answer(post("/convert", format="mp3")),
        "POST /convert too high": _answer(post("/convert", pitch_shift="25")),
        "POST /convert by nobody": _answer(post("/convert", voice="nobody")),
        "POST /convert of no audio": _answer(post("/convert", source=b"no audio")),
        "POST /convert of nothing": _answer(http.post("/convert", data={"voice": "alto"})),
        "POST /convert without a form": _answer(http.post("/convert", json={})),
        "POST /jobs": _answer(job),
        "GET /jobs": _answer(http.get("/jobs")),
        "GET /jobs/{id}": _answer(http.get(place)),
        "GET /jobs/{id}/result, a part": _answer(result),
        "GET /jobs/{id}/result": _answer(http.get(f"{place}/result")),
        "DELETE /jobs/{id}": _answer(http.delete(place)),
        "GET /jobs/{id} that is gone": _answer(http.get("/jobs/no-such-job")),
    }


def routes(document: dict[str, Any]) -> dict[str, Any]:
    """Return what an OpenAPI document says of each route, and the names of its schemas."""
    found: dict[str, Any] = {}
    for path, item in document["paths"].items():
        for method in item.keys() & set(_METHODS):
            operation = item[method]
            body = resolve(operation.get("requestBody", {}), document)
            found[f"{method.upper()} {path}"] = {
                "parameters": {
                    f"{parameter['in']} {parameter['name']}": {
                        "required": parameter.get("required", False),
                        "fields": fields(parameter["schema"], document),
                    }
                    for parameter in (resolve(p, document) for p in operation.get("parameters", ()))
                },
                "request": _contents(body, document),
                "required of a request": sorted(_required(body, document)),
                "responses": {
                    code: _contents(resolve(response, document), document)
                    for code, response in operation["responses"].items()
                },
            }
    return {"routes": found, "schemas": dict.fromkeys(document["components"]["schemas"], True)}


def messages(document: dict[str, Any]) -> dict[str, Any]:
    """Return what an AsyncAPI document says of each message of the WebSocket."""
    return {
        "channels": {
            name: {"address": channel["address"], "messages": dict.fromkeys(channel["messages"], 1)}
            for name, channel in document["channels"].items()
        },
        "operations": {
            name: {
                "action": operation["action"],
                "messages": {entry["$ref"]: True for entry in operation["messages"]},
            }
            for name, operation in document["operations"].items()
        },
        "messages": {
            name: fields(resolve(message, document)["payload"], document)
            for name, message in document["components"]["messages"].items()
        },
    }


def metrics(text: str) -> dict[str, Any]:
    """Return names, labels and their values, of which more may come."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, sort = line.split()
            found[f"type of {name}"] = sort
        elif line and not line.startswith("#"):
            found[line.rpartition(" ")[0]] = True
    return found


def _contents(body: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    return {
        media: fields(content.get("schema", {}), document)
        for media, content in body.get("content", {}).items()
    }


def _required(body: dict[str, Any], document: dict[str, Any]) -> set[str]:
    return {
        name
        for content in body.get("content", {}).values()
        for name in resolve(content.get("schema", {}), document).get("required", ())
    }


def _client(service: RunningService) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=300)


def _answer(response: httpx.Response, *, with_body: bool = True) -> dict[str, Any]:
    """Return status, headers and body of a response; of a good one the kinds of its values."""
    answer: dict[str, Any] = {
        "status": response.status_code,
        "headers": {
            name: _VOLATILE.sub("<…>", value)
            for name, value in response.headers.items()
            if name not in _VOLATILE_HEADERS
        },
    }
    is_json = response.headers.get("content-type", "").startswith("application/json")
    if with_body and is_json:
        body = response.json()
        answer["body"] = body if response.status_code >= 400 else shape(body)
    return answer


def shape(value: Any) -> Any:
    """Return the keys of a JSON value with the kinds of what they hold."""
    if isinstance(value, dict):
        return {
            key: member if key in EXACT and not isinstance(member, dict) else shape(member)
            for key, member in value.items()
        }
    if isinstance(value, list):
        return {"items": reduce(_either, map(shape, value), None)}
    return kind(value)


def _either(one: Any, other: Any) -> Any:
    """Return the shape of what has one of two shapes."""
    if one is None or one == other:
        return other
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _either(one.get(key), other.get(key)) for key in one.keys() | other.keys()}
    return " or ".join(sorted({*str(one).split(" or "), *str(other).split(" or ")}))
