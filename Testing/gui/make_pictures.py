"""Take the pictures of the README: the modules at work on the sample clip, in the tests' host.

    python Testing/gui/make_pictures.py [FOLDER]      (or: make pictures)

Writes effect.png, temporal.png, review.png and workflow.gif, Resources/Screenshots by default.
Modules, masks and numbers are real; the window around them is the host's, not Slicer's own.
"""

import os
import sys
import tempfile
from pathlib import Path

# Before Qt starts: no screen is needed, and pictures are twice as fine as the layout.
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["QT_SCALE_FACTOR"] = "2"

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "SAMUSA"), str(REPOSITORY / "Testing" / "gui")]

import host  # noqa: E402
import numpy as np  # noqa: E402
from annotator import Annotator  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

WINDOW = (1180, 760)  # of the layout, pixels
PANEL_WIDTH = 500
LESION = 2  # in the phantom's labels
CLICKED, FIRST, LAST, CLICKS = 12, 3, 23, 5  # as the README's tutorial says
STEP_MS, PLAY_MS, HOLD_MS = 700, 220, 1700
ANIMATION_WIDTH, CAPTION_HEIGHT = 880, 40
GREYS, COLOURS = 48, 80  # of the animation


def lesion() -> np.ndarray:
    """(T, H, W) bool: the true lesion of the sample clip."""
    from SAMUSALib.cli.phantom import spec_for
    from SAMUSALib.phantom import simulate

    return simulate(spec_for(10, 24, 256, "sector")).labels == LESION


class Camera:
    """Takes pictures of the main window, and keeps those of the animation."""

    def __init__(self, folder: Path, annotator: Annotator):
        import slicer

        self.folder, self.annotator = folder, annotator
        self.window = slicer.util.mainWindow()
        self.shots: list[tuple[Image.Image, int]] = []

    def take(self, name: str) -> None:
        """A picture of 256 colours, a third of the size of one with all."""
        picture = self._grab()
        few = picture.quantize(palette=palette_of([picture]), dither=Image.Dither.NONE)
        few.save(self.folder / name, optimize=True)

    def _grab(self) -> Image.Image:
        host.process_events(0.1)
        path = host.grab(self.window, self.folder / "shot.png")
        with Image.open(path) as picture:
            grabbed = picture.convert("RGB")
        path.unlink()
        return grabbed

    def shoot(
        self, caption: str, milliseconds: int, pointer: tuple[float, float] | None = None
    ) -> None:
        """One picture of the animation. pointer: x, y of the frame where the mouse is."""
        shot = self._grab()
        if pointer is not None:
            draw_pointer(shot, self._on_window(pointer))
        height = round(shot.height * ANIMATION_WIDTH / shot.width)
        shot = shot.resize((ANIMATION_WIDTH, height), Image.Resampling.LANCZOS)
        self.shots.append((captioned(shot, caption), milliseconds))

    def _on_window(self, pointer: tuple[float, float]) -> tuple[float, float]:
        """Pixels of the window's picture, of a place on the frame in view."""
        import qt

        view = self.annotator.view.sliceView()
        x, y = self.annotator.xy(*pointer)
        ratio = view.devicePixelRatioF()
        corner = view.mapTo(self.window, qt.QPoint(0, 0))
        height = view.interactor().GetSize()[1]
        return corner.x() * ratio + x, corner.y() * ratio + height - 1 - y

    def write_animation(self, name: str) -> None:
        """All shots with one palette, so that what stands still costs nothing."""
        pictures = [shot for shot, _ in self.shots]
        palette = palette_of(pictures, GREYS, COLOURS)
        first, *others = [
            each.quantize(palette=palette, dither=Image.Dither.NONE) for each in pictures
        ]
        times = [milliseconds for _, milliseconds in self.shots]
        first.save(self.folder / name, save_all=True, append_images=others, duration=times, loop=0)


def palette_of(pictures: list[Image.Image], greys: int = 128, colours: int = 128) -> Image.Image:
    """Even greys, and colours of which each counts once: a button's few pixels as much as a
    mask's many."""
    pixels = np.concatenate([np.asarray(each).reshape(-1, 3) for each in pictures])
    coloured = np.unique(pixels[np.ptp(pixels, axis=1) > 24] & 0xFC, axis=0)
    chosen = Image.fromarray(coloured[None]).quantize(colours, Image.Quantize.MEDIANCUT)
    ramp = np.repeat(np.linspace(0, 255, greys).round().astype(int), 3).tolist()
    palette = Image.new("P", (1, 1))
    palette.putpalette(ramp + chosen.getpalette()[: 3 * colours])
    return palette


def captioned(shot: Image.Image, text: str) -> Image.Image:
    """With a line of text above."""
    picture = Image.new("RGB", (shot.width, shot.height + CAPTION_HEIGHT), "#1f2d3d")
    picture.paste(shot, (0, CAPTION_HEIGHT))
    place = (shot.width / 2, CAPTION_HEIGHT / 2)
    font = ImageFont.load_default(20)
    ImageDraw.Draw(picture).text(place, text, fill="white", font=font, anchor="mm")
    return picture


def draw_pointer(picture: Image.Image, place: tuple[float, float], size: float = 2.0) -> None:
    """An arrow whose tip is at a place."""
    outline = [(0, 0), (0, 17), (4, 13.4), (6.6, 19.4), (9.2, 18.2), (6.7, 12.4), (12, 12.4)]
    points = [(place[0] + size * x, place[1] + size * y) for x, y in outline]
    ImageDraw.Draw(picture).polygon(points, fill="white", outline="black", width=2)


