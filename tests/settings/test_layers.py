from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast_vc_service.engine.families import ENGINES
from fast_vc_service.process.home import find_home, temp_dir
from fast_vc_service.settings import LoadedSettings, SettingsError, layers, load_settings

Load = Callable[..., LoadedSettings]
Patch = pytest.MonkeyPatch


@pytest.fixture
def home(tmp_path: Path, monkeypatch: Patch) -> Path:
    for name in list(os.environ):
        if name.upper().startswith(("FAST_VC_", "HF_")) or name.lower() == "env_profile":
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def load(home: Path) -> Load:
    def loaded(flags: Mapping[str, object] | None = None, **arguments: Any) -> LoadedSettings:
        return load_settings(flags or {}, home=home, **arguments)

    return loaded


def write_profile(home: Path, name: str, text: str) -> Path:
    path = home / "profiles" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def refusal(load: Load, flags: Mapping[str, object] | None = None, **arguments: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_any_source_the_shipped_prod_profile_and_defaults_hold(load: Load) -> None:
    loaded = load()
    assert loaded.profile == "prod"
    assert (loaded.settings.host, loaded.settings.port) == ("127.0.0.1", 8042)
    assert loaded.sources["port"] == "default"
    assert "prod.yaml" in loaded.sources["log_level"]


def test_each_layer_beats_the_one_below_it(load: Load, home: Path, monkeypatch: Patch) -> None:
    write_profile(home, "mine", "port: 1001\nmax_connections: 1\ndrain_s: 1\nmax_session_s: 1\n")
    (home / ".env").write_text(
        "env_profile=mine\nFAST_VC_PORT=1002\nFAST_VC_MAX_CONNECTIONS=2\nFAST_VC_DRAIN_S=2\n"
    )
    monkeypatch.setenv("FAST_VC_PORT", "1003")
    monkeypatch.setenv("FAST_VC_MAX_CONNECTIONS", "3")
    loaded = load({"port": 1004})
    values = loaded.settings
    assert (values.port, values.max_connections) == (1004, 3)
    assert (values.drain_s, values.max_session_s) == (2, 1)
    assert loaded.sources["port"] == "flag --port"
    assert loaded.sources["max_connections"] == "environment FAST_VC_MAX_CONNECTIONS"
    assert loaded.sources["drain_s"] == f"{home / '.env'} FAST_VC_DRAIN_S"
    assert loaded.sources["max_session_s"] == f"profile mine ({home / 'profiles/mine.yaml'})"


def test_the_environment_chooses_the_profile_before_dotenv(
    load: Load, home: Path, monkeypatch: Patch
) -> None:
    (home / ".env").write_text("env_profile=nowhere\n")
    monkeypatch.setenv("env_profile", "dev")
    assert load().profile == "dev"
    assert load(profile="prod").profile == "prod"


def test_a_profile_of_the_home_takes_the_place_of_a_shipped_one(load: Load, home: Path) -> None:
    write_profile(home, "prod", "port: 1234\n")
    assert load().settings.port == 1234


def test_a_config_file_replaces_the_profile(load: Load, home: Path) -> None:
    config = home / "mine.yml"
    config.write_text("port: 4321\n")
    loaded = load(config=config)
    assert (loaded.settings.port, loaded.profile, loaded.config_path) == (4321, None, config)
    assert loaded.sources["log_level"] == "default"


def test_an_unknown_profile_names_those_there_are(load: Load) -> None:
    message = refusal(load, profile="pord")
    assert message.startswith("env_profile: expected one of dev, prod, got 'pord'")
    assert "did you mean 'prod'?" in message


@pytest.mark.parametrize("name", ["../prod", "/etc/passwd", "a/b", ".hidden", ""])
def test_a_profile_name_is_no_path(load: Load, monkeypatch: Patch, name: str) -> None:
    monkeypatch.setenv("env_profile", name)
    if name:
        assert "--config" in refusal(load)
    else:
        assert load().profile == "prod"


def test_an_unknown_key_of_a_profile_is_refused_with_a_hint(load: Load, home: Path) -> None:
    path = write_profile(home, "mine", "prot: 1\n")
    message = refusal(load, profile="mine")
    assert message.startswith("prot: ")
    assert str(path) in message
    assert message.endswith("did you mean 'port'?")


@pytest.mark.parametrize("name", ["FAST_VC_PROT", "fast_vc_prot"])
def test_an_unknown_variable_is_refused_with_a_hint(
    load: Load, home: Path, monkeypatch: Patch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert refusal(load) == (
        f"{name}: expected the name of a setting, got an unknown one (environment); "
        "did you mean 'FAST_VC_PORT'?"
    )
    monkeypatch.delenv(name)
    (home / ".env").write_text(f"{name}=1\n")
    assert str(home / ".env") in refusal(load)


def test_names_that_are_not_ours_are_ignored(load: Load, home: Path, monkeypatch: Patch) -> None:
    (home / ".env").write_text("SOME_OTHER_TOOL=1\nFAST_VC_API_KEY=what-the-client-presents\n")
    monkeypatch.setenv("FAST_VC_API_KEY", "what-the-client-presents")
    monkeypatch.setenv("PORT", "1")
    assert load().settings.port == 8042


@pytest.mark.parametrize("source", ["profile", "environment", "dotenv"])
def test_workers_is_refused_with_the_reason(
    load: Load, home: Path, monkeypatch: Patch, source: str
) -> None:
    if source == "profile":
        write_profile(home, "prod", "workers: 4\n")
    elif source == "environment":
        monkeypatch.setenv("FAST_VC_WORKERS", "4")
    else:
        (home / ".env").write_text("FAST_VC_WORKERS=4\n")
    message = refusal(load)
    assert "one process serves all sessions" in message
    assert "max_sessions" in message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", "abc", "a whole number from 0 to 65535, got 'abc'"),
        ("port", "70000", "a whole number from 0 to 65535, got '70000'"),
        ("drain_s", "-1", "a number from 0 to 3600, got '-1'"),
        ("drain_s", "nan", "a number from 0 to 3600, got 'nan'"),
        ("record", "perhaps", "true or false, got 'perhaps'"),
        ("log_level", "loud", "one of TRACE, DEBUG, INFO, WARNING, ERROR, got 'LOUD'"),
        ("engine", "wrld", f"one of {', '.join(ENGINES)}, got 'wrld'"),
        ("device", "cuda:x", "cpu, cuda or cuda:N, or a list of them, got 'cuda:x'"),
        ("latency_ms", "soon", "a whole number from 20 to 10000, got 'soon'"),
    ],
)
def test_a_bad_value_says_key_expectation_value_and_source(
    load: Load, monkeypatch: Patch, name: str, value: str, expected: str
) -> None:
    variable = f"FAST_VC_{name.upper()}"
    monkeypatch.setenv(variable, value)
    assert refusal(load) == f"{name}: expected {expected} (environment {variable})"


