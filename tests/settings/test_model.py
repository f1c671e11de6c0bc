from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from fast_vc_service.settings import LoadedSettings, Settings, SettingsError, load_settings
from fast_vc_service.settings.model import GROUPS, expectation
from fast_vc_service.settings.show import show

SECRET = "correct-horse-battery"


def load(home: Path, text: str) -> LoadedSettings:
    config = home / "c.yaml"
    config.write_text(text)
    return load_settings({}, home=home, config=config)


def test_settings_built_directly_do_not_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAST_VC_PORT", "1")
    assert Settings().port == 8042


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_engines_and_devices_are_those_that_can_be_built() -> None:
    from fast_vc_service.engine.families import DEVICES, ENGINES

    assert set(get_args(Settings.model_fields["engine"].annotation)) == set(ENGINES)
    for device in DEVICES:
        assert Settings(device=device).device == device
    assert Settings(device="cuda:0, cuda:1").device == "cuda:0,cuda:1"
    for twice in ("cuda,cuda:0", "cuda:1,cuda:1"):
        with pytest.raises(ValidationError, match="every device once"):
            Settings(device=twice)


def test_every_setting_belongs_to_one_group_and_is_described() -> None:
    grouped = [name for group in GROUPS for name in group.model_fields]
    assert sorted(grouped) == sorted(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert expectation(name), name


def test_keys_are_read_from_json_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAST_VC_API_KEYS", f'[{{"name": "me", "key": "{SECRET}"}}]')
    (key,) = load(tmp_path, "").settings.api_keys
    assert (key.name, key.key.get_secret_value(), key.max_sessions) == ("me", SECRET, None)


def test_a_key_may_be_given_as_its_digest(tmp_path: Path) -> None:
    digest = "sha256:" + hashlib.sha256(SECRET.encode()).hexdigest()
    (key,) = load(tmp_path, f"api_keys: [{{name: me, key: '{digest}'}}]").settings.api_keys
    assert key.key.get_secret_value() == digest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[{name: me}]", "api_keys[0].key: expected a text, got nothing"),
        (
            f"[{{name: me, key: {SECRET}, extra: 1}}]",
            "api_keys[0]: expected name, key, max_sessions, admin, got 'extra'",
        ),
        (
            f"[{{name: me, key: {SECRET}, max_sessions: 0}}]",
            "api_keys[0].max_sessions: expected a whole number of at least 1",
        ),
        (
            f"[{{name: a, key: {SECRET}}}, {{name: a, key: {SECRET}2}}]",
            "api_keys: expected a different name for each key, got 'a' twice",
        ),
        ("[{name: me, key: short}]", "api_keys[0].key: expected at least 8 characters, got 5"),
        ("[{name: me, key: 'sha256:12'}]", "api_keys[0].key: expected 64 hex digits"),
        (SECRET, "api_keys: expected a JSON list"),
        (f"{{me: {SECRET}}}", "api_keys: expected a list of {name, key, max_sessions, admin}"),
    ],
)
def test_a_wrong_key_is_refused_without_telling_it(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, f"api_keys: {text}")
    assert str(caught.value).startswith(expected)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls_cert: a.pem", "tls_cert and tls_key: expected both or neither"),
        ("tls_key: a.pem", "tls_cert and tls_key: expected both or neither"),
        ("{tls_cert: a, tls_key: b, tls_self_signed: true}", "tls_self_signed: expected it alone"),
    ],
)
def test_tls_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(SettingsError, match=expected):
        load(tmp_path, text)


def test_the_effective_settings_are_shown_with_sources_and_without_secrets(tmp_path: Path) -> None:
    loaded = load(tmp_path, f"port: 99\napi_keys: [{{name: me, key: {SECRET}}}]\n")
    text = show(loaded)
    assert SECRET not in text
    assert SECRET not in repr(loaded)
    assert "name: me" in text
    (port,) = [line for line in text.splitlines() if line.startswith("port:")]
    assert port.split("#")[0].strip() == "port: 99"
    assert port.endswith(f"# config {tmp_path / 'c.yaml'}")
    shown = {line.split(":")[0] for line in text.splitlines() if line and line[0] != "#"}
    assert shown == set(Settings.model_fields)


def test_shown_settings_can_be_read_again(tmp_path: Path) -> None:
    loaded = load(tmp_path, "drain_s: 1.5\nallowed_hosts: [a.example]\n")
    lines = [line for line in show(loaded).splitlines() if not line.startswith("temp_dir")]
    again = load(tmp_path, "\n".join(lines))
    assert again.settings == loaded.settings
