"""What ``fast-vc models`` does: list, download and verify published models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fast_vc_service.models.hub import Hub, HubError, model_named
from fast_vc_service.models.presets import MODELS
from fast_vc_service.settings import Settings


def hub_of(settings: Settings) -> Hub:
    """Return the models' folder and hub that the settings name."""
    cache = settings.hf_hub_cache or settings.models_dir / "hf"
    return Hub(settings.models_dir, cache, settings.hf_endpoint)


def describe(settings: Settings) -> list[dict[str, Any]]:
    """Return every model with its files and whether they are here; hashes nothing."""
    hub = hub_of(settings)
    return [
        {
            "name": model.name,
            "description": model.description,
            "megabytes": model.megabytes,
            "files": [
                {
                    "file": state.file.key,
                    "megabytes": state.file.megabytes,
                    "licence": state.file.licence,
                    "path": None if state.path is None else str(state.path),
                }
                for state in hub.states(model, verify=False)
            ],
        }
        for model in MODELS.values()
    ]


def as_text(models: list[dict[str, Any]]) -> str:
    """Lay :func:`describe` out for people."""
    lines = []
    for model in models:
        here = all(file["path"] for file in model["files"])
        state = "here" if here else "not downloaded"
        lines.append(
            f"{model['name']}: {model['description']}, about {model['megabytes']} MB, {state}"
        )
        lines += [
            f"  {'here   ' if file['path'] else 'missing'}  {file['megabytes']:>5} MB  "
            f"{file['licence']:<10}  {file['file']}"
            for file in model["files"]
        ]
    return "\n".join(lines)


def download(settings: Settings, name: str) -> dict[str, Path]:
    """Download what is missing of a model and check it.

    Raises:
        HubError: Unknown model, no network, or a file that is not what it should be.
    """
    return hub_of(settings).download(model_named(name))


def verify(settings: Settings, names: list[str]) -> list[str]:
    """Hash the files of the named models and return one line a file.

    Raises:
        HubError: A file is missing or damaged; the message lists them all.
    """
    hub = hub_of(settings)
    lines, problems = [], []
    for name in names:
        for state in hub.states(model_named(name), verify=True):
            if state.problem is None:
                lines.append(f"ok  {state.file.key}")
            else:
                problems.append(f"{state.file.key}: {state.problem}")
    if problems:
        raise HubError("\n".join([*lines, *problems]))
    return lines
