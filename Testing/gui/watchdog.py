"""Watches what holds the GUI's thread: every call of ours from Qt's event loop, by name.

Processor time of the thread is counted, so that other programs on the computer do not. Left out is
what is not ours: rendering by VTK (the host renders only when a picture is taken), and Python's
collections of garbage, which look through all objects of the process (30 to 130 ms in a test run),
whoever was the one to fill the measure. Two threads on one core also slow each other down: what is
over the limit is scaled by how fast the thread is just then beside how fast it can be.
"""

import gc
import inspect
import threading
import time
from collections import Counter

LIMIT = 0.05  # s


def pace() -> float:
    """Processor time of a little work, s: how fast this thread is now."""
    taken = []
    for _ in range(9):
        start = time.thread_time()
        sum(n * n % 7 for n in range(4000))
        taken.append(time.thread_time() - start)
    return sorted(taken)[len(taken) // 2]


class Watchdog:
    """From `start` to `stop` it times slots, timers, methods of effects, and the methods of
    widgets that it is told of. A call within another one counts as the other's.

    phase: what goes on, for the report. longest: {(phase, handler): s}. total: {phase: s}.
    """

    def __init__(self, monkeypatch):
        self.phase = ""
        self.longest: dict[tuple[str, str], float] = {}
        self.total: Counter[str] = Counter()
        self._monkeypatch = monkeypatch
        self._depth = 0
        self._thread = 0
        self._fastest = 0.0  # `pace` of a thread that has its core for itself
        self._collected = 0.0  # s, by the garbage collector so far
        self._collecting_since = 0.0

    def start(self) -> None:
        """Before modules are loaded: connections that are made earlier are not seen."""
        from host import errors, shape

        guarded, call = shape.guarded, errors.call
        self._monkeypatch.setattr(shape, "guarded", lambda f: self._timed(guarded(f), f))

        def timed_call(owner, name, *arguments):
            return self._timed(call, getattr(owner, name, None))(owner, name, *arguments)

        self._monkeypatch.setattr(errors, "call", timed_call)
        self._fastest = min(pace() for _ in range(20))
        self._thread = threading.get_ident()
        gc.callbacks.append(self._collect)

    def stop(self) -> None:
        gc.callbacks.remove(self._collect)

    def _collect(self, phase: str, _info: dict) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._collecting_since = time.thread_time()
        else:
            self._collected += time.thread_time() - self._collecting_since

    def forget(self) -> None:
        """Begin anew."""
        self.longest.clear()
        self.total.clear()

    def watch(self, cls: type, *names: str) -> None:
        """Time methods that Qt or VTK call themselves, such as paintEvent."""
        for name in names:
            method = getattr(cls, name)
            self._monkeypatch.setattr(cls, name, self._timed(method, method))

    def work_until(self, condition, phase: str, seconds: float = 600.0) -> None:
        """Let the event loop turn; an AssertionError when the condition never holds."""
        import slicer

        self.phase = phase
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s in vain while {phase}"
            slicer.app.processEvents()
            time.sleep(0.001)

    def do(self, phase: str, act) -> None:
        """One action of the user's and what follows from it at once: a few turns."""
        self.phase = phase
        act()
        turns = iter(range(10))
        self.work_until(lambda: next(turns, None) is None, phase)

    def too_long(self, besides: tuple[str, ...] = ()) -> dict[str, int]:
        """The handlers over the limit, in words, and how long they took at most, ms; the longest
        first. besides: how those begin that may take longer."""
        return {
            f"{what} while {phase}": round(1000 * s)
            for (phase, what), s in sorted(self.longest.items(), key=lambda each: -each[1])
            if s > LIMIT and not what.startswith(besides)
        }

    def _timed(self, call, function):
        def timed(*arguments):
            if self._depth:
                return call(*arguments)
            self._depth += 1
            name = called(function)  # before it ends: a generator that is over has no name left
            start = time.thread_time() - self._collected
            try:
                return call(*arguments)
            finally:
                self._depth -= 1
                seconds = time.thread_time() - self._collected - start
                if seconds > LIMIT:
                    seconds *= min(1.0, self._fastest / pace())
                key = (self.phase, name)
                self.longest[key] = max(self.longest.get(key, 0.0), seconds)
                self.total[self.phase] += seconds

        return timed


def called(function) -> str:
    """A handler by its name and place, with the generator that it runs:
    "Stepper._run of Workspace._open (steps.py:45)"."""
    code = getattr(function, "__code__", None)
    place = f" ({code.co_filename.rsplit('/')[-1]}:{code.co_firstlineno})" if code else ""
    owner = getattr(function, "__self__", None)
    held = getattr(owner, "__dict__", {}).values()
    running = [each.__qualname__ for each in held if inspect.isgenerator(each)]
    name = getattr(function, "__qualname__", repr(function))
    return " of ".join([name, *running]) + place
