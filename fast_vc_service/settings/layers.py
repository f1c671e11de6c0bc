"""Where values come from: flags > environment > ``.env`` > profile > defaults.

Each layer is asked on its own, so that the effective value of every setting can name its source
and every mistake can name the place to mend it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from fast_vc_service.errors import SettingsError
from fast_vc_service.process.home import HOME_VARIABLE, read_dotenv
from fast_vc_service.settings.model import ENV_PREFIX, ApiKey, Settings, expectation

PROFILES = Path(__file__).resolve().parents[1] / "profiles"
"""The shipped profiles."""

PACKAGED_VOICES = Path(__file__).resolve().parents[1] / "clips"
"""The reference clips in an installed package; a checkout has them in ``wavs/references``."""

DEFAULT_PROFILE = "prod"
PROFILE_VARIABLE = "env_profile"
DEFAULT = "default"

# Names under our prefix that are no settings: the home itself, and the key the clients present.
_OTHER_VARIABLES = frozenset({HOME_VARIABLE, "FAST_VC_API_KEY"})
_HINTS = {
    "workers": "one process serves all sessions on one model: remove it; "
    "max_sessions bounds the live sessions",
}
_SHOWN_CHARS = 60


@dataclass(frozen=True)
class LoadedSettings:
    """Effective settings and their origin.

    Attributes:
        settings: The values; every path is absolute.
        sources: For each field where its value came from, in words.
        home: The folder relative paths hang on.
        profile: Name of the profile in use, None when a config file replaced it.
        config_path: That config file, or None.
    """

    settings: Settings
    sources: Mapping[str, str]
    home: Path
    profile: str | None
    config_path: Path | None


@dataclass(frozen=True)
class _Layer:
    values: Mapping[str, Any]
    source: str
    names: Mapping[str, str]

    def source_of(self, field: str) -> str:
        return " ".join(filter(None, (self.source, self.names.get(field))))


def load_settings(
    flags: Mapping[str, object],
    *,
    home: Path,
    profile: str | None = None,
    config: Path | None = None,
) -> LoadedSettings:
    """Gather the settings from all their sources.

    Args:
        flags: Fields given on the command line.
        home: See :func:`fast_vc_service.process.home.find_home`.
        profile: Name of a profile; None asks ``env_profile`` and takes ``prod`` at last.
        config: A YAML file that takes the profile's place.

    Raises:
        SettingsError: A value, a name or a file is wrong; one line says which and where.
    """
    dotenv = read_dotenv(home)
    environment = _environment_layer()
    if config is None:
        profile = profile or _chosen_profile(dotenv)
        path = profile_path(profile, home)
        file_source = f"profile {profile} ({path})"
    else:
        profile, path, file_source = None, config, f"config {config}"
    layers = [
        _Layer(_read_yaml(path, file_source), file_source, {}),
        _dotenv_layer(home, dotenv),
        environment,
        _Layer(flags, "flag", {name: "--" + name.replace("_", "-") for name in flags}),
    ]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Settings.model_fields, DEFAULT)
    for layer in layers:
        values.update(layer.values)
        sources.update({name: layer.source_of(name) for name in layer.values})
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error, sources)) from None
    settings = _anchored(settings, home)
    missing = PACKAGED_VOICES.is_dir() and not settings.voices_dir.exists()
    if missing and sources["voices_dir"] == DEFAULT:
        settings = settings.model_copy(update={"voices_dir": PACKAGED_VOICES})
        sources["voices_dir"] = "default: those of the package"
    return LoadedSettings(settings, sources, home, profile, config)


def profile_path(name: str, home: Path) -> Path:
    """Return the file of profile ``name``: ``<home>/profiles/<name>.yaml``, else a shipped one.

    Raises:
        SettingsError: There is none of that name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise SettingsError(
            f"{PROFILE_VARIABLE}: expected a name of letters, digits, '_', '.' and '-', "
            f"got '{name}'; a file's path goes to --config"
        )
    folders = (home / "profiles", PROFILES)
    for folder in folders:
        if (path := folder / f"{name}.yaml").is_file():
            return path
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    raise SettingsError(
        f"{PROFILE_VARIABLE}: expected one of {', '.join(known)}, got '{name}' "
        f"(no {folders[0] / name}.yaml){_did_you_mean(name, {one: one for one in known})}"
    )


def variable_name(field: str) -> str:
    """Return the environment variable of a setting: ``FAST_VC_...``, or the hub's own name."""
    alias = Settings.model_fields[field].validation_alias
    return (field if alias else ENV_PREFIX + field).upper()


