"""What went wrong where no caller could catch it: in slots, timers, observers, event handlers."""

import sys
import traceback

_uncaught: list[str] = []


def report(error: BaseException) -> None:
    """Print and remember; PythonQt prints and goes on."""
    text = "".join(traceback.format_exception(error))
    _uncaught.append(text)
    sys.stderr.write(text)


def call(owner, name: str, *arguments):
    """A Python object's method if it has one; an exception is printed, as PythonQt does."""
    method = getattr(owner, name, None)
    if method is None:
        return None
    try:
        return method(*arguments)
    except Exception as error:
        report(error)
        return None


def uncaught() -> list[str]:
    """The tracebacks so far that a user would have seen in the console."""
    return list(_uncaught)


def forget() -> None:
    _uncaught.clear()


def excepthook(kind, value, trace) -> None:
    """For sys.excepthook: exceptions in overridden Qt methods end here."""
    report(value.with_traceback(trace))


def unraisable(info) -> None:
    """For sys.unraisablehook: exceptions in VTK observers and in __del__ end here."""
    if info.exc_value is not None:
        report(info.exc_value)
