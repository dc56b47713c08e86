"""The set-up in Slicer: what is asked of pip, what is never touched, what is taken out again, and
what happens when it is stopped. Most tests have a pip of their own, one has the real one."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from SAMUSALib.app import install_plan
from SAMUSALib.app.install_plan import CannotInstall, Record
from SAMUSALib.errors import UnreadableFile
from slicer_python import SLICER, Setup, add_package

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def setup(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path / "home"))
    return Setup(tmp_path)


# What is installed ---------------------------------------------------------------------------


def test_every_dependency_is_installed_or_slicer_s_own():
    text = (REPOSITORY / "pyproject.toml").read_text()
    core = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)[1]
    known = [install_plan.TORCH, *install_plan.PACKAGES, *install_plan.SLICERS_OWN]
    assert sorted(known) == sorted(re.findall(r'"([^"]+)"', core))
    assert len(known) == len(set(known))


def test_sam2_is_installed_as_in_a_checkout():
    makefile = (REPOSITORY / "Makefile").read_text()
    line = re.search(r"(\w+=\d) \$\(PIP\) (.*) \"(sam2\S*)\"", makefile)
    assert line[3] == install_plan.SAM2
    assert line[2].split() == list(install_plan.SAM2_OPTIONS)
    assert line[1].split("=") == list(*install_plan.SAM2_ENVIRONMENT.items())


def test_the_command_that_fills_a_folder_of_wheels_names_all_packages():
    readme = (REPOSITORY / "README.md").read_text()
    for each in (install_plan.TORCH, *install_plan.PACKAGES, install_plan.SAM2):
        assert f'"{each}"' in readme, each


def test_an_empty_slicer_needs_pytorch_by_its_extension_then_the_rest():
    steps = install_plan.plan(SLICER, Path("c.txt"))
    assert [step.name for step in steps] == ["pytorch", "packages", "sam2"]
    assert steps[0].arguments == ()
    words = " ".join(steps[1].arguments)
    assert "--constraint c.txt" in words and "--progress-bar raw" in words
    for name in ("numpy", "SimpleITK", "requests", "vtk", "torch"):
        assert not re.search(rf"(^| ){name}\b", words), name
    assert steps[2].environment == {"SAM2_BUILD_CUDA": "0"}
    assert {"--no-deps", "--no-build-isolation", "sam2==1.1.0"} <= set(steps[2].arguments)


def test_what_is_there_is_not_asked_for_again():
    there = {"torch": "2.9.0+cu128", "hydra-core": "1.3.2", "av": "11.0", "sam2": "1.1.0"}
    (step,) = install_plan.plan({**SLICER, **there}, Path("c.txt"))
    assert "av>=12" in step.arguments and "hydra-core>=1.3" not in step.arguments


def test_without_internet_everything_comes_from_the_folder():
    steps = install_plan.plan(SLICER, Path("c.txt"), Path("my wheels"))
    for step in steps:
        words = step.arguments
        assert "--no-index" in words and words[words.index("--find-links") + 1] == "my wheels"
    assert install_plan.TORCH in steps[0].arguments


def test_an_old_pip_is_not_asked_for_progress():
    (step, *_) = install_plan.plan({**SLICER, "torch": "2.9", "pip": "23.2"}, Path("c.txt"))
    assert step.arguments[step.arguments.index("--progress-bar") + 1] == "off"


def test_a_slicer_that_is_too_old_is_refused_in_words():
    with pytest.raises(CannotInstall, match="does not bring scipy>=1.11; use Slicer 5.10"):
        install_plan.plan({**SLICER, "scipy": "1.10"}, Path("c.txt"))


def test_all_that_is_there_is_held_except_what_is_needed_newer(tmp_path):
    there = {**SLICER, "hydra-core": "1.1", "odd": "not a version", "torch": "2.9.0+cu128"}
    path = tmp_path / "new" / "c.txt"
    install_plan.write_constraints(path, there)
    lines = path.read_text().split()
    assert "numpy==2.1.0" in lines and "simpleitk==2.4.0" in lines
    assert "torch==2.9.0+cu128" in lines
    assert not any(line.startswith(("hydra-core", "odd")) for line in lines)


def test_no_room_no_permission_and_no_wheels_are_said_before_anything_is_done(
    tmp_path, monkeypatch
):
    steps = install_plan.plan(SLICER, Path("c.txt"))
    with pytest.raises(CannotInstall, match="holds no wheels"):
        install_plan.check_place(steps, tmp_path, tmp_path)
    usage = type("Usage", (), {"free": 1e9})
    monkeypatch.setattr(install_plan.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CannotInstall, match="has 1.0 GB free; at least 2.0 GB are needed"):
        install_plan.check_place(steps, tmp_path, None)
    install_plan.check_place(steps[1:], tmp_path, None)
    assert not list(tmp_path.iterdir())

    def refused(path, *_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(Path, "touch", refused)  # os.access says yes to all on Windows
    with pytest.raises(CannotInstall, match="may not write.*another Python"):
        install_plan.check_place(steps, tmp_path, None)


# Running it ----------------------------------------------------------------------------------


def test_everything_is_installed_tried_out_and_can_be_removed(setup):
    before = setup.names
    run = setup.installation()
    run.start()
    assert setup.finish() == (True, "Everything is installed and works.")
    assert setup.steps == ["pytorch", "packages", "sam2", "check"]
    assert setup.extension_called == 1 and setup.progress and "works" in setup.lines
    assert run.to_do() == [] and {"torch", "sam2", "safetensors"} <= setup.names

    again = setup.installation()
    assert set(again.added()) == setup.names - before
    again.remove(setup.removable(again))
    assert setup.finish() == (True, "Removed.")
    assert setup.names == before and again.added() == []
    with pytest.raises(CannotInstall, match="all is in use"):
        again.remove([])


def test_cancelled_while_fetching_it_ends_at_once_and_goes_on_later(setup):
    run = setup.installation(SLOW="download")
    run.start()
    setup.until(lambda: "Collecting accelerate" in setup.lines)
    run.cancel()
    ok, text = setup.finish()
    assert not ok and "go on at any time" in text
    assert "torch" in setup.names and "sam2" not in setup.names
    setup.steps.clear()
    setup.installation().start()
    assert setup.finish()[0] and setup.steps == ["packages", "sam2", "check"]
    assert setup.extension_called == 1


def test_cancelled_while_copying_it_finishes_that_step(setup):
    run = setup.installation(SLOW="copy")
    run.start()
    setup.until(lambda: any(line.startswith("Installing") for line in setup.lines))
    run.cancel()
    assert not setup.finish()[0]
    assert "safetensors" in setup.names and "sam2" not in setup.names


def test_what_a_killed_slicer_had_installed_is_removed_too(setup, tmp_path):
    path = install_plan.record_file(str(setup.site))
    record = Record().begun(install_plan.installed_packages([str(setup.site)]))
    install_plan.write_record(path, record)
    add_package(setup.site, "torch", "2.9.0")  # then Slicer is killed
    assert setup.installation().added() == ["torch"]


def test_a_package_that_pip_was_killed_over_is_installed_anew(setup):
    add_package(setup.site, "torch", "2.9.0")
    add_package(setup.site, "safetensors", "99", whole=False)
    run = setup.installation()
    assert "safetensors" not in setup.names
    run.start()
    assert setup.finish()[0] and "safetensors" in setup.names


def test_what_other_packages_need_by_now_stays(setup):
    run = setup.installation()
    run.start()
    assert setup.finish()[0]
    add_package(setup.site, "segmenter", "1.0", requires=["torch>=2", "tqdm; extra == 'gui'"])
    names = setup.removable(run)
    assert "torch" not in names and "tqdm" in names and "segmenter" not in names


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("No matching distribution found for sam2==1.1.0", "check the internet connection"),
        ("ResolutionImpossible: for help visit", "already is in the way"),
        ("[Errno 28] No space left on device", "the disk is full"),
        ("[WinError 112] Es steht nicht genug Speicherplatz zur Verfügung", "the disk is full"),
        ("[WinError 5] Zugriff verweigert: 'torch\\lib\\c10.dll'", "restart Slicer"),
        ("[WinError 32] Der Prozess kann nicht zugreifen", "restart Slicer and do this first"),
        ("[Errno 30] Read-only file system: '/opt/Slicer'", "ask your administrator"),
        ("something new", "something new. The log says more; begin again"),
    ],
)
def test_what_pip_says_becomes_advice(setup, said, advice):
    run = setup.installation(FAIL="sam2", SAY=said)
    run.start()
    ok, text = setup.finish()
    assert not ok and text.startswith("SAM 2, the model's network: ") and advice in text


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("SSLError(SSLCertVerificationError(1, 'certificate verify failed'))", "not trusted"),
        ("OSError('Tunnel connection failed: 407 Proxy Authentication Required')", "HTTPS_PROXY"),
        ("NameResolutionError(\"Failed to resolve 'pypi.org'\")", "no internet connection"),
        ("NewConnectionError('[WinError 11001] getaddrinfo failed')", "no internet connection"),
        ("NewConnectionError('Failed to establish a new connection')", "no internet connection"),
    ],
)
def test_what_keeps_pip_from_the_index_is_said_although_it_ends_with_nothing_found(
    setup, why, advice
):
    said = f"""WARNING: Retrying (Retry(total=0)) after connection broken by '{why}': /simple/sam2/
