"""A training run from its configuration to its checkpoint: start or go on, save, stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..atomic import atomic_write
from ..engine.architectures import ARCHITECTURES, Architecture
from ..engine.checkpoints import (
    PROMPT_KINDS,
    Checkpoint,
    build_network,
    read_checkpoint,
    write_checkpoint,
)
from ..engine.network import SamusaNetwork
from ..engine.registry import find_model
from ..errors import CannotWrite, InvalidValue
from .config import ModelSource, TrainingConfig
from .data import Batches, choose_workers, gather, read_batches
from .state import TrainingState, read_card, read_state, state_path, write_state
from .trainer import Trainer, join, rate
from .validation import Example, Judged, examples_of, held_out, judge, mean_dice

EXAMPLES = 6  # structures in the picture where none are held out

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Outcome:
    """steps: done in all; stopped: True if a signal ended the run before its last step."""

    checkpoint: Path
    steps: int
    stopped: bool


def starting_network(model: ModelSource) -> tuple[SamusaNetwork, Checkpoint | None]:
    """The network to train and the checkpoint it comes from (None: random weights).

    Raises InvalidValue, UnknownModel, UnreadableFile or WrongCheckpoint.
    """
    if model.checkpoint is None:
        if model.architecture not in ARCHITECTURES:
            raise InvalidValue(
                f"model.architecture is {model.architecture!r}; "
                f"it must be one of {', '.join(ARCHITECTURES)}"
            )
        return SamusaNetwork(_changed(ARCHITECTURES[model.architecture], model)), None
    entry = find_model(model.checkpoint)
    if entry.path is None:
        raise InvalidValue(f"model.checkpoint is {entry.name}, which has no weights to start from")
    checkpoint = read_checkpoint(entry.path)
    architecture = _changed(checkpoint.architecture, model)
    if architecture.boundary_points and not checkpoint.architecture.boundary_points:
        # a click on the border is neither include nor exclude: it begins between them
        embeddings = [f"sam_prompt_encoder.point_embeddings.{n}.weight" for n in range(2)]
        between = torch.stack([checkpoint.tensors[name].float() for name in embeddings]).mean(0)
        tensors = checkpoint.tensors | {"sam_prompt_encoder.boundary_embedding.weight": between}
        changed = replace(checkpoint, architecture=architecture, tensors=tensors)
        return build_network(changed), checkpoint
    return build_network(replace(checkpoint, architecture=architecture)), checkpoint


def _changed(architecture: Architecture, model: ModelSource) -> Architecture:
    if model.boundary_points is False and architecture.boundary_points:
        raise InvalidValue("model.boundary_points is false; this model has them already")
    if model.boundary_points:
        architecture = replace(architecture, boundary_points=True)
    if model.image_size is not None:
        architecture = replace(architecture, image_size=model.image_size)
    return architecture


def trained_prompts(config: TrainingConfig, start: Checkpoint | None) -> tuple[str, ...]:
    """Kinds of prompts that the new checkpoint knows: practised now or known before."""
    c = config.curriculum
    practised = {
        "boundary": 1 - c.share_region - c.share_box - c.share_mask > 1e-9,
        "region": c.share_region > 0,
        "box": c.share_box > 0,
        "mask": c.share_mask > 0,
    }
    known = () if start is None else start.prompts
    return tuple(kind for kind in PROMPT_KINDS if practised[kind] or kind in known)


def run_training(
    config: TrainingConfig,
    resume: bool = False,
    report: Report | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Train, save the checkpoint of `outputs.file` now and then and at the end.

    resume: go on from the state beside the checkpoint; where there is none yet, begin. report: told
    (steps done, losses) after every step, on the main process only, as `say`. The first Ctrl-C
    (SIGINT) or SIGTERM ends the run after the current step, saved. Raises a SamusaError when it
    cannot go on; what was saved before stays.
    """
    if config.outputs.file is None:
        raise InvalidValue("outputs.file is missing; say where the checkpoint goes (--out)")
    for path in (config.outputs.file, config.outputs.losses):
        if path is not None and not path.parent.is_dir():
            raise CannotWrite(f"there is no folder {path.parent} to write {path.name} into")
    if config.threads:
        torch.set_num_threads(config.threads)
    joined_before = torch.distributed.is_initialized()
    accelerator = join(config)
    try:
        run = _Run(config, accelerator, report, say)
        run.prepare(resume)
        with _stop_signals() as stopped:
            return run.to_the_end(stopped)
    finally:
        if torch.distributed.is_initialized() and not joined_before:
            torch.distributed.destroy_process_group()


