"""JSON files, with what is wrong with them in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UnreadableFile


def read_json(path: Path, object_pairs_hook: Callable[[list], Any] | None = None) -> Any:
    """What a JSON file (UTF-8, with or without byte order mark) holds. Raises UnreadableFile."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UnreadableFile(f"{path} does not exist; check the name") from None
    except IsADirectoryError:
        raise UnreadableFile(f"{path} is a folder; a JSON file is needed") from None
    except UnicodeDecodeError:
        raise UnreadableFile(f"{path} is not a text file; a JSON file is needed") from None
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook)
    except json.JSONDecodeError as error:
        raise UnreadableFile(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise UnreadableFile(f"{path} is nested too deeply to be read") from None
