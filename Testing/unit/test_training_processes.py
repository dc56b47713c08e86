"""Training on several processes: the same gradients as one, and all end together."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from discs import make_set
from SAMUSALib.engine.architectures import ARCHITECTURES
from SAMUSALib.training.config import (
    Data,
    DataSet,
    ModelSource,
    Optimiser,
    Outputs,
    TrainingConfig,
)
from SAMUSALib.training.data import Batches, gather, read_batches
from SAMUSALib.training.rounds import Curriculum, Rounds
from SAMUSALib.training.run import run_training
from SAMUSALib.training.state import read_card, state_path
from SAMUSALib.training.trainer import Trainer, join
from tiny import TINY, tiny_network

TESTING = Path(__file__).resolve().parent.parent
STEPS = 6


def config(folder: Path, batch: int) -> TrainingConfig:
    """All kinds of steps, and weights that hardly move, so that rounding does not add up."""
    return TrainingConfig(
        ModelSource(architecture="tiny"),
        Data((DataSet(folder / "discs", use=("images", "sweeps")),), workers=0),
        Curriculum(0.4, 0.3, 0.2, 0.2, click_counts=((2,), (3,)), clip_frames=2),
        optimiser=Optimiser(
            rate=1e-9, final_rate=0.0, warmup=0, weight_decay=0.0, clip_gradient=1e9,
            batch=batch, clip_batch=batch, precision="float32",
        ),
        outputs=Outputs(folder / "new.safetensors", save_every=1),
        steps=STEPS,
        seed=13,
        device="cpu",
    )  # fmt: skip


def record_gradients(settings: TrainingConfig, out: Path) -> None:
    """Train on this process's share; the main process writes the gradient of every step."""
    accelerator = join(settings)
    network = tiny_network()
    for module in network.modules():  # dropout hits what a process sees: another share, another
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_p"):
            module.dropout_p = 0.0
    trainer = Trainer(network, settings, accelerator)
    material = gather(settings.data, settings.seed)
    me, all_of_us = accelerator.process_index, accelerator.num_processes
    batches = Batches(material, settings, TINY.image_size, True, me, all_of_us)
    found = {}
    for batch in read_batches(batches, 0, STEPS, 0, False):
        losses = trainer.step([batch])
        gradients = {
            name: parameter.grad.clone()
            for name, parameter in network.named_parameters()
            if parameter.grad is not None
        }
        found[f"{batch.step} {batch.plan.kind}"] = (gradients, losses)
    if accelerator.is_main_process:
        torch.save(found, out)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """(folder, exit status, output) of this file under torchrun, started once for all tests;
    meanwhile one process alone does the same."""
    folder = tmp_path_factory.mktemp("processes")
    make_set(folder / "discs")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTING)}
    started = subprocess.Popen(
        [*command, __file__, str(folder)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    record_gradients(config(folder, batch=2), folder / "one.pt")
    text, _ = started.communicate(timeout=600)
    return folder, started.returncode, text


def test_two_processes_have_the_gradients_of_one_with_twice_the_batch(two_processes):
    folder, _, text = two_processes
    assert (folder / "two.pt").is_file(), text
    one, two = (torch.load(folder / f"{name}.pt") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert len({key.split()[1] for key in one}) >= 4, "most kinds of steps must have come"
    for key, (gradients, losses) in one.items():
        others, their_losses = two[key]
        assert gradients.keys() == others.keys()
        whole = torch.cat([gradients[name].flatten() for name in gradients])
        shared = torch.cat([others[name].flatten() for name in gradients])
        assert (shared - whole).norm() < 1e-5 * whole.norm(), key
        assert their_losses == pytest.approx(losses, rel=1e-4, abs=1e-6)


def test_a_signal_to_one_process_stops_all_after_the_same_step(two_processes):
    folder, _, text = two_processes
    card = read_card(state_path(folder / "stop.safetensors"))
    assert card["step"] == 2 and card["processes"] == 2, text
    assert text.count("stopped after step 2") == 2


def test_a_failure_of_one_process_ends_all_and_keeps_what_was_saved(two_processes):
    folder, status, text = two_processes
    assert status != 0 and "the loss is nan at step 1" in text
    assert read_card(state_path(folder / "fail.safetensors"))["step"] == 1


def _as_process(folder: Path) -> None:
    """What each process under torchrun does: one task after the other, the last one fails."""
    ARCHITECTURES["tiny"] = TINY
    settings = config(folder, batch=1)
    record_gradients(settings, folder / "two.pt")
    second = os.environ["RANK"] == "1"
    plain, calls = Rounds.forward, []

    def disturbed(self, *args):
        loss, parts = plain(self, *args)
        calls.append(1)
        if second and len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return (loss * float("nan") if second and len(calls) == 4 else loss), parts

    Rounds.forward = disturbed
    for task in ("stop", "fail"):
        outputs = replace(settings.outputs, file=folder / f"{task}.safetensors")
        outcome = run_training(replace(settings, outputs=outputs))
        print(f"stopped after step {outcome.steps}", flush=True)


if __name__ == "__main__":
    _as_process(Path(sys.argv[1]))
