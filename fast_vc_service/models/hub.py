"""Model files: found where they lie, downloaded where they do not, checked either way."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from fast_vc_service.errors import UserError
from fast_vc_service.models.presets import MODELS, PublishedFile, PublishedModel

RECORD = "files.json"
"""In the models' folder: revision, size and hash of each downloaded file."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 22


class HubError(UserError):
    """A model file is missing, damaged or cannot be downloaded; the message says what to do."""


@dataclass(frozen=True)
class FileState:
    """Where one file of a model stands.

    Attributes:
        file: Which one.
        path: Where it lies; None if it does not.
        problem: What is wrong with it; None if nothing is.
    """

    file: PublishedFile
    path: Path | None
    problem: str | None = None


class Hub:
    """The models' folder of one installation and the hub it is filled from.

    Args:
        models_dir: Models' folder. A file put there by hand, at ``OWNER/NAME/FILE``, is used too.
        cache_dir: Cache of downloads, in the layout all programs of the hub share.
        endpoint: Address of a mirror; None is the hub itself.
    """

    def __init__(self, models_dir: Path, cache_dir: Path, endpoint: str | None) -> None:
        self.models_dir = models_dir
        self._cache_dir = cache_dir
        self._endpoint = endpoint

    def find(self, file: PublishedFile) -> Path | None:
        """Return where ``file`` lies on this machine, None if nowhere; asks no network."""
        by_hand = self.models_dir / file.key
        if by_hand.is_file():
            return by_hand
        try:
            found = hf_hub_download(
                file.repository,
                file.name,
                revision=self._revision(file),
                cache_dir=self._cache_dir,
                local_files_only=True,
            )
        except (LocalEntryNotFoundError, OfflineModeIsEnabled):
            return None
        return Path(str(found))

    def paths(
        self,
        files: Mapping[str, PublishedFile],
        models: Collection[PublishedModel] = tuple(MODELS.values()),
    ) -> dict[str, Path]:
        """Return where ``files`` lie, by what they are for; asks no network.

        Args:
            files: By what they are for.
            models: Any of which may be named as one to download.

        Raises:
            HubError: Files are missing; the message lists them with sizes and places.
        """
        found = {use: self.find(file) for use, file in files.items()}
        missing = [files[use] for use, path in found.items() if path is None]
        if missing:
            commands = "; ".join(
                f"fast-vc models download {name}" for name in _holding(missing, models)
            )
            raise HubError(
                f"{len(missing)} model files are not here; get them with: {commands}\n"
                + self._by_hand(missing)
            )
        return {use: path for use, path in found.items() if path is not None}

    def download(self, model: PublishedModel) -> dict[str, Path]:
        """Download what is missing of ``model``, with progress on stderr, and check all of it.

        An interrupted download goes on where it stopped.

        Raises:
            HubError: No network, no such file, or a file that is not what it should be.
        """
        paths = {}
        for use, file in model.files.items():
            path = self.find(file)
            if path is None:
                path = self._fetch(file, model)
                self._check(file, path)
            paths[use] = path
        return paths

    def states(self, model: PublishedModel, *, verify: bool) -> list[FileState]:
        """Return where each file of ``model`` stands; ``verify`` reads and hashes them."""
        states = []
        for file in model.files.values():
            path = self.find(file)
            problem = None
            if path is None:
                problem = "missing"
            elif verify:
                try:
                    self._check(file, path)
                except HubError as error:
                    problem = str(error)
            states.append(FileState(file, path, problem))
        return states

    def _fetch(self, file: PublishedFile, model: PublishedModel) -> Path:
        revision = self._revision(file)
        try:
            url = hf_hub_url(file.repository, file.name, revision=revision, endpoint=self._endpoint)
            etag = get_hf_file_metadata(url).etag or ""
            path = Path(
                str(
                    hf_hub_download(
                        file.repository,
                        file.name,
                        revision=revision,
                        cache_dir=self._cache_dir,
                        endpoint=self._endpoint,
                    )
                )
            )
        except Exception as error:  # whatever the hub's client and its HTTP library raise
            missing = [other for other in model.files.values() if self.find(other) is None]
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise HubError(
                f"{file.key} cannot be downloaded: {reason}\n{self._by_hand(missing)}"
            ) from error
        # Of large files the hub's tag is their hash.
        if _SHA256.fullmatch(etag) and sha256_of(path) != etag:
            path.unlink()
            raise HubError(f"{file.key} came damaged and was deleted; download it again")
        return path

    def _check(self, file: PublishedFile, path: Path) -> None:
        """Compare size and hash with what is pinned or recorded; record a file seen first."""
        record = self._record()
        known = record.get(file.key)
        found: dict[str, str | int] = {
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        wanted = file.sha256 or (known or {}).get("sha256")
        if wanted is not None and found["sha256"] != wanted:
            raise HubError(
                f"{path} is not the file it should be: sha256 {str(found['sha256'])[:16]}…, "
                f"expected {str(wanted)[:16]}…; delete it and download it again"
            )
        if known is None:
            commit = path.parents[file.name.count("/")].name
            record[file.key] = {
                "revision": commit if re.fullmatch(r"[0-9a-f]{40}", commit) else file.revision,
                **found,
            }
            self._write(record)

    def _revision(self, file: PublishedFile) -> str:
        """Return the commit a file was first had from, so that it stays the same."""
        recorded = self._record().get(file.key)
        return str(recorded["revision"]) if recorded else file.revision

    def _record(self) -> dict[str, dict[str, str | int]]:
        path = self.models_dir / RECORD
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise HubError(f"{path} cannot be read: {error}; delete it to record anew") from error
        return dict(content)

    def _write(self, record: Mapping[str, Mapping[str, str | int]]) -> None:
        self.models_dir.mkdir(parents=True, exist_ok=True)
        unfinished = self.models_dir / f".{RECORD}.{os.getpid()}"
        unfinished.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
        unfinished.replace(self.models_dir / RECORD)

    def _by_hand(self, missing: list[PublishedFile]) -> str:
        lines = ["without a network, put these files there by hand:"]
        lines += [
            f"  {file.key} (about {file.megabytes} MB) as {self.models_dir / file.key}"
            for file in missing
        ]
        return "\n".join(lines)


def model_named(name: str) -> PublishedModel:
    """Return a published model.

    Raises:
        HubError: No model has this name.
    """
    if name not in MODELS:
        raise HubError(f"unknown model {name!r}; there are: {', '.join(MODELS)}")
    return MODELS[name]


def _holding(files: list[PublishedFile], models: Collection[PublishedModel]) -> list[str]:
    """Names of few published models that hold all of ``files``."""
    held = {model.name: {file.key for file in model.files.values()} for model in models}
    left = {file.key for file in files}
    names: list[str] = []
    while left:
        name = max(held, key=lambda name: len(left & held[name]))
        if not left & held[name]:
            break
        names.append(name)
        left -= held[name]
    return names


def sha256_of(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
