"""The modules in a fresh application that has none of their packages, wherever they lie."""

import subprocess
import sys
from pathlib import Path

import host
import pytest

import layouts
from SAMUSALib.app.install_plan import PACKAGES

IMPORTED_AS = {"hydra-core": "hydra", "pynrrd": "nrrd", "pyyaml": "yaml", "scikit-image": "skimage"}
CODE = """
import sys
folders, absent, gui = sys.argv[1].split("|"), sys.argv[2].split("|"), sys.argv[3]
sys.path[:0] = [gui, *folders]
for name in absent:
    sys.modules[name] = None
import host
from pathlib import Path
with host.running():
    import slicer
    names = ("SAMUSA", "SAMUSATemporal", "SegmentEditorBoundaryPoints")
    for name in names:
        files = [Path(folder, name + ".py") for folder in folders]
        (file,) = [each for each in files if each.exists()]
        slicer.app.moduleManager()._load(file)
    assert not [each for each in sys.modules if each.startswith("SAMUSALib")], "start-up is slow"
    slicer.app.startupCompleted.emit()
    for name in names[:2]:
        slicer.util.selectModule(name)
    host.process_events(0.2)
    assert not host.errors.uncaught(), host.errors.uncaught()
    assert not host.packaging.requested, host.packaging.requested
    model = slicer.modules.SAMUSAWidget.ui.modelList.topLevelItem(0).text(0)
    effects = slicer.qSlicerSegmentEditorEffectFactory.instance().registeredEffects()
    print(sys.modules["SAMUSALib"].__file__)
    print(model, [each.name for each in effects])
"""


@pytest.mark.heavy
@pytest.mark.parametrize("lay", [layouts.checkout, layouts.built])
def test_the_modules_start_without_their_packages_wherever_they_lie(lay, tmp_path, monkeypatch):
    if host.missing():
        pytest.skip(host.missing())
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONUTF8", "1")
    folders = lay(tmp_path / "Programme für Ärzte")
    names = [each.split(">")[0].split("[")[0] for each in PACKAGES]
    absent = ["torch", "sam2", *(IMPORTED_AS.get(name, name) for name in names)]
    ran = subprocess.run(
        [sys.executable, "-c", CODE, "|".join(map(str, folders)), "|".join(absent)]
        + [str(Path(host.__file__).parents[1])],
        capture_output=True,
        encoding="utf-8",
    )
    assert ran.returncode == 0, ran.stderr
    library, told = ran.stdout.splitlines()[-2:]
    assert Path(library).parents[1] == folders[-1]
    assert told == "samusa-small ['SAMUSA']"
    assert not (tmp_path / "home").exists()
