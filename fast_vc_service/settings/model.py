"""The settings themselves: one flat namespace, grouped in classes by what they are about.

The docstring of a group, and the description, unit and limits of its fields, are the source of
``docs/configuration.md``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from fast_vc_service.protocol.limits import MAX_FRAME_BYTES

ENV_PREFIX = "FAST_VC_"
MIN_KEY_CHARS = 8

_DEVICE = re.compile(r"cpu|cuda(:[0-9]{1,3})?")
_SHA256 = re.compile(r"sha256:[0-9a-fA-F]{64}")


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part for part in (part.strip() for part in value.split(",")) if part]
    return value


def _decode(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        raise ValueError(
            'expected a JSON list like [{"name": "me", "key": "a-long-secret-of-your-own"}], '
            "got text that is not JSON"
        ) from None


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class ApiKey(BaseModel):
    """One key that clients may present."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=64, description="Who uses it; shown in logs.")
    key: SecretStr = Field(
        description="The key itself, or `sha256:` and the 64 hex digits of its SHA-256."
    )
    max_sessions: int | None = Field(None, ge=1, description="Live sessions it may hold at once.")
    admin: bool = Field(
        False, description="Whether it may see and remove what other keys have made."
    )

    @field_validator("key")
    @classmethod
    def _check_key(cls, key: SecretStr) -> SecretStr:
        text = key.get_secret_value()
        if text.startswith("sha256:"):
            if not _SHA256.fullmatch(text):
                raise ValueError("expected 64 hex digits after 'sha256:', got something else")
        elif len(text) < MIN_KEY_CHARS:
            raise ValueError(
                f"expected at least {MIN_KEY_CHARS} characters, got {len(text)}; "
                "make one with: openssl rand -hex 24"
            )
        return key