def test_several_bad_values_are_one_line(load: Load) -> None:
    assert refusal(load, {"port": "x", "drain_s": "y"}).endswith("(and 1 more)")


def test_an_empty_variable_is_refused(load: Load, monkeypatch: Patch) -> None:
    monkeypatch.setenv("FAST_VC_API_KEYS", "")
    assert "got nothing (environment)" in refusal(load)


@pytest.mark.parametrize("text", ["port: yes\n", "drain_s: on\n", "max_sessions: true\n"])
def test_yaml_truth_is_no_number(load: Load, home: Path, text: str) -> None:
    write_profile(home, "prod", text)
    assert "got true" in refusal(load)


def test_a_key_given_twice_is_refused(load: Load, home: Path) -> None:
    write_profile(home, "prod", "port: 1\nport: 2\n")
    assert "'port' is given twice" in refusal(load)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("- port\n", "got list"), ("port: [1\n", "expected YAML"), ("1: 2\n", "1: expected the name")],
)
def test_a_profile_that_is_no_mapping_is_refused(
    load: Load, home: Path, text: str, expected: str
) -> None:
    write_profile(home, "prod", text)
    assert expected in refusal(load)


def test_an_empty_profile_is_all_defaults(load: Load, home: Path) -> None:
    write_profile(home, "prod", "# nothing\n")
    assert set(load().sources.values()) == {"default"}


def test_a_missing_config_file_is_refused(load: Load, home: Path) -> None:
    message = refusal(load, config=home / "none.yaml")
    assert message.startswith(str(home / "none.yaml"))
    assert "No such file" in message


