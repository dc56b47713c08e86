"""The stand-in host follows PythonQt where PySide6 differs from it."""

import sys

import pytest


@pytest.fixture
def qt(running):
    import qt

    return qt


def test_a_property_is_an_attribute_that_can_be_set(qt):
    box = qt.QSpinBox()
    box.value = 7
    assert box.value == 7
    button = qt.QPushButton("Go")
    button.enabled = False
    assert (button.text, button.enabled, button.visible) == ("Go", False, False)


def test_a_property_cannot_be_called(qt):
    with pytest.raises(TypeError, match="not callable"):
        qt.QSpinBox().value()
    with pytest.raises(TypeError, match="not callable"):
        qt.QPushButton("Go").text()


def test_setters_and_slots_are_methods(qt):
    box = qt.QSpinBox()
    box.setValue(3)
    box.stepUp()
    assert box.value == 4
    label = qt.QLabel()
    label.setText("text")
    label.show()
    assert (label.text, label.visible, label.isEnabled()) == ("text", True, True)


def test_a_property_without_a_setter_is_refused(qt):
    with pytest.raises(AttributeError, match="not writable"):
        qt.QComboBox().count = 3


def test_a_static_method_of_a_property_s_name_is_called_on_the_class(qt, running):
    called = []
    qt.QTimer.singleShot(0, lambda: called.append(1))
    qt.QTimer.singleShot(5, lambda: called.append(2))
    running.wait_until(lambda: len(called) == 2)
    timer = qt.QTimer()
    timer.singleShot = True
    assert called == [1, 2] and timer.singleShot is True and timer.active is False


def test_signals_connect_in_both_ways_and_pass_their_arguments(qt):
    got = []
    button = qt.QPushButton()
    button.setCheckable(True)
    assert button.clicked.connect(lambda on: got.append(("signal", on)))
    assert button.connect("clicked(bool)", lambda on: got.append(("text", on)))
    assert button.connect("clicked()", lambda: got.append("nothing"))
    button.click()
    assert sorted(map(str, got)) == ["('signal', True)", "('text', True)", "nothing"]


def test_a_slot_gets_as_many_arguments_as_it_takes(qt):
    got = []
    box = qt.QSpinBox()

    class Receiver:
        def none(self):
            got.append("none")

        def one(self, value):
            got.append(value)

    receiver = Receiver()
    box.valueChanged.connect(receiver.none)
    box.valueChanged.connect(receiver.one)
    box.connect("valueChanged(int)", lambda *every: got.append(every))
    box.value = 5
    assert got == ["none", 5, (5,)]


def test_disconnect_undoes_one_connection_or_all_of_a_signal(qt):
    got = []
    box = qt.QSpinBox()

    def first(value):
        got.append(("first", value))

    def second(value):
        got.append(("second", value))

    box.valueChanged.connect(first)
    box.connect("valueChanged(int)", second)
    assert box.disconnect("valueChanged(int)", second)
    box.value = 1
    assert got == [("first", 1)]
    assert box.valueChanged.disconnect()
    assert not box.valueChanged.disconnect(first)
    box.value = 2
    assert got == [("first", 1)]


def test_connecting_twice_is_kept_through_repeated_access(qt):
    got = []
    button = qt.QPushButton()
    for number in range(3):
        button.clicked.connect(lambda on, number=number: got.append(on))
    button.click()
    assert got == [False] * 3


def test_an_exception_in_a_slot_is_reported_and_does_not_reach_the_sender(qt, running):
    button = qt.QPushButton()

    def fail():
        raise ValueError("in a slot")

    button.clicked.connect(fail)
    button.click()
    assert [text.count("in a slot") > 0 for text in running.errors.uncaught()] == [True]
    running.errors.forget()


def test_an_exception_in_an_event_handler_comes_out_at_the_test_s_call(qt):
    class Broken(qt.QWidget):
        def mousePressEvent(self, event):
            raise ValueError("in a handler")

    widget = Broken()
    from PySide6.QtTest import QTest

    with pytest.raises(ValueError, match="in a handler"):
        QTest.mouseClick(widget, qt.Qt.LeftButton)


def test_an_unknown_signal_is_an_error(qt):
    with pytest.raises(AttributeError, match=r"QPushButton has no signal 'pushed\(\)'"):
        qt.QPushButton().connect("pushed()", print)


def test_names_that_the_application_lacks_are_refused(qt):
    with pytest.raises(AttributeError, match="qt.QPushButton.*'setTexts'"):
        qt.QPushButton().setTexts("x")
    with pytest.raises(AttributeError, match="no qt.QPushButtons"):
        qt.QPushButtons  # noqa: B018
    with pytest.raises(AttributeError, match="classes.txt"):
        qt.QXmlStreamEntityResolver  # noqa: B018


def test_names_that_only_qt_6_has_are_refused(qt):
    event = qt.QMouseEvent(
        qt.QEvent.MouseMove, qt.QPointF(1, 2), qt.Qt.NoButton, qt.Qt.NoButton, qt.Qt.NoModifier
    )
    assert (event.pos().x(), event.localPos().y()) == (1, 2)
    with pytest.raises(AttributeError, match="qt.QMouseEvent"):
        event.position()
    with pytest.raises(AttributeError, match="ColorScheme"):
        qt.Qt.ColorScheme  # noqa: B018


def test_names_that_only_qt_5_has_are_refused(qt):
    with pytest.raises(AttributeError, match="on Qt 5 maybe"):
        qt.QFontMetrics(qt.QFont()).width("text")


