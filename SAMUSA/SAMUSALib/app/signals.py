"""Who wants to know: callbacks without Qt, so that what emits them is tested without it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


class Signal:
    """Calls its listeners in the order of connecting.

    A listener that raises does not keep the others from hearing: its traceback goes to the log.
    Listeners are held until they are disconnected; a widget does that in its `cleanup`.
    """

    def __init__(self):
        self._listeners: list[Callable[..., Any]] = []

    def connect(self, listener: Callable[..., Any]) -> Callable[[], None]:
        """Add a listener; returns what disconnects it, as `disconnect` does."""
        self._listeners.append(listener)
        return lambda: self.disconnect(listener)

    def disconnect(self, listener: Callable[..., Any]) -> None:
        """Remove a listener; nothing happens where it is not connected."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def emit(self, *arguments: Any) -> None:
        for listener in list(self._listeners):
            if listener not in self._listeners:  # disconnected by one before it
                continue
            try:
                listener(*arguments)
            except Exception:
                logging.getLogger("SAMUSA").exception("A listener failed")
