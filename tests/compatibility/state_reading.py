"""Opens a copy of the recorded state with commands and a service, and tells what they find."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import safetensors
import soundfile

from fast_vc_service.audio.files import audio_info
from fast_vc_service.client import SyncServiceClient, VoiceServiceError
from tests.compatibility.http_surface import shape
from tests.compatibility.recordings import STATE
from tests.compatibility.services import ALICE, BOB, CAROL, serve
from tests.compatibility.state import (
    BLEND,
    CUT,
    HOME_THEN,
    WHOLE,
    address,
    run,
    speak,
    variables,
)
from tests.e2e.service import RunningService

INFO = "fast_vc_service_port_*.json"
NEW, IMPORTED = "new/1", "imported"
"""Session that is recorded, and voice that is made, by the present code."""


def copy(home: Path) -> None:
    """Copy the recorded state to ``home`` as if it had been written there a moment ago."""
    shutil.copytree(STATE, home)
    listed = home / "converted" / ".converted.jsonl"
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace(str(HOME_THEN), str(home)), encoding="utf-8")
    # Git keeps no times; a source counts as unchanged by size and time.
    written_ns = json.loads(text.splitlines()[0])["source"][2]
    os.utime(home / "sources" / "talk.wav", ns=(written_ns, written_ns))
    # Finished jobs go after a day.
    with sqlite3.connect(home / "data" / "jobs" / "jobs.sqlite3") as database:
        database.execute(
            "UPDATE jobs SET finished_at = ? WHERE finished_at IS NOT NULL", (time.time(),)
        )
    database.close()


def read(home: Path) -> dict[str, Any]:
    """Return all that commands and a service find in a copy of the state.

    Args:
        home: Where the copy is made.
    """
    copy(home)
    before = _features(home)
    found: dict[str, Any] = {"commands": _by_commands(home)}
    # A conversion frees its place a moment after its last byte; with one place the next is refused.
    service = serve(home, variables(home) | {"FAST_VC_FILE_WORKERS": "8"})
    try:
        service.wait_until("ready", seconds=300)
        found["service"] = _by_service(home, service)
        found["info file"] = _info_file(home, service)
        run(home, "stop", "--port", str(service.port))
        found["info file"]["is left after the end"] = any((home / "temp").glob(INFO))
    finally:
        service.stop(seconds=120)
    after = _features(home)
    # Another version may make its features otherwise; the same one has no reason to.
    found["features made anew for nothing"] = sorted(
        path
        for path, written in before.items()
        if path in after and after[path] != written and after[path][2] == written[2]
    )
    found["features"] = {path: path in before for path in after}
    found["written"] = _written(home)
    return found


def _by_commands(home: Path) -> dict[str, Any]:
    status = json.loads(run(home, "status", "--json", status=3))
    finished = home / "converted" / ".converted.jsonl"
    before = finished.read_text(encoding="utf-8")
    # The voice is made otherwise than by 08b3106, so its file is converted anew, and then finished.
    command = ("convert", "sources/talk.wav", "--output-dir", "converted", "--resume", "--json")
    run(home, *command)
    (file,) = json.loads(run(home, *command))["files"]
    return {
        "stale info files": len(status["stale"]),
        "stale info files left": len(list((home / "temp").glob(INFO))),
        "convert --resume": {"skipped": file["skipped"], "error": file["error"]},
        "list of what is finished": {
            "goes on": finished.read_text(encoding="utf-8").startswith(before),
            "members": _members(before) == _members(finished.read_text(encoding="utf-8")),
        },
        "voices list": json.loads(run(home, "voices", "list", "--json")),
        "voices import": run(home, "voices", "import", "dora.zip", "--name", IMPORTED).strip(),
        "session stats": {
            session: rounded(json.loads(run(home, "session", "stats", session, "--json")))
            for session in (WHOLE, CUT)
        },
        "session show": run(home, "session", "show", CUT).count("<- output"),
        "session export": _exported(home),
    }


def rounded(value: Any) -> Any:
    """Return figures without the last digits, in which sums of another order differ."""
    if isinstance(value, dict):
        return {key: rounded(member) for key, member in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def _exported(home: Path) -> dict[str, Any]:
    made = Path(run(home, "session", "export", WHOLE, "--folder").strip())
    folder = home / made
    timeline = json.loads((folder / "timeline.json").read_text(encoding="utf-8"))
    wavs = {path.name: audio_info(path).frames for path in folder.glob("*.wav")}
    return {"files": dict.fromkeys(sorted(path.name for path in folder.iterdir()), True)} | {
        "timeline": timeline,
        "frames": wavs,
    }


def _by_service(home: Path, service: RunningService) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, key in {"alice": ALICE, "bob": BOB, "carol": CAROL}.items():
        bearer = {"Authorization": f"Bearer {key}"}
        with SyncServiceClient(address(service), api_key=key) as client:
            for job in client.jobs():
                try:
                    client.wait_for_job(job.id, every_s=0.05)
                except VoiceServiceError as error:
                    found[f"error of job {job.id}"] = error.code
        jobs = service.get("/jobs", **bearer)[1]["jobs"]
        voices = service.get("/voices", **bearer)[1]
        for voice in voices["voices"]:
            if voice["name"] == IMPORTED:
                voice["created_at"] = shape(voice["created_at"])
        found[name] = {
            "voices": {voice.pop("name"): _without(voice, "ready") for voice in voices["voices"]},
            "default": voices["default"],
            "jobs": {job["id"]: _job(job) for job in jobs},
        }
    with SyncServiceClient(address(service), api_key=ALICE) as alice:
        found["anna"] = _without(_get(service, "/voices/anna", ALICE), "ready")
        found["samples"] = {
            name: _sample(alice.voice_sample(name)) for name in ("low", "anna", "dora")
        }
        for job in alice.jobs():
            if job.state == "done":
                result = home / f"{job.id}.{job.format}"
                alice.job_result(job.id, result)
                found["alice"]["jobs"][job.id]["frames of the result"] = audio_info(result).frames
        for name, voice in {"anna": "anna", "a blend": BLEND, "imported": IMPORTED}.items():
            output = home / f"{name}.wav"
            alice.convert_file(home / "sources" / "talk.wav", output, voice=voice)
            found[f"frames by {name}"] = audio_info(output).frames
    speak(service, NEW, BLEND)
    return found


def _job(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job as the service tells it; times of today as their kind."""
    today = ("started_at", "finished_at", "expires_at")
    return {**job, **{name: shape(job[name]) for name in today}}