ERROR: Could not find a version that satisfies the requirement sam2==1.1.0 (from versions: none)
ERROR: No matching distribution found for sam2==1.1.0"""
    setup.installation(FAIL="sam2", SAY=said).start()
    ok, text = setup.finish()
    assert not ok and advice in text


def test_a_check_that_fails_is_told(setup):
    (Path(setup.environment["PYTHONPATH"]) / "SAMUSALib" / "cli.py").write_text(
        "import sys; sys.exit('samusa: no usable torch')"
    )
    setup.installation().start()
    assert setup.finish() == (False, "What was installed does not work yet: no usable torch")


def test_a_missing_pytorch_extension_ends_it_with_what_to_do(setup):
    run = setup.installation()

    def missing():
        raise CannotInstall("Slicer's PyTorch extension is missing: install PyTorch")

    run._pytorch = missing
    run.start()
    assert setup.finish() == (False, "Slicer's PyTorch extension is missing: install PyTorch")
    assert setup.steps == ["pytorch"]


def test_a_damaged_record_is_said_and_nothing_is_begun(setup):
    path = install_plan.record_file(str(setup.site))
    path.parent.mkdir(parents=True)
    path.write_text('{"added": 3}')
    run = setup.installation()
    with pytest.raises(UnreadableFile, match="remove it to go on"):
        run.start()
    assert not run.running


def test_a_second_start_is_refused(setup):
    run = setup.installation(SLOW="download")
    run.start()
    with pytest.raises(CannotInstall, match="running already"):
        run.start()
    run.cancel()
    assert not setup.finish()[0]


def test_the_record_is_of_one_python(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMUSA_HOME", str(tmp_path))
    assert install_plan.record_file("/a") != install_plan.record_file("/b")
    install_plan.write_record(install_plan.record_file("/a"), Record({"x": "1"}))
    assert install_plan.read_record(install_plan.record_file("/a")).added == {"x": "1"}
    assert install_plan.read_record(install_plan.record_file("/b")) == Record()
    assert json.loads(install_plan.record_file("/a").read_text())["python"] == sys.prefix


def make_wheel(folder: Path, name: str, version: str, requires=()) -> None:
    data = f"{name}-{version}.dist-info"
    about = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{data}/METADATA", "\n".join(["Metadata-Version: 2.1", *about, ""]))
        wheel.writestr(
            f"{data}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{data}/RECORD", "")


@pytest.mark.heavy
def test_the_real_pip_takes_the_folder_and_keeps_what_is_held(tmp_path, monkeypatch):
    """The command lines are pip's own language; `--target` keeps the tests' Python out of it."""
    wheels, target, held = tmp_path / "my wheels", tmp_path / "target", tmp_path / "c.txt"
    wheels.mkdir()
    make_wheel(wheels, "alpha", "2.0", ["beta>=1"])
    make_wheel(wheels, "beta", "1.0")
    make_wheel(wheels, "beta", "2.0")
    make_wheel(wheels, "sam2", "1.1.0", ["not-there>=1"])
    monkeypatch.setattr(install_plan, "PACKAGES", ("alpha>=2",))
    there = {**SLICER, "torch": "2.9", "beta": "1.0"}
    install_plan.write_constraints(held, there)
    import pip

    steps = install_plan.plan({**there, "pip": pip.__version__}, held, wheels)
    for step in steps:
        own = {"PIP_TARGET": str(target), "PIP_USER": "1"}  # the latter as in many a pip.conf
        environment = {**os.environ, **step.environment, **own}
        environment.pop("PIP_FIND_LINKS", None)
        ran = subprocess.run(
            [sys.executable, *step.arguments], env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
    found = install_plan.installed_packages([str(target)])
    assert found == {"alpha": "2.0", "beta": "1.0", "sam2": "1.1.0"}