def plot_view(chart, size: tuple[int, int]):
    """A widget that shows a chart node as Slicer's plot view does, with VTK's charts."""
    import qt
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    drawn = vtk.vtkChartXY()
    drawn.SetTitle(chart.GetTitle())
    drawn.GetTitleProperties().SetFontSize(28)
    for axis, title in ((0, chart.GetYAxisTitle()), (1, chart.GetXAxisTitle())):
        drawn.GetAxis(axis).SetTitle(title)
        drawn.GetAxis(axis).GetTitleProperties().SetFontSize(26)
        drawn.GetAxis(axis).GetLabelProperties().SetFontSize(24)
    for number in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(number)
        line = drawn.AddPlot(vtk.vtkChart.LINE)
        table = series.GetTableNode().GetTable()
        line.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
        line.SetColorF(*series.GetColor())
        line.SetWidth(2 * series.GetLineWidth())
        line.SetMarkerStyle(series.GetMarkerStyle())
        line.SetMarkerSize(2 * series.GetMarkerSize())
    view = vtk.vtkContextView()
    window = view.GetRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetSize(*size)
    view.GetScene().AddItem(drawn)
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1]
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    with tempfile.TemporaryDirectory() as folder:
        picture.save(f"{folder}/plot.png")
        shown = qt.QPixmap(f"{folder}/plot.png")
    shown.setDevicePixelRatio(2.0)
    label = qt.QLabel()
    label.setPixmap(shown)
    return label


def begin() -> Annotator:
    """The sample clip in a window with the panel at the left and one slice view at the right."""
    import qt
    import slicer

    slicer.app.setFont(qt.QFont("Liberation Sans", 10))
    home = host.load_module(REPOSITORY / "SAMUSA" / "SAMUSA.py")
    home.ui.sampleButton.click()
    annotator = Annotator(host)
    window = slicer.util.mainWindow()
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    window.resize(*WINDOW)
    window.findChild(qt.QDockWidget).setFixedWidth(PANEL_WIDTH)
    host.process_events(0.2)
    annotator.view.fitSliceToBackground()
    annotator.open(slicer.util.getNode("SAMUSA phantom"))
    editor = slicer.modules.SegmentEditorWidget.editor
    for name, height in (("SegmentsTableView", 90), ("EffectHelpBrowser", 46)):
        slicer.util.findChild(editor, name).setFixedHeight(height)  # the application's fit
    segmentation = annotator.workspace.masks.shown_node.GetSegmentation()
    segmentation.GetNthSegment(0).SetName("Lesion")
    segmentation.GetNthSegment(0).SetColor(0.95, 0.62, 0.1)
    host.process_events(0.2)
    return annotator


def show_in_panel(widget) -> None:
    """Scroll the module panel until a widget can be seen."""
    import qt
    import slicer

    area = slicer.util.mainWindow().findChild(qt.QDockWidget).findChild(qt.QScrollArea)
    host.process_events(0.1)
    area.ensureWidgetVisible(widget, 0, 10)


def main(folder: Path) -> None:
    import slicer

    folder.mkdir(parents=True, exist_ok=True)
    truth = lesion()
    annotator = begin()
    temporal, ui = annotator.temporal, annotator.ui
    camera = Camera(folder, annotator)

    annotator.edit(CLICKED)
    show_in_panel(annotator.effect.options.worker_label)
    camera.shoot("1  Click the border of the structure", STEP_MS)
    for _ in annotator.click_border(truth[CLICKED], CLICKS, spread=True):
        clicked = annotator.clicks.editor.steps[-1].boundary[-1]
        camera.shoot("1  Click the border of the structure", STEP_MS, clicked)
    camera.take("effect.png")
    annotator.accept()
    camera.shoot("2  Enter accepts the mask", STEP_MS)
    annotator.leave_editor()
    annotator.set_window(FIRST, LAST)
    temporal.show_frame(CLICKED)
    camera.shoot("3  Say when it is visible", HOLD_MS)
    annotator.propagate(ui.bothButton)
    for frame in range(FIRST, LAST + 1, 2):
        temporal.show_frame(frame)
        camera.shoot("4  Propagate: a mask on every frame", PLAY_MS)
    ui.checkButton.click()
    camera.shoot("5  Look at the most doubtful frame", HOLD_MS)
    camera.take("temporal.png")
    doubtful = temporal.frame
    annotator.edit(doubtful)
    show_in_panel(annotator.effect.options.worker_label)
    for _ in annotator.click_border(truth[doubtful], CLICKS, spread=True):
        clicked = annotator.clicks.editor.steps[-1].boundary[-1]
    camera.shoot("6  Correct it by clicks", HOLD_MS, clicked)
    annotator.accept()
    annotator.leave_editor()
    annotator.propagate(ui.bothButton)
    annotator.press("R")
    camera.shoot("7  Propagate what follows, and approve", HOLD_MS)
    camera.write_animation("workflow.gif")

    temporal.show_frame(CLICKED)
    annotator.wait(lambda: temporal.measurements is not None, "the measurements")
    ui.plotButton.click()
    show_in_panel(ui.statusLabel)
    chart = slicer.mrmlScene.GetFirstNodeByName("SAMUSA chart")
    area = slicer.app.layoutManager().viewport()
    area.layout().addWidget(plot_view(chart, (2 * (WINDOW[0] - PANEL_WIDTH - 30), 500)), 1, 0, 1, 3)
    host.process_events(0.2)
    annotator.view.fitSliceToBackground()
    camera.take("review.png")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home, host.running():
        os.environ["SAMUSA_HOME"] = home
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "Resources" / "Screenshots")
