"""What a training run is made of, and how it is read from YAML.

Every section is a frozen dataclass that checks itself, so a configuration that exists is a valid
one, whether it came from a file, from `--set` or from code. docs/training.md explains every key.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from ..engine.registry import NAME
from ..errors import InvalidValue, UnreadableFile
from .augmentation import Augmentation
from .losses import FORMS, LossWeights
from .recipes import list_recipes, recipes_folder
from .rounds import Curriculum

CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth")
USES = ("images", "clips", "sweeps")
PRECISIONS = ("bf16", "fp16", "float32")
DEVICES = ("auto", "cpu", "cuda", "mps")
FREEZE = ("nothing", "encoder", "all_but_prompts_and_decoder")


class NameOrFile(str):
    """A registered model's name, or the path of a checkpoint, which ends in a suffix of one."""


def _number(name: str, value: float, low: float, high: float = float("inf")) -> None:
    if not low <= value <= high:
        limits = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise InvalidValue(f"{name} is {value:g}; it must be {limits}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidValue(f"{name} is {value!r}; it must be one of {', '.join(choices)}")


@dataclass(frozen=True)
class ModelSource:
    """The network to train.

    architecture: a name of `engine.architectures.ARCHITECTURES`, for random weights. checkpoint:
    a registered model or a checkpoint file (ours or Meta's) to start from instead. name, licence:
    written into the new checkpoint; without a licence, that of the checkpoint started from.
    boundary_points, image_size: change the architecture that a checkpoint has.
    """

    architecture: str | None = None
    checkpoint: NameOrFile | None = None
    name: str = "my-model"
    licence: str | None = None
    boundary_points: bool | None = None
    image_size: int | None = None

    def __post_init__(self):
        if (self.architecture is None) == (self.checkpoint is None):
            raise InvalidValue("give either architecture or checkpoint, not both and not neither")
        if not NAME.fullmatch(self.name):
            raise InvalidValue(f"name is {self.name!r}; letters, digits and . _ + - only")
        if self.image_size is not None and (self.image_size < 64 or self.image_size % 32):
            raise InvalidValue(
                f"image_size is {self.image_size}; a multiple of 32 from 64 up is needed"
            )


@dataclass(frozen=True)
class DataSet:
    """An annotated set (docs/datasets.md).

    use: "images" (each structure of each image), "clips" (its clips and their frames), "sweeps"
    (the images of each group, in the order of their names, as a clip). share, clip_share: weight
    among the parts of the data that steps on images and steps on clips draw from.
    """

    folder: Path
    split: str = "train"
    use: tuple[str, ...] = ("images", "clips")
    share: float = 1.0
    clip_share: float = 1.0

    def __post_init__(self):
        for use in self.use:
            _one_of("use", use, USES)
        _number("share", self.share, 0)
        _number("clip_share", self.clip_share, 0)


@dataclass(frozen=True)
class Phantoms:
    """Simulated clips (docs/phantom.md): how many, frames of each, side of a frame in pixels."""

    count: int = 0
    frames: int = 12
    size: int = 256
    share: float = 0.6
    clip_share: float = 1.0

    def __post_init__(self):
        _number("count", self.count, 0)
        _number("frames", self.frames, 1)
        _number("size", self.size, 64)
        _number("share", self.share, 0)
        _number("clip_share", self.clip_share, 0)


@dataclass(frozen=True)
class Data:
    """What it learns from.

    animated_share: weight, among what steps on clips draw from, of single images that a moving
    view turns into clips. workers: processes that prepare samples; None: chosen for the computer.
    cache: MiB of decoded images and clips kept in memory, all workers together.
    """

    sets: tuple[DataSet, ...] = ()
    phantoms: Phantoms = Phantoms()
    animated_share: float = 1.0
    workers: int | None = None
    cache: int = 4096

    def __post_init__(self):
        _number("animated_share", self.animated_share, 0)
        _number("workers", self.workers or 0, 0)
        _number("cache", self.cache, 0)


@dataclass(frozen=True)
class Optimiser:
    """AdamW and its schedule.

    rate: highest learning rate, reached after `warmup` steps; from there a cosine to final_rate.
    layer_decay: factor of the rate from one block of the image encoder to the one before it.
    batch, clip_batch: images or clips of a process at a time; accumulation: how many such batches
    make one step. clip_gradient: largest norm. ema: momentum of the averaged weights, which are
    what is saved.
    """

    rate: float = 1e-3
    final_rate: float = 1e-5
    warmup: int = 300
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.98
    clip_gradient: float = 1.0
    ema: float = 0.999
    batch: int = 2
    clip_batch: int = 1
    accumulation: int = 1
    precision: str = "bf16"

    def __post_init__(self):
        _number("rate", self.rate, 1e-12)
        _number("final_rate", self.final_rate, 0, self.rate)
        _number("warmup", self.warmup, 0)
        _number("weight_decay", self.weight_decay, 0)
        _number("layer_decay", self.layer_decay, 0.01, 1)
        for name in ("beta1", "beta2", "ema"):
            _number(name, getattr(self, name), 0, 0.9999999)
        _number("clip_gradient", self.clip_gradient, 1e-9)
        for name in ("batch", "clip_batch", "accumulation"):
            _number(name, getattr(self, name), 1)
        _one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class Validation:
    """Dice on held-out data now and then; it never changes the weights.

    every: steps between two looks, 0 for never. split: of the sets of `data`. structures: how many
    at most. clicks: numbers of boundary clicks at which Dice is taken. keep_best: the checkpoint of
    the best mean Dice is kept beside the last one, as NAME.best.safetensors.
    """

    every: int = 0
    split: str = "val"
    structures: int = 24
    clicks: tuple[int, ...] = (2, 5)
    keep_best: bool = True

    def __post_init__(self):
        _number("every", self.every, 0)
        _number("structures", self.structures, 1)
        if not self.clicks or min(self.clicks) < 1:
            raise InvalidValue(f"clicks is {list(self.clicks)}; numbers from 1 up are needed")


@dataclass(frozen=True)
class Outputs:
    """Where results go. file: the checkpoint; the state to resume from lies beside it.

    save_every, report_every, picture_every: steps; 0 for no picture. losses: file of the losses as
    lines of JSON. tensorboard: folder.
    """

    file: Path | None = None
    save_every: int = 500
    report_every: int = 100
    picture_every: int = 0
    losses: Path | None = None
    tensorboard: Path | None = None

    def __post_init__(self):
        _number("save_every", self.save_every, 1)
        _number("report_every", self.report_every, 1)
        _number("picture_every", self.picture_every, 0)
        if self.file is not None and self.file.suffix != ".safetensors":
            raise InvalidValue(f"file is {self.file.name}; it must end in .safetensors")


def _small_network_loss() -> LossWeights:
    # A small network on few data, primed by the spline: plain cross entropy (gamma 0, even
    # weights) and Dice in front, the boundary loss behind. With SAM2's weights and lambda 2 the
    # soft Dice loss at two clicks was 0.24 after 500 steps, the spline's own is 0.16: softening
    # the outline away from the clicks pays for the boundary loss. 3 blurs at half resolution
    # (20 would pull outlines of 32 px outwards by 1.2 px).
    return LossWeights(
        focal=4.0,
        dice=2.0,
        boundary=0.25,
        focal_alpha=0.5,
        focal_gamma=0.0,
        blur_repeats=3,
        relative=True,
    )


@dataclass(frozen=True)
class TrainingConfig:
    """A whole training run. freeze: one of FREEZE, or prefixes of parameter names that stay."""

    model: ModelSource
    data: Data = Data()
    curriculum: Curriculum = Curriculum()
    augmentation: Augmentation = Augmentation()
    loss: LossWeights = field(default_factory=_small_network_loss)
    optimiser: Optimiser = Optimiser()
    freeze: str | tuple[str, ...] = "nothing"
    validation: Validation = Validation()
    outputs: Outputs = Outputs()
    steps: int = 8000
    seed: int = 0
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self):
        _number("steps", self.steps, 1)
        _number("seed", self.seed, 0)
        _one_of("device", self.device, DEVICES)
        if isinstance(self.freeze, str):
            _one_of("freeze", self.freeze, FREEZE)
        if self.threads is not None:
            _number("threads", self.threads, 1)
        _one_of("loss.boundary_form", self.loss.boundary_form, FORMS)
        for part in ("focal", "dice", "iou", "presence", "boundary"):
            _number(f"loss.{part}", getattr(self.loss, part), 0)
        c = self.curriculum
        kinds = ("share_region", "share_box", "share_mask", "share_single")
        for name in ("share_clips", *kinds, "clip_from_mask", "share_exact"):
            _number(f"curriculum.{name}", getattr(c, name), 0, 1)
        total = sum(getattr(c, name) for name in kinds)
        if total > 1 + 1e-9:
            raise InvalidValue(
                f"curriculum.{', '.join(kinds)} add up to {total:g}; at most 1 is possible"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they would stand in a file."""
        return _plain(asdict(self))

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Keys that decide the result and have other values in another run's `to_dict`."""
        return [
            key
            for key in sorted(_flat(self.to_dict()).keys() | _flat(other).keys())
            if not key.startswith(_FREE) and _flat(self.to_dict()).get(key) != _flat(other).get(key)
        ]


# may change when a run goes on: they do not decide the weights
_FREE = ("outputs.", "validation.", "device", "threads", "data.workers", "data.cache")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, (Path, NameOrFile)) else value


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


