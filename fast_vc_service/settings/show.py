"""The effective settings as YAML, each with where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr

from fast_vc_service.settings.layers import LoadedSettings
from fast_vc_service.settings.model import GROUPS

_MASK = "***"
_COMMENT_COLUMN = 40


def show(loaded: LoadedSettings) -> str:
    """Return YAML text of all settings with their sources; secrets are masked."""
    origin = f"profile {loaded.profile}" if loaded.profile else f"config {loaded.config_path}"
    lines = [f"# Effective settings: {origin}, home {loaded.home}"]
    for group in GROUPS:
        summary = (group.__doc__ or "").splitlines()[0]
        lines += ["", f"# {summary}"]
        for name in group.model_fields:
            value = yaml.safe_dump(
                _plain(getattr(loaded.settings, name)), default_flow_style=True, width=10_000
            )
            entry = f"{name}: {value.removesuffix('...' + chr(10)).strip()}"
            lines.append(f"{entry:<{_COMMENT_COLUMN}} # {loaded.sources[name]}")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, BaseModel):
        return {name: _plain(part) for name, part in value}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