def test_a_broken_line_of_dotenv_is_refused_by_number(load: Load, home: Path) -> None:
    (home / ".env").write_text('FAST_VC_PORT=1\nFAST_VC_HOST="unclosed\n')
    assert "line 2" in refusal(load)


def test_the_home_cannot_be_named_in_dotenv(load: Load, home: Path) -> None:
    (home / ".env").write_text("FAST_VC_HOME=/somewhere\n")
    assert refusal(load).startswith("FAST_VC_HOME: expected it in the environment")


def test_relative_paths_hang_on_the_home(load: Load, home: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("FAST_VC_LOGS_DIR", "there/logs")
    monkeypatch.setenv("FAST_VC_OUTPUTS_DIR", "/elsewhere")
    monkeypatch.setenv("FAST_VC_MODELS_DIR", "~/models")
    values = load().settings
    assert values.logs_dir == home / "there/logs"
    assert values.outputs_dir == Path("/elsewhere")
    assert values.models_dir == Path.home() / "models"
    assert values.voices_dir == home / "wavs/references"


def test_a_home_without_voices_has_those_of_the_package(
    load: Load, home: Path, monkeypatch: Patch
) -> None:
    packaged = home / "package" / "voices"
    packaged.mkdir(parents=True)
    monkeypatch.setattr(layers, "PACKAGED_VOICES", packaged)
    loaded = load()
    assert loaded.settings.voices_dir == packaged
    assert "package" in loaded.sources["voices_dir"]
    (home / "wavs/references").mkdir(parents=True)
    assert load().settings.voices_dir == home / "wavs/references"
    monkeypatch.setenv("FAST_VC_VOICES_DIR", "elsewhere")
    assert load().settings.voices_dir == home / "elsewhere"


def test_lists_come_from_yaml_or_from_commas(load: Load, home: Path, monkeypatch: Patch) -> None:
    write_profile(home, "prod", "allowed_origins: [https://a.example]\n")
    monkeypatch.setenv("FAST_VC_ALLOWED_HOSTS", "one.example, two.example,")
    values = load().settings
    assert values.allowed_origins == ("https://a.example",)
    assert values.allowed_hosts == ("one.example", "two.example")


def test_hub_variables_keep_their_own_names(load: Load, home: Path, monkeypatch: Patch) -> None:
    (home / ".env").write_text("HF_ENDPOINT=https://mirror.example\n")
    monkeypatch.setenv("HF_HUB_CACHE", "/cache")
    loaded = load()
    assert loaded.settings.hf_endpoint == "https://mirror.example"
    assert loaded.settings.hf_hub_cache == Path("/cache")
    assert loaded.sources["hf_hub_cache"] == "environment HF_HUB_CACHE"
    monkeypatch.setenv("FAST_VC_HF_ENDPOINT", "https://mirror.example")
    assert "did you mean 'hf_endpoint'" in refusal(load).lower()


def test_temp_dir_is_found_without_a_profile(load: Load, home: Path, monkeypatch: Patch) -> None:
    assert temp_dir(home) == load().settings.temp_dir == home / "temp"
    (home / ".env").write_text("FAST_VC_TEMP_DIR=run\n")
    assert temp_dir(home) == load().settings.temp_dir == home / "run"
    monkeypatch.setenv("FAST_VC_TEMP_DIR", "/run/fast-vc")
    assert temp_dir(home) == load().settings.temp_dir == Path("/run/fast-vc")
    write_profile(home, "prod", "temp_dir: there\n")
    assert "FAST_VC_TEMP_DIR" in refusal(load)


def test_the_home_is_named_or_the_checkout(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("FAST_VC_HOME", str(tmp_path))
    assert find_home() == tmp_path
    monkeypatch.setenv("FAST_VC_HOME", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="FAST_VC_HOME: expected an existing folder"):
        find_home()
    monkeypatch.delenv("FAST_VC_HOME")
    assert (find_home() / "pyproject.toml").is_file()


@given(text=st.text(max_size=80))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_profile_loads_or_is_refused_in_one_line(load: Load, home: Path, text: str) -> None:
    config = home / "any.yaml"
    config.write_text(text, encoding="utf-8", newline="")
    message = ""
    try:
        load(config=config)
    except SettingsError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