class _Run:
    """One run on one process; only the main process writes and reports."""

    def __init__(self, config: TrainingConfig, accelerator, report, say):
        self.config, self.accelerator = config, accelerator
        self.main = accelerator.is_main_process
        self.report = report if self.main else None
        self.say = say if self.main else lambda text: None
        self.checkpoint = config.outputs.file
        self.state_file = state_path(self.checkpoint)
        self.history: list[dict[str, Any]] = []
        self.best: float | None = None
        self.seconds = 0.0  # of earlier parts of the run

    # begin ----------------------------------------------------------------------------------

    def prepare(self, resume: bool) -> None:
        config = self.config
        goes_on = resume and self.state_file.is_file()
        if goes_on:
            self._check_same_run(read_card(self.state_file))
        else:
            self._check_nothing_is_lost()
            if resume:
                self.say(f"there is no {self.state_file.name} yet; the run begins")
        self.material = gather(config.data, config.seed)
        self.examples: list[Example] = []
        if config.validation.every and self.main:
            self.examples = held_out(config.data, config.validation, config.seed)
        elif config.outputs.picture_every and self.main:
            sources = self.material.images.sources
            self.examples = examples_of(sources, EXAMPLES, config.seed)
        torch.manual_seed(config.seed)
        network, self.start = starting_network(config.model)
        self.trainer = Trainer(network.to(self.accelerator.device), config, self.accelerator)
        if goes_on:
            self._go_on()
        counts = self.material.counts()
        self.say(
            f"{counts['images']} sources for steps on images, {counts['clips']} for steps on "
            f"clips; {self.accelerator.device}, {self.accelerator.num_processes} process(es)"
        )
        self.board = self._tensorboard()

    def _check_nothing_is_lost(self) -> None:
        if not self.state_file.is_file():
            return
        card = read_card(self.state_file)
        if card["step"] < card["config"]["steps"]:
            raise InvalidValue(
                f"{self.state_file} holds a run that stopped at step {card['step']} of "
                f"{card['config']['steps']}; go on with --resume, or remove that file first"
            )

    def _check_same_run(self, card: dict[str, Any]) -> None:
        keys = self.config.differences(card["config"])
        if keys:
            raise InvalidValue(
                f"{self.state_file.name} was made with other values of {', '.join(keys)}; restore "
                "them to go on, or start a new run from the checkpoint (model.checkpoint)"
            )
        processes = self.accelerator.num_processes
        if card["processes"] != processes:
            raise InvalidValue(
                f"{self.state_file.name} was made by {card['processes']} processes, these are "
                f"{processes}; the samples of a step would not be the same"
            )

    def _go_on(self) -> None:
        state = read_state(self.state_file)
        if state.card["material"] != self.material.counts():
            raise InvalidValue(
                f"the data have changed: {state.card['material']} sources when the run began, "
                f"{self.material.counts()} now; start a new run from the checkpoint"
            )
        self.trainer.go_on(state.tensors, state.card["scaler"], state.card["step"])
        self.history, self.best = state.card["history"], state.card["best"]
        self.seconds = state.card["seconds"]
        self.say(f"goes on at step {self.trainer.done}")

    def _tensorboard(self):
        folder = self.config.outputs.tensorboard
        if folder is None or not self.main:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InvalidValue(
                "outputs.tensorboard is set, but tensorboard is not installed; "
                "`pip install tensorboard`, or leave the key out"
            ) from None
        return SummaryWriter(str(folder), purge_step=self.trainer.done)

    # steps ----------------------------------------------------------------------------------

    def to_the_end(self, stopped: threading.Event) -> Outcome:
        config, trainer = self.config, self.trainer
        self.began = time.monotonic()
        sums: dict[str, list[float]] = {}
        with contextlib.closing(self._batches()) as batches:
            while trainer.done < config.steps:
                losses = trainer.step(list(islice(batches, config.optimiser.accumulation)))
                for name, value in losses.items():
                    sums.setdefault(name, []).append(value)
                if self.report is not None:
                    self.report(trainer.done, losses)
                stop = trainer.any_process(stopped.is_set()) and trainer.done < config.steps
                if self.main:
                    self._write_due(sums, stop)
                if stop:
                    return Outcome(self.checkpoint, trainer.done, True)
        return Outcome(self.checkpoint, trainer.done, False)

    def _batches(self) -> Iterator:
        processes = self.accelerator.num_processes
        here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        workers = choose_workers(self.config.data.workers, here)
        architecture = self.trainer.network.architecture
        batches = Batches(
            self.material,
            self.config,
            architecture.image_size,
            architecture.zoom,
            self.accelerator.process_index,
            processes,
            workers,
        )
        pinned = self.accelerator.device.type == "cuda"
        return read_batches(batches, self.trainer.done, self.config.steps, workers, pinned)

    def _write_due(self, sums: dict[str, list[float]], stop: bool) -> None:
        """Everything that is due after this step; the last step and a stop write all."""
        o, v, done = self.config.outputs, self.config.validation, self.trainer.done
        last = done == self.config.steps

        def due(every: int) -> bool:
            return every > 0 and (done % every == 0 or last)

        judged = self._judge() if v.every and due(v.every) else []
        if due(o.report_every) or judged or stop:
            self._note({name: float(np.mean(values)) for name, values in sums.items()}, judged)
            sums.clear()
        if judged and v.keep_best:
            self._keep_best(float(np.mean(list(mean_dice(judged).values()))))
        if due(o.save_every) or stop:
            self._save()
        if due(o.picture_every):
            self._draw(judged or self._judge())

    def _judge(self) -> list[Judged]:
        return judge(
            self.trainer.averaged_network(),
            trained_prompts(self.config, self.start),
            self.accelerator.device,
            self.examples,
            self.config.validation.clicks,
            self.config.seed,
        )

    # results --------------------------------------------------------------------------------

    def _note(self, losses: dict[str, float], judged: list[Judged]) -> None:
        """A row of the history, in the state, in the file of losses and on the TensorBoard."""
        done = self.trainer.done
        row: dict[str, Any] = {
            "step": done,
            "seconds": round(self._elapsed(), 1),
            "rate": rate(self.config, done - 1),
            "losses": losses,
        }
        if judged:
            row["validation"] = {str(n): value for n, value in mean_dice(judged).items()}
        self.history.append(row)
        path = self.config.outputs.losses
        if path is not None:
            with atomic_write(path) as part:
                part.write_text("".join(f"{json.dumps(each)}\n" for each in self.history))
        if self.board is not None:
            try:
                self.board.add_scalar("rate", row["rate"], done)
                for name, value in losses.items():
                    self.board.add_scalar(f"loss/{name}", value, done)
                for count, value in row.get("validation", {}).items():
                    self.board.add_scalar(f"dice/{count} clicks", value, done)
                self.board.flush()
            except OSError as error:
                raise CannotWrite(
                    f"{self.config.outputs.tensorboard} could not be written: "
                    f"{error.strerror or error}"
                ) from None

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.began

    def _save(self) -> None:
        """The checkpoint first: a state never lies beside an older checkpoint than its own."""
        self._write_checkpoint(self.checkpoint)
        card = {
            "step": self.trainer.done,
            "config": self.config.to_dict(),
            "processes": self.accelerator.num_processes,
            "material": self.material.counts(),
            "scaler": self.trainer.scaler_state(),
            "history": self.history,
            "best": self.best,
            "seconds": round(self._elapsed(), 1),
        }
        write_state(self.state_file, TrainingState(self.trainer.state(), card))

    def _keep_best(self, value: float) -> None:
        if self.best is None or value > self.best:
            self.best = value
            best = self.checkpoint.with_name(f"{self.checkpoint.stem}.best.safetensors")
            self._write_checkpoint(best)

    def _write_checkpoint(self, path: Path) -> None:
        config, start = self.config, self.start
        licence = config.model.licence or (start.licence if start else "not stated")
        provenance = {
            "started_from": None if start is None else start.name,
            "earlier": None if start is None else start.provenance,
            "data": [f"{part.folder.name}, split {part.split}" for part in config.data.sets],
            "recipe": _without_folders(config.to_dict()),
            "processes": self.accelerator.num_processes,
            "steps": self.trainer.done,
        }
        write_checkpoint(
            path,
            Checkpoint(
                config.model.name,
                self.trainer.network.architecture,
                trained_prompts(config, start),
                licence,
                provenance,
                self.trainer.averaged_weights(),
            ),
        )

    def _draw(self, judged: list[Judged]) -> None:
        from .picture import draw_picture  # matplotlib takes a second to load

        draw_picture(
            self.checkpoint.with_suffix(".png"),
            self.config.model.name,
            self.trainer.done,
            self.config.steps,
            self.history,
            judged,
            held_out=self.config.validation.every > 0,
        )


def _without_folders(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration to be published with a checkpoint: nobody's folders in it."""
    values = {key: value for key, value in values.items() if key not in ("outputs", "model")}
    sets = [{**part, "folder": Path(part["folder"]).name} for part in values["data"]["sets"]]
    return values | {"data": values["data"] | {"sets": sets}}


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event; a second Ctrl-C stops at once, but not under torchrun,
    which repeats the signal to its processes."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def on_signal(number, _frame):
        if number == signal.SIGINT and stopped.is_set() and "LOCAL_RANK" not in os.environ:
            raise KeyboardInterrupt
        stopped.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
