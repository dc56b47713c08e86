"""What the experiments on a finished model are told on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from SAMUSALib.engine.models import Model, load_model
from SAMUSALib.engine.registry import find_model


def model_and_data(doc: str) -> tuple[Model, Path]:
    """--model, loaded, and --data. doc: the script's own, for --help."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", default="samusa-small", help="name or checkpoint file")
    args = parser.parse_args()
    return load_model(find_model(args.model).path), args.data