# Reading ----------------------------------------------------------------------------------------


def read_config(
    source: str | Path,
    changes: Mapping[str, Any] | None = None,
    here: Path | None = None,
) -> TrainingConfig:
    """A YAML file, or a recipe by name, with changes by dotted key ({"optimiser.rate": 1e-4}).

    Paths in the file are relative to it, paths in changes to `here` (default: the current folder).
    Raises UnreadableFile or InvalidValue.
    """
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        known = list_recipes()
        if str(source) not in known:
            raise InvalidValue(
                f"{str(source)!r} is neither a .yaml file nor a recipe; "
                f"the recipes are {', '.join(known)}"
            )
        path = recipes_folder() / f"{source}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnreadableFile(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UnreadableFile(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        raise InvalidValue(f"{path} holds no keys; see docs/training.md")
    try:
        for key, value in (changes or {}).items():
            _put(values, TrainingConfig, key.split("."), value, here or Path.cwd(), key)
        return _read(TrainingConfig, values, path.parent.absolute(), "")
    except InvalidValue as error:
        raise InvalidValue(f"{path.name}: {error}") from None


def _put(values: dict, cls: type, keys: list[str], value: Any, here: Path, where: str) -> None:
    """Set one changed value, already of its type, in the raw values of a section."""
    hints = typing.get_type_hints(cls)
    _check_key(keys[0], hints, where)
    hint = hints[keys[0]]
    if len(keys) == 1:
        values[keys[0]] = _read(hint, value, here, where)
    elif is_dataclass(hint):
        section = values.setdefault(keys[0], {})
        if not isinstance(section, dict):
            raise InvalidValue(f"{keys[0]} is {section!r}; a section of keys is needed")
        _put(section, hint, keys[1:], value, here, where)
    else:
        raise InvalidValue(f"{where}: {keys[0]} has no keys inside")