def test_new_attributes_cannot_be_set_on_qt_s_objects(qt):
    button = qt.QPushButton()
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects"):
        button.texts = "x"
    with pytest.raises(AttributeError, match="Slot 'setText' can not be overwritten"):
        button.setText = print
    with pytest.raises(AttributeError, match="Signal 'clicked' can not be overwritten"):
        button.clicked = print


def test_classes_derived_in_python_take_attributes_and_override_events(qt, running):
    class Strip(qt.QWidget):
        def __init__(self, parent=None):
            qt.QWidget.__init__(self, parent)
            self.painted = 0

        def sizeHint(self):
            return qt.QSize(70, 30)

        def paintEvent(self, event):
            self.painted += 1
            painter = qt.QPainter(self)
            painter.fillRect(self.rect, qt.QColor("red"))
            painter.end()

    outer = qt.QWidget()
    layout = qt.QVBoxLayout(outer)
    strip = Strip()
    layout.addWidget(strip)
    outer.show()
    running.process_events()
    colour = outer.grab().toImage().pixelColor(strip.x + 5, strip.y + 5)
    assert strip.painted and colour.name() == "#ff0000" and strip.width >= 70


def test_enum_values_are_names_of_their_class(qt):
    assert qt.Qt.LeftButton != qt.Qt.RightButton
    policy = qt.QSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
    assert policy.horizontalPolicy() == qt.QSizePolicy.Expanding
    assert (qt.QMessageBox.Yes | qt.QMessageBox.No) & qt.QMessageBox.No


def test_a_byte_array_gives_bytes(qt):
    assert qt.QByteArray(b"a\x00b").data() == b"a\x00b"


def test_a_process_passes_bytes_both_ways(qt, running):
    process = qt.QProcess()
    received = []

    def read():
        received.append(process.readAllStandardOutput().data())

    process.connect("readyReadStandardOutput()", read)
    finished = []
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, how: finished.append(code))
    program = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1]); sys.exit(3)"
    process.start(sys.executable, ["-c", program])
    assert process.waitForStarted()
    process.write(b"\x00\x01\xff")
    process.closeWriteChannel()
    running.wait_until(lambda: finished, what="the process to finish")
    assert b"".join(received) == b"\xff\x01\x00" and finished == [3]
    assert process.state() == qt.QProcess.NotRunning


def test_children_are_found_by_class_and_name(qt):
    outer = qt.QWidget()
    inner = qt.QLabel("x", outer)
    inner.objectName = "caption"
    assert outer.findChild(qt.QLabel, "caption") is inner
    assert outer.findChild("QLabel", "caption") is inner
    assert outer.findChild(qt.QPushButton, "caption") is None
    assert outer.caption is inner and inner.name == "caption"
    assert inner.parent() is outer and inner.className() == "QLabel" and inner.inherits("QFrame")


def test_dynamic_properties_are_read_and_written(qt):
    widget = qt.QWidget()
    widget.setProperty("role", "main")
    assert widget.property("role") == "main" and widget.role == "main"
    widget.role = "other"
    assert widget.property("role") == "other"


def test_delete_destroys_the_object_at_once(qt):
    outer = qt.QWidget()
    inner = qt.QLabel(outer)
    inner.delete()
    assert len(outer.children()) == 0


def test_a_trailing_underscore_is_ignored(qt, running):
    running.dialogs.answer(lambda dialog: dialog.accept())
    assert qt.QDialog().exec_() == qt.QDialog.Accepted


def test_settings_live_only_in_the_session(qt, running):
    import slicer

    slicer.app.userSettings().setValue("SAMUSA/worker", "local")
    assert slicer.app.userSettings().value("SAMUSA/worker") == "local"
    assert slicer.app.userSettings().fileName().startswith(str(slicer.app._folder))


def test_default_settings_do_not_touch_the_user_s(qt):
    import slicer

    settings = qt.QSettings()
    settings.setValue("Host/Test", 1)
    assert settings.fileName().startswith(str(slicer.app._folder))
    assert slicer.util.settingsValue("Host/Test", 0, converter=int) == 1


def test_shortcuts_fire_in_their_window(qt, running):
    from host import events

    window = qt.QWidget()
    fired = []
    shortcut = qt.QShortcut(qt.QKeySequence("Ctrl+K"), window)
    shortcut.connect("activated()", lambda: fired.append(1))
    events.keys(window, "Ctrl+K")
    assert fired == [1]
    shortcut.setEnabled(False)
    events.keys(window, "Ctrl+K")
    assert fired == [1]


def test_every_widget_class_can_be_derived_from_and_shown(qt, running):
    """PySide6 looks overridden methods up by name: none of those may be refused."""
    made = []
    for name in sorted(vars(qt)):
        cls = getattr(qt, name)
        abstract = name.startswith("QAbstract") or name in ("QFileDialog", "QApplication")
        if not isinstance(cls, type) or not issubclass(cls, qt.QWidget) or abstract:
            continue
        arguments = (qt.Qt.Horizontal,) if name in ("QHeaderView",) else ()
        if name in ("QSizeGrip",):
            arguments = (made[0],)
        if name == "QRubberBand":
            arguments = (cls.Rectangle,)
        widget = type(f"My{name}", (cls,), {})(*arguments)
        widget.show()
        widget.grab()
        made.append(widget)
    assert len(made) > 40
