"""Shared fixtures."""

import os
import signal
from pathlib import Path

import pytest

# Programs started in the background of a script are deaf to Ctrl-C, and so are their children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def ultrasound_data() -> Path:
    """The real ultrasound sets; tests that use them are skipped where they are not."""
    default = REPOSITORY.parent / "shared" / "data" / "ultrasound"
    folder = Path(os.environ.get("SAMUSA_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no ultrasound data in {folder}; set SAMUSA_DATA to its folder")
    return folder
