"""All stages of the recipe in their order, and what is left of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training import curves, packing
from training.data.real import clips_of, read_lines
from training.data.sources import SOURCES
from training.memory_content import version_of
from training.packed_speech import up_to_date

CORE_SYNTHETIC_HOURS, SYNTHETIC_HOURS = 2.0, 8.0
KINDS = ("real", "synthetic")


@dataclass(frozen=True)
class Plan:
    """What the recipe is to be run with.

    Attributes:
        root: folder of all stages.
        core: only the core set, which is remade within an hour.
        mirrors: folder of git directories instead of the network.
        device: of the stages that torch computes.
        content_steps, acoustic_steps: length of the two trainings that are long.
    """

    root: Path
    core: bool = False
    mirrors: Path | None = None
    device: str = "cpu"
    content_steps: int = 20_000
    acoustic_steps: int = 12_000

    @property
    def synthetic_hours(self) -> float:
        """Hours of parallel speech, all speakers counted."""
        return CORE_SYNTHETIC_HOURS if self.core else SYNTHETIC_HOURS


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: unique.
        command: what follows ``python -m``.
        left: what is still to do, in words; empty when it is done.
    """

    name: str
    command: tuple[str, ...]
    left: Callable[[], str]


def _missing(*paths: Path) -> str:
    missing = [path.name for path in paths if not path.is_file()]
    return f"no {', '.join(missing)}" if missing else ""


def _recordings_left(plan: Plan) -> str:
    """How many sources lack clips that the plan asks for."""
    out = plan.root / "real"
    wanted = [source for source in SOURCES if source.use != "eval"]
    lacking = 0
    for source in wanted:
        clips = clips_of(source, out)
        minutes = sum(entry["samples"] for entry in read_lines(clips)) / 16_000 / 60
        enough = plan.core and minutes >= source.core_minutes
        lacking += not (enough or clips.with_suffix(".complete").is_file())
    there = (out / "manifest.jsonl").is_file()
    return f"{lacking} of {len(wanted)} sources" if lacking or not there else ""


def _rendered_left(plan: Plan) -> str:
    seconds = sum(
        entry["samples"] * len(entry["speakers"]) / 24_000
        for manifest in (plan.root / "synthetic").glob("manifest-*.jsonl")
        for entry in read_lines(manifest)
    )
    hours = plan.synthetic_hours - seconds / 3600
    return f"{hours:.2f} h" if hours > 0 else ""


def _shards_left(plan: Plan, kind: str) -> str:
    wanted = sum(
        len(packing.packable(kind, manifest)) // packing.SHARD_CLIPS
        for manifest in (plan.root / kind).glob("manifest*.jsonl")
    )
    folder = plan.root / "features" / kind
    have = sum(packing.front_end_of(folder / name) == packing.FRONT_END for name in _shards(folder))
    return f"{wanted - have} of {wanted} shards" if have < wanted or not wanted else ""


def _shards(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("shard-*.npz") if ".partial" not in path.name}


def _derived_left(plan: Plan, folder: Callable[[str], Path]) -> str:
    shards = [
        (kind, plan.root / "features" / kind / name)
        for kind in KINDS
        for name in _shards(plan.root / "features" / kind)
    ]
    missing = sum(not up_to_date(folder(kind) / path.name, path) for kind, path in shards)
    return f"{missing} of {len(shards)} shards" if missing or not shards else ""


def _memory_left(plan: Plan) -> str:
    weights = plan.root / "content" / "content.safetensors"
    if not weights.is_file():
        return "waits for the content encoder"
    version = version_of(weights)
    return _derived_left(plan, lambda kind: plan.root / "memory_content" / kind / version)


def _steps_left(plan: Plan, name: str, steps: int) -> str:
    records = curves.load(plan.root / name / "curves.jsonl")
    done = max((int(record["step"]) for record in records), default=0)
    return f"{steps - done} of {steps} steps" if done < steps else ""


def stages(plan: Plan) -> list[Stage]:
    """The recipe, in the order in which it runs."""
    return [*_speech_stages(plan), *_heard_stages(plan), *_network_stages(plan)]


def _speech_stages(plan: Plan) -> list[Stage]:
    """Those that fetch and render speech, and pack it."""
    root, where = plan.root, ("--root", str(plan.root))
    tools, kokoro = root / "tools" / "whisper-base", root / "kokoro"
    uses = ("--use", "train", "--use", "encode")
    real: tuple[str, ...] = ("training.data", *where, "real", *uses)
    real += ("--core",) if plan.core else ()
    real += ("--mirrors", str(plan.mirrors)) if plan.mirrors else ()
    hours = str(plan.synthetic_hours)
    return [
        Stage("tools", ("training.data", *where, "tools"), lambda: _missing(tools / "model.bin")),
        Stage(
            "generator",
            ("training.data", *where, "fetch"),
            lambda: _missing(kokoro / "decoder.onnx", kokoro / "config.json"),
        ),
        Stage(
            "texts",
            ("training.data", *where, "text"),
            lambda: _missing(root / "text" / "corpus.jsonl"),
        ),
        Stage("recordings", real, lambda: _recordings_left(plan)),
        Stage(
            "parallel speech",
            ("training.data", *where, "render", "--hours", hours, "--torch", plan.device),
            lambda: _rendered_left(plan),
        ),
        *(
            Stage(
                f"{kind} speech packed",
                ("training.packing", *where, "--kind", kind),
                lambda kind=kind: _shards_left(plan, kind),  # type: ignore[misc]
            )
            for kind in KINDS
        ),
    ]


def _heard_stages(plan: Plan) -> list[Stage]:
    """Those that store what published networks hear in the speech."""
    root, where = plan.root, ("--root", str(plan.root))
    return [
        Stage(
            "teacher",
            ("training.teacher", *where, "--device", plan.device),
            lambda: _derived_left(plan, lambda kind: root / "teacher" / kind),
        ),
        Stage(
            "embeddings",
            ("training.embeddings", *where),
            lambda: _derived_left(plan, lambda kind: root / "embeddings" / kind),
        ),
    ]


def _network_stages(plan: Plan) -> list[Stage]:
    """Those that train."""
    root, start = plan.root, Path(__file__).with_name("start")
    on = ("--root", str(plan.root), "--device", plan.device)

    def training(name: str, steps: int | None = None) -> tuple[str, ...]:
        command: tuple[str, ...] = (f"training.{name}", *on)
        if steps is not None:
            command += ("--steps", str(steps))
        weights = start / f"{name}.safetensors"
        fresh = not (root / name / "checkpoint.pt").is_file()
        if not fresh or not weights.is_file():
            return command
        command += ("--start", str(weights))
        sources = ("--content-start", str(start / "content.safetensors"))
        return (*command, *sources) if name == "acoustic" else command

    return [
        Stage("pitch tracker", training("melody"), lambda: _steps_left(plan, "melody", 2500)),
        Stage("vocoder", training("vocoder"), lambda: _steps_left(plan, "vocoder", 2500)),
        Stage(
            "content encoder",
            training("content", plan.content_steps),
            lambda: _steps_left(plan, "content", plan.content_steps),
        ),
        Stage(
            "content of references",
            ("training.memory_content", *on),
            lambda: _memory_left(plan),
        ),
        Stage(
            "acoustic model",
            training("acoustic", plan.acoustic_steps),
            lambda: _steps_left(plan, "acoustic", plan.acoustic_steps),
        ),
    ]
