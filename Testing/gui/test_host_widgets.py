"""The stand-ins for CTK and qMRML widgets behave as their originals do, on real MRML nodes."""

import numpy as np
import pytest


def test_every_stand_in_has_only_names_of_the_application(running):
    """The decorator checks this at import; here it is checked that it would notice."""
    from host import shape
    from PySide6 import QtWidgets

    with pytest.raises(AttributeError, match="no 'collapseNow'"):

        @shape.stands_for("ctk.ctkCollapsibleButton")
        class Wrong(QtWidgets.QWidget):
            def collapseNow(self):
                pass


def test_a_collapsible_button_hides_and_shows_its_contents(running):
    import ctk
    import qt

    button = ctk.ctkCollapsibleButton("Inputs")
    layout = qt.QFormLayout(button)
    label = qt.QLabel("inside")
    layout.addRow(label)
    button.show()
    told = []
    button.connect("contentsCollapsed(bool)", told.append)
    button.collapsed = True
    assert not label.visible and told == [True] and not button.checked
    late = qt.QLabel("late")
    layout.addRow(late)
    running.process_events()
    assert not late.visible
    button.click()
    assert label.visible and late.visible and told == [True, False]


def test_a_slider_widget_keeps_its_range_and_tells_its_value(running):
    import ctk

    slider = ctk.ctkSliderWidget()
    told = []
    slider.connect("valueChanged(double)", told.append)
    slider.minimum, slider.maximum, slider.singleStep = -1.0, 1.0, 0.25
    slider.value = 0.5
    slider.value = 7
    assert slider.value == 1.0 and told == [0.5, 1.0]
    with pytest.raises(AttributeError, match="ctkSliderWidget.*setMaximum"):
        slider.setMaximum(3)


def test_a_range_widget_keeps_its_ends_in_order(running):
    import ctk

    widget = ctk.ctkRangeWidget()
    widget.setRange(0, 50)
    told = []
    widget.connect("valuesChanged(double,double)", lambda a, b: told.append((a, b)))
    widget.setValues(10, 20)
    widget.minimumValue = 30
    assert (widget.minimumValue, widget.maximumValue) == (20, 20)
    assert told == [(10, 20), (20, 20)]


def test_a_range_slider_is_dragged_by_the_mouse(running):
    import ctk
    import qt
    from PySide6.QtTest import QTest

    slider = ctk.ctkDoubleRangeSlider()
    slider.setRange(0, 100)
    slider.setValues(20, 80)
    slider.resize(216, 20)
    slider.show()
    QTest.mousePress(slider, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(8 + 44, 10))
    QTest.mouseMove(slider, qt.QPoint(8 + 100, 10))
    QTest.mouseRelease(slider, qt.Qt.LeftButton, qt.Qt.NoModifier, qt.QPoint(8 + 100, 10))
    assert slider.minimumValue == pytest.approx(50, abs=1) and slider.maximumValue == 80


def test_a_path_line_tells_whether_its_path_is_valid(running, tmp_path):
    import ctk

    line = ctk.ctkPathLineEdit()
    line.filters = ctk.ctkPathLineEdit.Dirs
    valid = []
    line.connect("validInputChanged(bool)", valid.append)
    line.currentPath = str(tmp_path)
    line.currentPath = str(tmp_path / "missing")
    assert valid == [True, False]
    running.dialogs.answer(tmp_path)
    line.browse()
    assert line.currentPath == str(tmp_path)


def test_a_node_selector_follows_the_scene(running):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    told = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
    selector.setMRMLScene(slicer.mrmlScene)
    first = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "First")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "Model")
    assert selector.nodeCount() == 1 and selector.currentNode() is None
    selector.setCurrentNode(first)
    assert selector.currentNodeID == first.GetID() and told == [first]
    slicer.mrmlScene.RemoveNode(first)
    assert selector.currentNode() is None and told == [first, None]


def test_a_node_selector_without_none_chooses_a_node_itself(running):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Only")
    assert selector.currentNode() is node


def test_a_node_selector_filters_by_attribute_and_class(running):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.showChildNodeTypes = False
    selector.addAttribute("vtkMRMLScalarVolumeNode", "SAMUSA.clip", "1")
    selector.setMRMLScene(slicer.mrmlScene)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Plain")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    assert selector.nodeCount() == 0
    node = selector.addNode()
    assert selector.currentNode() is node and node.GetAttribute("SAMUSA.clip") == "1"


def test_a_bool_signal_of_a_node_selector_passes_a_bool(running):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLModelNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    told = []
    selector.connect("currentNodeChanged(bool)", told.append)
    selector.addNode()
    assert told == [True]


@pytest.fixture
def segmentation(running):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    node.CreateDefaultDisplayNodes()
    for name in ("left", "right"):
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


def test_a_segment_selector_follows_segments(segmentation):
    import slicer

    selector = slicer.qMRMLSegmentSelectorWidget()
    selector.setMRMLScene(slicer.mrmlScene)
    selector.setCurrentNode(segmentation)
    told = []
    selector.connect("currentSegmentChanged(QString)", told.append)
    selector.setCurrentSegmentID("right")
    segmentation.GetSegmentation().RemoveSegment("right")
    assert selector.currentSegmentID() == "left" and told == ["right", "left"]


def test_a_segments_table_shows_and_selects_segments(segmentation):
    import slicer

    table = slicer.qMRMLSegmentsTableView()
    table.setMRMLScene(slicer.mrmlScene)
    table.setSegmentationNode(segmentation)
    told = []
    table.connect(
        "selectionChanged(QItemSelection,QItemSelection)",
        lambda new, old: told.append(table.selectedSegmentIDs()),
    )
    table.setSelectedSegmentIDs(["right"])
    assert table.segmentCount == 2 and told[-1] == ("right",)
    segmentation.GetSegmentation().RemoveSegment("right")
    assert table.segmentCount == 1 and table.selectedSegmentIDs() == ()


def test_sequence_widgets_move_the_browser(running):
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Cine")
    for time in range(5):
        node = slicer.vtkMRMLScalarVolumeNode()
        sequence.SetDataNodeAtValue(node, str(time))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    seek = slicer.qMRMLSequenceBrowserSeekWidget()
    seek.setMRMLSequenceBrowserNode(browser)
    play = slicer.qMRMLSequenceBrowserPlayWidget()
    play.setMRMLSequenceBrowserNode(browser)
    seek.slider().value = 3
    assert browser.GetSelectedItemNumber() == 3
    play.onVcrNext()
    assert browser.GetSelectedItemNumber() == 4 and seek.slider().value == 4


def test_a_plot_draws_its_series(running, tmp_path):
    import qt
    import slicer

    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    slicer.util.updateTableFromArray(table, [np.arange(9.0), np.arange(9.0) ** 2], ["t", "area"])
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "Area")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("t")
    series.SetYColumnName("area")
    series.SetColor(1, 0, 0)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    view.SetPlotChartNodeID(chart.GetID())
    widget = slicer.qMRMLPlotWidget()
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setMRMLPlotViewNode(view)
    image = qt.QImage(str(running.grab(widget, tmp_path / "plot.png", (300, 200))))
    red = [
        (x, y)
        for x in range(image.width())
        for y in range(image.height())
        if image.pixelColor(x, y).name() == "#ff0000"
    ]
    assert len(red) > 100
