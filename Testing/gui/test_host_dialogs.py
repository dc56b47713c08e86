"""Dialogs are answered by the test; none ever waits."""

import pytest


def test_a_message_box_takes_the_test_s_answer(running):
    import qt
    import slicer

    running.dialogs.answer("Yes", "delete it")
    assert slicer.util.confirmYesNoDisplay("Really delete it?")
    running.dialogs.answer(qt.QMessageBox.Cancel)
    assert not slicer.util.confirmOkCancelDisplay("Go on?")
    assert "Really delete it?" in running.dialogs.shown[0]


def test_a_button_of_its_own_can_be_clicked(running):
    import qt

    box = qt.QMessageBox()
    again = box.addButton("Try again", qt.QMessageBox.AcceptRole)
    box.addButton("Leave", qt.QMessageBox.RejectRole)
    running.dialogs.answer("Try again")
    box.exec_()
    assert box.clickedButton() is again


def test_an_unexpected_dialog_is_an_error(running):
    import slicer

    with pytest.raises(running.dialogs.UnexpectedDialog, match="Something broke"):
        slicer.util.errorDisplay("Something broke")
    assert len(running.errors.uncaught()) == 1
    running.errors.forget()


def test_an_answer_without_that_button_is_an_error(running):
    import slicer

    running.dialogs.answer("Maybe")
    with pytest.raises(AssertionError, match="no button 'Maybe'"):
        slicer.util.confirmYesNoDisplay("Sure?")


def test_file_dialogs_give_the_test_s_path(running, tmp_path):
    import qt

    running.dialogs.answer(tmp_path / "a.nrrd", "Open a clip")
    assert qt.QFileDialog.getOpenFileName(None, "Open a clip", "") == str(tmp_path / "a.nrrd")
    running.dialogs.answer(None)
    assert qt.QFileDialog.getSaveFileName(None, "Save", "") == ""


def test_web_pages_are_noted_not_opened(running):
    import qt

    qt.QDesktopServices.openUrl(qt.QUrl("https://www.slicer.org"))
    assert running.dialogs.opened_urls == ["https://www.slicer.org"]


def test_installing_is_refused_until_the_test_allows_it(running):
    import slicer

    with pytest.raises(running.packaging.UnexpectedInstall, match="torch"):
        slicer.util.pip_install("torch")
    running.packaging.installs(lambda requirements: None)
    slicer.util.pip_install(["sam2", "--no-deps"])
    assert running.packaging.requested == [["torch"], ["sam2", "--no-deps"]]