class Network(BaseModel):
    """Where the service listens and how connections are encrypted."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. Anything but a loopback address needs `api_keys` "
        "or `allow_anonymous`.",
    )
    port: int = Field(8042, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    tls_cert: Path | None = Field(None, description="PEM file of the certificate (chain).")
    tls_key: Path | None = Field(None, description="PEM file of its private key.")
    tls_self_signed: bool = Field(
        False, description="Make a self-signed certificate in `temp_dir` and use it."
    )
    max_connections: int = Field(
        1000, ge=1, le=100_000, description="Open connections; more are answered 503."
    )


class Engine(BaseModel):
    """What converts, on what, and how fast an answer comes."""

    engine: Literal[
        "nano", "world", "passthrough", "seedvc-tiny", "seedvc-small", "seedvc-base"
    ] = Field(
        "nano",
        description="Model family. `nano` is the built-in network; `world` is signal processing "
        "without weights; `seedvc-…` want a GPU and downloaded weights (see models.md); "
        "`passthrough` returns the input and is for measurements only.",
    )
    device: str = Field(
        "cpu",
        description="Where the model runs: `cpu`, or with `nano` and `seedvc-…` also `cuda` or "
        "`cuda:N`. Several, separated by commas, run side by side (`cuda:0,cuda:1`).",
    )
    latency_ms: int | None = Field(
        None,
        ge=20,
        le=10_000,
        description="Milliseconds from a sample's arrival to its converted answer (block + "
        "delay). Smaller answers sooner and costs more computing. None is the engine's own.",
    )
    max_sessions: int | None = Field(
        None, ge=1, description="Live sessions admitted at once. None measures it at warm-up."
    )

    @field_validator("device")
    @classmethod
    def _check_device(cls, device: str) -> str:
        names = device.replace(" ", "").split(",")
        if not all(_DEVICE.fullmatch(name) for name in names):
            raise ValueError(f"expected cpu, cuda or cuda:N, or a list of them, got {device!r}")
        if len({"cuda:0" if name == "cuda" else name for name in names}) < len(names):
            raise ValueError(f"expected every device once, got {device!r}")
        return ",".join(names)


class SeedVc(BaseModel):
    """The engines `seedvc-tiny`, `seedvc-small` and `seedvc-base`: quality against computing.

    Contexts, look-ahead and cross-fade are whole multiples of 20 ms.
    """

    seedvc_checkpoint: Path | None = Field(
        None,
        description="Fine-tuned checkpoint. None is the published one.",
    )
    seedvc_config: Path | None = Field(
        None,
        description="Configuration (YAML) that `seedvc_checkpoint` was trained with. None if its "
        "networks have the sizes of the engine's own.",
    )
    seedvc_steps: int = Field(10, ge=1, le=30, description="Steps of the sampler.")
    seedvc_guidance: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Weight of classifier-free guidance; 0 halves the transformer's work.",
    )
    seedvc_prompt_s: float = Field(
        3.0, ge=1, le=20, description="Seconds of the reference clip that are the prompt."
    )
    seedvc_context_ms: int = Field(
        2500,
        ge=500,
        le=10_000,
        multiple_of=20,
        description="Milliseconds of the past that the content encoder hears.",
    )
    seedvc_dit_context_ms: int = Field(
        500,
        ge=500,
        le=10_000,
        multiple_of=20,
        description="Milliseconds of the past that the transformer sees; at most "
        "`seedvc_context_ms`.",
    )
    seedvc_lookahead_ms: int = Field(
        20,
        ge=20,
        le=10_000,
        multiple_of=20,
        description="Milliseconds of the future that both see; part of the delay.",
    )
    seedvc_crossfade_ms: int = Field(
        40,
        ge=20,
        le=500,
        multiple_of=20,
        description="Milliseconds of cross-fade between blocks; part of the delay.",
    )
    seedvc_register_match: bool = Field(
        True, description="Move the source's pitch to the voice's register (`seedvc-base`)."
    )
    seedvc_loudness_mix: float = Field(
        0.0,
        ge=0,
        le=1,
        description="0 leaves the loudness as the model makes it, 1 follows the source's.",
    )
    seedvc_gate: bool = Field(
        True, description="Silence where Silero VAD hears no speech, whatever the model makes."
    )
    seedvc_hangover_ms: int = Field(
        200,
        ge=0,
        le=2000,
        description="Milliseconds that the gate stays open after speech.",
    )
    seedvc_precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Of content encoder and transformer; all else runs in float32, never in TF32. "
        "`bfloat16` is faster on GPUs and on CPUs that have it (AVX512_BF16, AMX).",
    )
    seedvc_prompt_every: int = Field(
        1,
        ge=1,
        le=30,
        description="The voice's prompt goes through the transformer in every n-th step of the "
        "sampler; 1 is exact, more is faster and an approximation.",
    )
    seedvc_compile: bool = Field(
        False,
        description="`torch.compile` for transformer and BigVGAN: minutes more at the start, less "
        "a block after. Needs a C++ compiler on a CPU.",
    )
    seedvc_cuda_graphs: bool = Field(
        False,
        description="Record sampler, vocoder and gate as CUDA graphs, one a batch size (`cuda` "
        "only).",
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.seedvc_dit_context_ms > self.seedvc_context_ms:
            raise ValueError(
                f"seedvc_dit_context_ms: expected at most seedvc_context_ms "
                f"({self.seedvc_context_ms}), got {self.seedvc_dit_context_ms}"
            )
        if self.seedvc_config is not None and self.seedvc_checkpoint is None:
            raise ValueError("seedvc_config: expected with seedvc_checkpoint, got it alone")
        return self


class Voices(BaseModel):
    """Target voices and where models are kept."""

    voices_dir: Path = Field(
        Path("wavs/references"),
        description="Folder of reference clips; each file is a voice, named as the file. In a "
        "home without the default one it is the installed package's own.",
    )
    default_voice: str = Field(
        "ref-24k", min_length=1, description="Voice of sessions that name none."
    )
    models_dir: Path = Field(
        Path("checkpoints"), description="Where models and prepared voices are kept."
    )
    data_dir: Path = Field(
        Path("data"), description="Where voices that users add, and jobs, are kept."
    )
    # Known by these names to everyone who uses the hub, so they carry no prefix.
    hf_endpoint: str | None = Field(
        None,
        validation_alias="hf_endpoint",
        pattern=r"^https?://\S+$",
        description="Address of a mirror of the model hub.",
    )
    hf_hub_cache: Path | None = Field(
        None,
        validation_alias="hf_hub_cache",
        description="Cache of downloaded models. None is `hf` in `models_dir`.",
    )


class Access(BaseModel):
    """Who may use the service."""

    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_decode)] = Field(
        (),
        description="Keys that clients may present; without any, every client is let in. In the "
        'environment a JSON list: `[{"name": "me", "key": "a-long-secret-of-your-own"}]`.',
    )
    allow_anonymous: bool = Field(
        False, description="Serve without keys on an address that others can reach."
    )
    allowed_origins: Texts = Field(
        (), description="Web pages (`https://example.org`) that may connect, besides our own."
    )
    allowed_hosts: Texts = Field(
        (), description="Host names clients may use for this service, besides loopback ones."
    )
    browser_token_s: int = Field(
        300,
        ge=10,
        le=86_400,
        description="Seconds for which a token stands for the key it was made with, so that a "
        "browser need not keep the key.",
    )
    auth_failure_delay_ms: int = Field(
        500, ge=0, le=10_000, description="Milliseconds until a wrong key is answered."
    )

    @field_validator("api_keys")
    @classmethod
    def _check_names(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        names = [key.name for key in keys]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"expected a different name for each key, got {twice[0]!r} twice")
        return keys


class Limits(BaseModel):
    """What one session may take, and how a service ends."""

    max_message_bytes: int = Field(
        1 << 20, ge=1024, le=MAX_FRAME_BYTES, description="Bytes of one WebSocket message."
    )
    handshake_timeout_s: float = Field(
        10, gt=0, le=600, description="Seconds until the first message must have come."
    )
    idle_timeout_s: float = Field(
        120,
        ge=0,
        le=86_400,
        description="Seconds without a message after which a session ends; 0 is no limit.",
    )
    max_session_s: float = Field(0, ge=0, description="Longest session in seconds; 0 is no limit.")
    max_buffered_ms: float = Field(
        2000,
        ge=100,
        le=60_000,
        description="Milliseconds of audio a client may be ahead before it is slowed down.",
    )
    late_ms: float | None = Field(
        None,
        gt=0,
        description="Milliseconds a block may wait before it is silenced. None is two blocks.",
    )
    slow_reader_s: float = Field(
        10,
        gt=0,
        le=600,
        description="Seconds a client may refuse to take output before its session ends.",
    )
    drain_s: float = Field(
        30, ge=0, le=3600, description="Seconds that sessions get to finish when the service stops."
    )
    exit_on_failure: bool = Field(
        False,
        description="End with status 1 when the model cannot be brought back, for a supervisor to "
        "start the service anew. Otherwise it stays, in the state `failed`.",
    )


class Uploads(BaseModel):
    """Voices and files that are sent over HTTP."""

    max_clip_mb: int = Field(
        120, ge=1, le=1000, description="Megabytes of the clip of an uploaded voice."
    )
    max_clip_s: float = Field(
        600,
        ge=1,
        le=3600,
        description="Seconds of the clip of an uploaded voice; the best 30 of them are used.",
    )
    max_voices: int = Field(
        50, ge=0, le=10_000, description="Voices that one key may upload; 0 allows no upload."
    )
    max_file_mb: int = Field(
        200, ge=1, le=100_000, description="Megabytes of a file to be converted."
    )
    max_file_s: float = Field(
        3600, ge=1, le=1_000_000, description="Seconds of audio in a file to be converted."
    )
    max_jobs: int = Field(
        20, ge=0, le=10_000, description="Jobs that may wait at the same time, of all keys."
    )
    job_retention_h: float = Field(
        24, gt=0, le=10_000, description="Hours after which a finished job and its files go."
    )
    file_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Files converted at the same time; they yield to live sessions.",
    )


class Records(BaseModel):
    """Recordings and logs: what is written, where, and for how long."""

    record: bool = Field(False, description="Record sessions that do not refuse it.")
    outputs_dir: Path = Field(Path("outputs"), description="Where recordings go.")
    recording_retention_days: int | None = Field(
        None, ge=1, description="Days after which recordings are deleted. None keeps them."
    )
    logs_dir: Path = Field(Path("logs"), description="Where log files go.")
    log_level: Annotated[
        Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)
    ] = Field("INFO", description="Least important message that is logged.")
    log_json: bool = Field(False, description="Log one JSON object a line.")
    log_rotation_mb: int = Field(
        50, ge=1, le=10_000, description="Megabytes after which a new log file is begun."
    )
    log_retention_days: int = Field(
        14, ge=1, le=3650, description="Days after which old log files are deleted."
    )
    log_total_mb: int = Field(
        500,
        ge=5,
        le=1_000_000,
        description="Megabytes of all log files of one service; the oldest go.",
    )
    temp_dir: Path = Field(
        Path("temp"),
        description="Where the files of a running service go. Set by environment or `.env` only, "
        "so that `fast-vc status` and `stop` find a service whatever profile it runs with.",
    )


GROUPS = (Network, Engine, SeedVc, Voices, Access, Limits, Uploads, Records)
"""The groups in the order the documentation shows them."""


class Settings(Network, Engine, SeedVc, Voices, Access, Limits, Uploads, Records, BaseSettings):
    """All settings with their effective values; paths are absolute once loaded.

    Building one directly reads neither environment nor files; ``load_settings`` does.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, allow_inf_nan=False
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller alone: ``layers`` asks each source itself to know whose."""
        return (init_settings,)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Without this `port: yes` would be port 1.
        name = info.field_name or ""
        if isinstance(value, bool) and cls.model_fields[name].annotation is not bool:
            raise ValueError(f"expected {expectation(name)}, got {str(value).lower()}")
        return value

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key: expected both or neither, got only one")
        if self.tls_self_signed and self.tls_cert is not None:
            raise ValueError("tls_self_signed: expected it alone, got tls_cert beside it")
        return self


def expectation(name: str, model: type[BaseModel] = Settings) -> str:
    """Say in words what field ``name`` of ``model`` takes, e.g. "a whole number of at least 1"."""
    schema = model.model_json_schema()
    return _in_words(schema["properties"][name])


def _in_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return next(_in_words(kind) for kind in schema["anyOf"] if kind.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type")
    if kind in {"integer", "number"}:
        return ("a whole number" if kind == "integer" else "a number") + _limits(schema)
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        named = "$ref" in schema.get("items", {})
        return "a list of {name, key, max_sessions, admin}" if named else "a list of texts"
    if schema.get("format") == "path":
        return "a path"
    if "pattern" in schema:
        return "an http:// or https:// address"
    return "a text"


def _limits(schema: dict[str, Any]) -> str:
    low, above, high = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    if above is not None:
        return f" above {above:g}" + (f", at most {high:g}" if high is not None else "")
    if low is not None and high is not None:
        return f" from {low:.10g} to {high:.10g}"
    return f" of at least {low:.10g}" if low is not None else ""
