"""Dialogs answered by the test: nothing here ever waits for a person.

    host.dialogs.answer("Yes", "delete")        # the next message box whose text has "delete"
    host.dialogs.answer("/tmp/x.nrrd")          # the next file dialog
    host.dialogs.answer(lambda dialog: ...)     # anything: must close the dialog

A dialog that no answer was given for is an error, and so is an answer that nothing asked for.
"""

from dataclasses import dataclass

from PySide6 import QtGui, QtWidgets

from . import errors, shape


class UnexpectedDialog(AssertionError):
    """A dialog opened for which the test gave no answer."""


@dataclass
class Answer:
    value: object
    text: str


_answers: list[Answer] = []
shown: list[str] = []  # the texts of all dialogs so far
opened_urls: list[str] = []  # what would have opened in a browser


def answer(value, text: str = "") -> None:
    """Answer the next dialog whose title or text contains text."""
    _answers.append(Answer(value, text))


def pending() -> list[Answer]:
    """Answers that no dialog has asked for yet."""
    return list(_answers)


def forget() -> None:
    _answers.clear()
    shown.clear()
    opened_urls.clear()


def take(text: str):
    """The answer to a dialog that shows this text."""
    shown.append(text)
    for known in _answers:
        if known.text in text:
            _answers.remove(known)
            return known.value
    error = UnexpectedDialog(f"unexpected dialog: {text}")
    errors.report(error)
    raise error


def _text_of(dialog) -> str:
    parts = [dialog.windowTitle]
    if isinstance(dialog, QtWidgets.QMessageBox):
        parts += [dialog.text, dialog.informativeText, dialog.detailedText]
    else:
        parts += [label.text for label in dialog.findChildren(QtWidgets.QLabel)]
    return "\n".join(part for part in parts if part)


def _click(box, button) -> None:
    """Click a message box's button, given as a value of StandardButton or by its text."""
    for candidate in box.buttons():
        standard = box.standardButton(candidate)
        names = (candidate.text.replace("&", ""), standard.name if standard else "")
        if button == standard or button in names:
            candidate.click()
            return
    choices = [candidate.text for candidate in box.buttons()]
    raise AssertionError(f"the dialog has no button {button!r}, only {choices}")


def _exec(self) -> int:
    """QDialog.exec: show, let the test's answer act, give the result."""
    value = take(_text_of(self))
    self.setResult(0)
    self.show()
    if callable(value):
        value(self)
    elif isinstance(self, QtWidgets.QMessageBox):
        _click(self, value)
    else:
        self.done(int(value))
    if self.isVisible():
        self.hide()
        raise AssertionError(f"the answer left the dialog open: {_text_of(self)}")
    return self.result()


def _box(icon: str):
    """QMessageBox.question(parent, title, text[, buttons[, default]]) and its like."""

    def ask(parent, title, text, buttons=QtWidgets.QMessageBox.StandardButton.Ok, default=None):
        box = QtWidgets.QMessageBox(parent)
        box.windowTitle, box.text = title, text
        box.setIcon(getattr(QtWidgets.QMessageBox, icon))
        box.setStandardButtons(buttons)
        return QtWidgets.QMessageBox.StandardButton(_exec(box))

    return staticmethod(ask)


def _file_name(parent=None, caption="", directory="", filter="", *_) -> str:
    value = take(f"{caption}\n{filter}")
    return "" if value is None else str(value)


def _file_names(parent=None, caption="", directory="", filter="", *_) -> tuple[str, ...]:
    value = take(f"{caption}\n{filter}")
    return () if value is None else tuple(str(path) for path in value)


def _input(parent=None, title="", label="", *_):
    return take(f"{title}\n{label}")


def _open_url(url) -> bool:
    opened_urls.append(url.toString())
    return True


def install() -> None:
    """Put the answers in place of everything in Qt that waits for a person."""
    for name in ("exec", "exec_"):
        shape.override(QtWidgets.QDialog, name, _exec)
    for name in ("information", "warning", "critical", "question"):
        shape.override(QtWidgets.QMessageBox, name, _box(name.capitalize()))
    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        shape.override(QtWidgets.QFileDialog, name, staticmethod(_file_name))
    shape.override(QtWidgets.QFileDialog, "getOpenFileNames", staticmethod(_file_names))
    for name in ("getText", "getItem", "getInt", "getDouble"):
        shape.override(QtWidgets.QInputDialog, name, staticmethod(_input))
    shape.override(QtGui.QDesktopServices, "openUrl", staticmethod(_open_url))
