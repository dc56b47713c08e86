"""Where SAMUSA keeps what belongs to the user: models, journals."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """The user's own folder: $SAMUSA_HOME, else the platform's data folder."""
    chosen = os.environ.get("SAMUSA_HOME")
    if chosen:
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "samusa"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "samusa"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "samusa"


def journals_folder() -> Path:
    """Journals of what annotators have accepted, one file a clip."""
    return data_folder() / "journals"
