"""`samusa train`: train a model on labelled images, sweeps and phantoms."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from ..errors import CannotWrite, InvalidValue
from .common import DEVICES, check_output_file, progress_bar


def add_parser(commands, common) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "train",
        parents=[common],
        help="train a model on labelled images, sweeps and phantoms",
        description="Train a model on the train split of labelled image folders (manifest.json), "
        "their groups as sweeps, and simulated clips. The checkpoint is saved every 500 "
        "steps and at the end; Ctrl-C keeps the last one. Under torchrun every process trains on "
        "batches of its own.",
    )
    parser.add_argument("--images", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument(
        "--sweeps", type=Path, nargs="*", default=[], metavar="DIR",
        help="folders whose groups are clips in name order",
    )  # fmt: skip
    parser.add_argument(
        "--phantoms", type=int, default=60, metavar="N", help="simulated clips (default: 60)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="checkpoint to start from")
    parser.add_argument("--architecture", default="samusa_small")
    parser.add_argument("--name", default="samusa-small", help="name written into the checkpoint")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--rate", type=float, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device", default="auto", choices=DEVICES, help="where it trains (default: auto)"
    )
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--losses", type=Path, metavar="FILE", help="losses as lines of JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the data, train, save."""
    if args.out.suffix != ".safetensors":
        raise InvalidValue(f"--out is {args.out.name}; it must end in .safetensors")
    if args.steps < 1:
        raise InvalidValue(f"--steps is {args.steps}; at least 1 is needed")
    if not args.images and not args.phantoms:
        raise InvalidValue("there is nothing to train on; give --images or --phantoms")
    check_output_file(args.out)

    import torch

    from ..engine.architectures import ARCHITECTURES
    from ..engine.checkpoints import (
        PROMPT_KINDS,
        Checkpoint,
        build_network,
        read_checkpoint,
        write_checkpoint,
    )
    from ..engine.devices import choose_device
    from ..engine.network import SamusaNetwork
    from ..training.data import image_structures, mixture, phantom_clips, sweeps
    from ..training.trainer import Recipe, Trainer, train

    if args.architecture not in ARCHITECTURES:
        raise InvalidValue(
            f"architecture is {args.architecture!r}; it must be one of {', '.join(ARCHITECTURES)}"
        )
    rank = join_processes()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    sets = [(image_structures(folder, "train"), 1.0) for folder in args.images]
    moving = [(sweeps(folder, "train"), 1.0) for folder in args.sweeps]
    simulated = phantom_clips(args.phantoms, 12, args.seed)
    stills = [clip for clips, _ in sets for clip in clips]
    images, image_weights = mixture([*sets, (simulated, 0.6)])
    clips, clip_weights = mixture([*moving, (simulated, 1.0), (stills, 1.0)])
    print(
        f"{len(stills)} structures on images, {sum(len(c) for c, _ in moving)} sweeps, "
        f"{len(simulated)} simulated",
        file=sys.stderr,
    )
    start = None if args.checkpoint is None else read_checkpoint(args.checkpoint)
    network = (
        SamusaNetwork(ARCHITECTURES[args.architecture]) if start is None else build_network(start)
    )
    recipe = Recipe(steps=args.steps, seed=args.seed)
    if args.rate:
        recipe = replace(recipe, learning_rate=args.rate)
    network = network.to(choose_device(args.device))
    trainer = Trainer(network, recipe, images, image_weights, clips, clip_weights)
    provenance = {
        "data": [f"{folder.name}, split train" for folder in args.images],
        "sweeps": [f"{folder.name}, split train" for folder in args.sweeps],
        "phantoms": args.phantoms,
        "started_from": None if start is None else start.name,
        "earlier": None if start is None else start.provenance,
        "recipe": asdict(recipe),
    }

    def save(path: Path, tensors: dict, steps: int) -> None:
        write_checkpoint(
            path,
            Checkpoint(
                args.name, network.architecture, PROMPT_KINDS, "Apache-2.0",
                provenance | {"steps": steps}, tensors,
            ),
        )  # fmt: skip

    if rank > 0:
        train(trainer, args.out, lambda *_: None)
        return 0
    bar = progress_bar(args.steps, "training", unit="step")

    def report(step: int, losses: dict[str, float], seconds: float) -> None:
        bar.update(step - bar.n)
        bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()})
        if args.losses:
            try:
                with args.losses.open("a") as file:
                    row = {"step": step, "seconds": round(seconds, 1), **losses}
                    file.write(json.dumps(row) + "\n")
            except OSError as error:
                raise CannotWrite(f"cannot write {args.losses}: {error.strerror}") from None

    with bar:
        train(trainer, args.out, save, report)
    print(f"wrote {args.out}")
    return 0


def join_processes() -> int:
    """Under torchrun, join the other processes; returns this one's rank, 0 if it is alone."""
    if "RANK" not in os.environ:
        return 0
    import torch

    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return torch.distributed.get_rank()