def _get(service: RunningService, path: str, key: str) -> Any:
    status, body = service.get(path, Authorization=f"Bearer {key}")
    assert status == 200, body
    return body


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _sample(data: bytes) -> dict[str, Any]:
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    return {"rate": rate, "sha256": hashlib.sha256(samples.tobytes()).hexdigest()}


def _info_file(home: Path, service: RunningService) -> dict[str, Any]:
    """Return what the info file of a running service tells, and whether an older one will do."""
    (path,) = (home / "temp").glob(INFO)
    now = json.loads(path.read_text(encoding="utf-8"))
    then = json.loads(next((STATE / "temp").glob(INFO)).read_text(encoding="utf-8"))
    path.write_text(json.dumps({key: now[key] for key in then}), encoding="utf-8")
    status = json.loads(run(home, "status", "--json", "--port", str(service.port)))
    return {"keys": shape(now), "status of an older one": status["state"]}


def _features(home: Path) -> dict[str, tuple[int, int, Any]]:
    """Return files with features of voices: when each was written, and by what version."""
    return {
        str(path.relative_to(home)): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            _version_of(path),
        )
        for path in sorted(home.rglob("*.safetensors"))
    }


def _version_of(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, framework="numpy") as file:
        told: dict[str, str] = file.metadata()
    return {key: value for key, value in told.items() if key != "name"}


def _written(home: Path) -> dict[str, Any]:
    """Return the form of what the present code has written beside what was there."""
    records = [json.loads(path.read_text()) for path in (home / "data").rglob("voice.json")]
    timeline = next(home.rglob("new-1-*_timeline.json"))
    with sqlite3.connect(home / "data" / "jobs" / "jobs.sqlite3") as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        columns = {row[1]: row[2] for row in database.execute("PRAGMA table_info(jobs)")}
    database.close()
    return {
        "voice.json": {record["name"]: shape(record) for record in records},
        "timeline": shape(json.loads(timeline.read_text(encoding="utf-8"))),
        "recording": dict.fromkeys(
            (path.name.rpartition("_")[2] for path in timeline.parent.glob("new-1-*")), True
        ),
        "jobs": {"version": version, "columns": columns},
    }


def _members(lines: str) -> set[tuple[str, ...]]:
    """The members' names of the entries of a list of finished conversions."""
    return {tuple(json.loads(line)) for line in lines.splitlines()}