def _chosen_profile(dotenv: Mapping[str, str]) -> str:
    for values in (os.environ, dotenv):
        for name, value in values.items():
            if name.lower() == PROFILE_VARIABLE and value:
                return value
    return DEFAULT_PROFILE


def _environment_layer() -> _Layer:
    names = _setting_variables(os.environ, "environment")
    return _Layer(_known(EnvSettingsSource(Settings)()), "environment", names)


def _dotenv_layer(home: Path, dotenv: Mapping[str, str]) -> _Layer:
    path = home / ".env"
    names = _setting_variables(dotenv, str(path))
    if not dotenv:
        return _Layer({}, str(path), names)
    source = DotEnvSettingsSource(Settings, env_file=path, env_file_encoding="utf-8")
    return _Layer(_known(source()), str(path), names)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in Settings.model_fields}


def _setting_variables(variables: Mapping[str, str], source: str) -> dict[str, str]:
    """Return field -> variable name, having refused unknown and empty variables of ours."""
    by_variable = {variable_name(name): name for name in Settings.model_fields}
    found = {}
    for variable, value in variables.items():
        upper = variable.upper()
        ours = upper.startswith(ENV_PREFIX)
        if ours and upper in _OTHER_VARIABLES:
            if upper == HOME_VARIABLE and source != "environment":
                raise SettingsError(
                    f"{variable}: expected it in the environment, since .env is found by it, "
                    f"got it in {source}"
                )
            continue
        if upper not in by_variable:
            if ours:
                raise _unknown(variable, upper.removeprefix(ENV_PREFIX).lower(), source)
            continue
        if ours and not value.strip():
            raise SettingsError(
                f"{variable}: expected {expectation(by_variable[upper])}, got nothing ({source}); "
                "remove the name to get the default"
            )
        found[by_variable[upper]] = variable
    return found


def _unknown(shown: str, name: str, source: str) -> SettingsError:
    if name in _HINTS:
        return SettingsError(f"{shown}: expected no such setting ({source}); {_HINTS[name]}")
    fields = Settings.model_fields
    known = {field: field if shown == name else variable_name(field) for field in fields}
    hint = _did_you_mean(name, known)
    return SettingsError(
        f"{shown}: expected the name of a setting, got an unknown one "
        f"({source}){hint or '; docs/configuration.md lists them'}"
    )


def _did_you_mean(name: str, known: Mapping[str, str]) -> str:
    """Return a hint at the closest of ``known`` (what is compared -> what is shown)."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean '{known[close[0]]}'?" if close else ""


class _StrictLoader(yaml.SafeLoader):
    """YAML without the silent "last one wins" of a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is given twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else repr(key))
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path, source: str) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"{path}: expected a readable YAML file, got: {reason}") from error
    except yaml.YAMLError as error:
        raise SettingsError(
            f"{path}: expected YAML, got: {' '.join(str(error).split())}"
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected 'name: value' lines, got {type(values).__name__}")
    for name in values:
        if name not in Settings.model_fields:
            raise _unknown(str(name), str(name), source)
    if "temp_dir" in values:
        raise SettingsError(
            f"temp_dir: expected in the environment or .env as {ENV_PREFIX}TEMP_DIR, got it in "
            f"{source}; status and stop must find the service whatever its profile"
        )
    return values


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    """Turn the first of pydantic's findings into one line."""
    problems = error.errors(include_url=False)
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    place = first["loc"]
    if not place:
        return f"{first['ctx']['error']}{more}"
    field = str(place[0])
    nested = [part for part in place[1:] if isinstance(part, int) or part in ApiKey.model_fields]
    unknown = first["type"] == "extra_forbidden"
    name = field + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in nested)
    if unknown:
        what = f"expected {', '.join(ApiKey.model_fields)}, got '{place[-1]}'"
    elif first["type"] == "value_error":
        what = str(first["ctx"]["error"])
    else:
        inner = [part for part in nested if isinstance(part, str)]
        expected = expectation(inner[-1], ApiKey) if inner else expectation(field)
        what = f"expected {expected}, got {_shown(field, first)}"
    return f"{name}: {what} ({sources.get(field, DEFAULT)}){more}"


def _shown(field: str, problem: Any) -> str:
    if problem["type"] == "missing":
        return "nothing"
    value = problem["input"]
    if field == "api_keys":  # what came may hold a key
        return f"something else ({type(value).__name__})"
    text = repr(str(value) if isinstance(value, Path) else value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


def _anchored(settings: Settings, home: Path) -> Settings:
    paths = {name: home / value.expanduser() for name, value in settings if isinstance(value, Path)}
    return settings.model_copy(update=paths)