def _check_key(key: Any, known, where: str) -> None:
    if key not in known:
        near = difflib.get_close_matches(str(key), known, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise InvalidValue(f"there is no key {where}; {hint}")


def _read(hint: Any, value: Any, base: Path, where: str) -> Any:
    """A raw value as the type that is wanted. Paths are taken relative to `base`."""
    if is_dataclass(hint):
        return value if isinstance(value, hint) else _read_section(hint, value, base, where)
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _read_union(parts, value, base, where)
    if origin is tuple:
        return _read_list(parts, value, base, where)
    if hint is Path and isinstance(value, (str, Path)):
        return base / Path(value).expanduser()
    if hint is NameOrFile and isinstance(value, str):
        is_file = Path(value).suffix in CHECKPOINT_SUFFIXES
        return NameOrFile(base / Path(value).expanduser() if is_file else value)
    if hint is float and isinstance(value, str):  # YAML takes 1e-4 for a text
        try:
            value = float(value)
        except ValueError:
            pass
    if hint is float and type(value) in (int, float) and value == value:
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    raise InvalidValue(f"{where} is {value!r}; {names.get(hint, 'a path')} is needed")


def _read_section(cls: type, values: Any, base: Path, where: str) -> Any:
    if not isinstance(values, dict):
        raise InvalidValue(f"{where} is {values!r}; a section of keys is needed")
    hints = typing.get_type_hints(cls)
    prefix = f"{where}." if where else ""
    for key in values:
        _check_key(key, hints, f"{prefix}{key}")
    read = {key: _read(hints[key], value, base, f"{prefix}{key}") for key, value in values.items()}
    defaults = {each.name for each in fields(cls) if _optional(each)}
    missing = sorted(set(hints) - set(read) - defaults)
    if missing:
        raise InvalidValue(f"{prefix}{missing[0]} is missing")
    try:
        return cls(**read)
    except InvalidValue as error:
        raise InvalidValue(f"{prefix}{error}") from None


def _optional(each) -> bool:
    return each.default is not MISSING or each.default_factory is not MISSING


def _read_union(parts: tuple, value: Any, base: Path, where: str) -> Any:
    if value is None and type(None) in parts:
        return None
    choices = [part for part in parts if part is not type(None)]
    if len(choices) > 1:  # a text or a list of them
        lists = isinstance(value, (list, tuple))
        choices = [part for part in choices if (typing.get_origin(part) is tuple) == lists]
    return _read(choices[0], value, base, where)


def _read_list(parts: tuple, value: Any, base: Path, where: str) -> tuple:
    if not isinstance(value, (list, tuple)):
        raise InvalidValue(f"{where} is {value!r}; a list is needed")
    if len(parts) == 2 and parts[1] is Ellipsis:
        parts = (parts[0],) * len(value)
    elif len(parts) != len(value):
        raise InvalidValue(f"{where} is {list(value)}; {len(parts)} values are needed")
    return tuple(
        _read(part, each, base, f"{where}[{index}]")
        for index, (part, each) in enumerate(zip(parts, value, strict=True))
    )
