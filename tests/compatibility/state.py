"""Writes a folder of state as a service leaves it behind that was killed at work.

In it are a profile, voices of each kind with records, clips and caches, jobs that are done, failed,
waiting and running, recordings whole and cut off, converted files with the list of them, an
exported voice, and the info file of the dead service.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

from fast_vc_service.audio.files import read_audio
from fast_vc_service.client import Job, SyncServiceClient, SyncVoiceClient, VoiceServiceError
from tests.compatibility import command_line
from tests.compatibility.same_results import ENVIRONMENT
from tests.compatibility.services import ALICE, BOB, KEYS, serve
from tests.e2e.service import ROOT, RunningService, environment

HOME_THEN = Path("/tmp/fast-vc-state")
"""Where the state was written: absolute paths in it begin so."""

BLEND = {"low": 1.0, "anna": 1.0}
WHOLE, CUT = "whole/1", "cut/1"
"""Sessions that were recorded to their end, and until the service was killed."""

PROFILE = {
    "engine": "nano",
    "voices_dir": "voices",
    "default_voice": "low",
    "max_sessions": 4,
    "late_ms": 20_000,
    "record": True,
    "api_keys": KEYS,
    "auth_failure_delay_ms": 10,
}

_LEFT_OUT = shutil.ignore_patterns("stderr.txt", "logs", ".lock", "long.flac", "clips")


def write(folder: Path) -> None:
    """Have services and commands write their files, and keep a copy of them in ``folder``."""
    home = HOME_THEN
    shutil.rmtree(home, ignore_errors=True)
    _prepare(home)
    run(home, "voices", "add", "dora", "clips/alto.flac", "--consent", "--engine", "world")
    run(home, "voices", "export", "dora", "--output", "dora.zip")
    run(home, "convert", "sources/talk.wav", "--output-dir", "converted", "--resume")
    service = serve(home, variables(home))
    try:
        service.wait_until("ready", seconds=300)
        with SyncServiceClient(address(service), api_key=ALICE) as alice:
            _add_voices_and_jobs(home, alice)
            speak(service, WHOLE)
            _be_killed_at_work(home, service, alice)
    finally:
        service.process.kill()
        service.process.wait()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home, folder, ignore=_LEFT_OUT)
    shutil.rmtree(home)


def run(home: Path, *arguments: str, status: int = 0) -> str:
    """Run a command in ``home`` with the settings of its files; return what it prints."""
    with command_line.working_in(home, variables(home)):
        ended, printed, complaint = command_line.run(*arguments)
    if ended != status:
        raise AssertionError(f"{arguments}: exit {ended}, expected {status}:\n{complaint}")
    return printed


def variables(home: Path) -> dict[str, str]:
    """Return an environment that leaves all settings to the files in ``home``."""
    ours = {name: value for name, value in environment(home).items() if _is_kept(name)}
    return ours | ENVIRONMENT


def address(service: RunningService) -> str:
    return f"http://127.0.0.1:{service.port}"


def speak(service: RunningService, session_id: str, voice: object = "low") -> None:
    """Hold a conversation of a second to its end."""
    with SyncVoiceClient(service.url, api_key=ALICE, session_id=session_id, voice=voice) as session:
        session.send(_talk(1.0))
        session.end()
        assert sum(map(len, session)) == 16_000


def _is_kept(name: str) -> bool:
    return name == "FAST_VC_HOME" or not name.startswith("FAST_VC_")


def _prepare(home: Path) -> None:
    for name in ("profiles", "voices", "clips", "sources"):
        (home / name).mkdir(parents=True)
    (home / ".env").write_text("env_profile=kept\nFAST_VC_DRAIN_S=2\n", encoding="utf-8")
    # JSON is YAML too.
    profile = json.dumps(PROFILE, indent=2) + "\n"
    (home / "profiles" / "kept.yaml").write_text(profile, encoding="utf-8")
    _cut("references/baritone.wav", home / "voices" / "low.flac", 4.0)
    _cut("references/soprano.wav", home / "clips" / "soprano.flac", 4.0)
    _cut("references/alto.wav", home / "clips" / "alto.flac", 4.0)
    _cut("sources/telephone-male-8k.wav", home / "sources" / "talk.wav", 1.5)
    _cut("sources/telephone-male-8k.wav", home / "sources" / "long.flac", 8.0)


def _cut(clip: str, path: Path, seconds: float) -> None:
    audio, rate = read_audio(ROOT / "wavs" / clip)
    step = max(1, rate // 16_000)
    soundfile.write(path, audio[: round(seconds * rate) : step], rate // step, subtype="PCM_16")


def _talk(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    audio, rate = read_audio(ROOT / "wavs" / "sources" / "british-male-16k.wav")
    return audio[rate : rate + round(seconds * rate)]


def _add_voices_and_jobs(home: Path, alice: SyncServiceClient) -> None:
    talk, long = home / "sources" / "talk.wav", home / "sources" / "long.flac"
    clip = home / "clips" / "soprano.flac"
    alice.add_voice("anna", clip, consent=True, description="reads the news")
    alice.add_voice("gone", clip, consent=True)
    for voice in ("low", BLEND):
        done = alice.submit_job(talk, voice=voice, pitch_shift=-1.5, file_format="flac")
        alice.wait_for_job(done.id, every_s=0.05)
    first = alice.submit_job(long, voice="low", file_format="ogg")
    fails = alice.submit_job(talk, voice="gone")
    alice.remove_voice("gone")
    alice.wait_for_job(first.id, every_s=0.05)
    with suppress(VoiceServiceError):
        alice.wait_for_job(fails.id, every_s=0.05)
    assert alice.job(fails.id).state == "failed"


def _be_killed_at_work(home: Path, service: RunningService, alice: SyncServiceClient) -> None:
    talk, long = home / "sources" / "talk.wav", home / "sources" / "long.flac"
    with SyncVoiceClient(service.url, api_key=ALICE, session_id=CUT, voice=BLEND) as session:
        session.send(_talk(1.0))
        while not any('"recv"' in path.read_text() for path in home.rglob("*_timeline.jsonl")):
            alice.voices()
        running = alice.submit_job(long, voice="low", file_format="flac")
        alice.submit_job(talk, voice=BLEND, file_format="flac")
        with SyncServiceClient(address(service), api_key=BOB) as bob:
            bob.submit_job(talk, pitch_shift=2.0)

        def kill_once_it_runs(job: Job) -> None:
            if job.state == "running":
                os.kill(service.process.pid, signal.SIGKILL)

        with suppress(VoiceServiceError):
            alice.wait_for_job(running.id, kill_once_it_runs, every_s=0.01)
            raise AssertionError("the job was over before the service could be killed")
