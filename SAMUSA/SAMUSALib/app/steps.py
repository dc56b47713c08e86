"""Long work in Slicer's only thread: in pieces, between which the event loop lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import SamusaError

# The GUI must not wait for 50 ms: several works may run, each in every turn of the event loop, and
# each ends its piece with the step that is over this.
PIECE_SECONDS = 0.008


class Stepper:
    """Runs a generator to its end, piece by piece, as `soon` calls back.

    soon(callback): call it from the event loop, not now. on_step: with what was yielded last in a
    piece. on_end: without an argument. on_error: with a SamusaError that the generator raised;
    other exceptions are faults and come out.
    """

    def __init__(
        self,
        steps: Iterator[Any],
        soon: Callable[[Callable[[], None]], None],
        on_end: Callable[[], Any] = lambda: None,
        on_error: Callable[[SamusaError], Any] = lambda error: None,
        on_step: Callable[[Any], Any] = lambda value: None,
    ):
        self._steps: Iterator[Any] | None = steps
        self._soon = soon
        self._on_end, self._on_error, self._on_step = on_end, on_error, on_step
        soon(self._run)

    @property
    def running(self) -> bool:
        return self._steps is not None

    def cancel(self) -> None:
        """Stop after the present step; neither `on_end` nor `on_error` is called."""
        self._steps = None

    def finish(self) -> None:
        """Do the rest now, in one go."""
        self._run(float("inf"))

    def _run(self, seconds: float | None = None) -> None:
        until = time.perf_counter() + (PIECE_SECONDS if seconds is None else seconds)
        value = None
        while self._steps is not None:
            try:
                value = next(self._steps)
            except StopIteration:
                self._steps = None
                self._on_end()
                return
            except SamusaError as error:
                self._steps = None
                self._on_error(error)
                return
            if time.perf_counter() >= until:
                break
        if self._steps is not None:
            self._on_step(value)
            self._soon(self._run)
