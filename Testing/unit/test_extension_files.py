"""The extension's own files: what CMake installs, what the Extensions Index is told."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import layouts
from layouts import MODULES, NOT_INSTALLED, REPOSITORY, files_of

# slicer-extension-catalog-entry-schema-v1.0.2.json: no other keys, the first three are required.
SCHEMA = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
KEYS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}


def installed(module: str) -> dict[str, set[str]]:
    """What the globs of the module's CMakeLists.txt find, by their variable."""
    folder = REPOSITORY / module
    text = (folder / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", module)
    found = {}
    for variable, patterns in re.findall(
        r"file\(GLOB_RECURSE (\w+) RELATIVE \S+ CONFIGURE_DEPENDS\s+([^)]*)\)", text
    ):
        paths = set()
        for pattern in patterns.split():
            parent, _, name = pattern.rpartition("/")
            paths |= {p.relative_to(folder).as_posix() for p in (folder / parent).rglob(name)}
        found[variable] = paths
    return found


def extension() -> dict[str, str]:
    """EXTENSION_ variables of the top-level CMakeLists.txt, by their last word."""
    text = (REPOSITORY / "CMakeLists.txt").read_text()
    return dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]+)"\)', text))


def older_form() -> dict[str, str]:
    lines = (REPOSITORY / "extension.s4ext").read_text().splitlines()
    pairs = (line.partition(" ")[::2] for line in lines if line and not line.startswith("#"))
    return dict(pairs)


@pytest.mark.parametrize("module", MODULES)
def test_every_file_of_a_module_is_installed(module):
    lists = installed(module)
    scripts = lists["MODULE_PYTHON_SCRIPTS"]
    resources = lists["MODULE_PYTHON_RESOURCES"]
    wanted = files_of(module) - NOT_INSTALLED
    assert {name for name in wanted if name.endswith(".py")} <= scripts
    assert {name for name in wanted if not name.endswith(".py")} <= resources
    assert not [name for name in scripts | resources if "__pycache__" in name]


def test_no_file_of_a_module_is_overwritten_by_another_s():
    """Installed, all modules share one folder."""
    names = [name for module in MODULES for name in files_of(module) - NOT_INSTALLED]
    assert len(names) == len(set(names))


SLICER_CONFIG = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
"""
USE_SLICER = """
include(CTest)
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_WITH_GENERIC_TESTS)
    message(FATAL_ERROR "wrong arguments of ${MY_NAME}: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(name ${MY_SCRIPTS} ${MY_RESOURCES})
    configure_file(${name} ${CMAKE_BINARY_DIR}/lib/qt-scripted-modules/${name} COPYONLY)
  endforeach()
endmacro()
macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT} OR MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "wrong test ${MY_SCRIPT}: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  add_test(NAME py_${MY_TESTNAME_PREFIX}${MY_SCRIPT} COMMAND true)
endmacro()
macro(slicer_add_python_test)
  slicer_add_python_unittest(${ARGN})
endmacro()
"""


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_takes_the_extension_and_builds_every_file(tmp_path):
    """With a stand-in for Slicer's macros."""
    slicer = tmp_path / "slicer"
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text(SLICER_CONFIG)
    (slicer / "UseSlicer.cmake").write_text(USE_SLICER)
    (slicer / "Nothing.cmake").touch()
    build = tmp_path / "build"
    ran = subprocess.run(
        ["cmake", "-S", REPOSITORY, "-B", build, f"-DSlicer_DIR={slicer}"],
        capture_output=True,
        text=True,
    )
    if "No CMAKE_CXX_COMPILER could be found" in ran.stderr:
        pytest.skip("needs a compiler, which CMake looks for")
    assert ran.returncode == 0, ran.stderr
    modules = build / "lib" / "qt-scripted-modules"
    found = {each.relative_to(modules).as_posix() for each in modules.rglob("*") if each.is_file()}
    wanted = {name for module in MODULES for name in files_of(module) - NOT_INSTALLED}
    assert found >= wanted and not [each for each in found if "__pycache__" in each]
    tests = subprocess.run(["ctest", "-N"], cwd=build, capture_output=True, text=True).stdout
    assert re.findall(r": py_(\S+)", tests) == [
        *(f"{module}.py" for module in MODULES),
        "samusa_nomainwindow_run.py",
    ]


@pytest.mark.parametrize("lay", [layouts.checkout, layouts.built])
def test_the_library_finds_models_and_recipes_where_it_lies(lay, tmp_path):
    folders = lay(tmp_path / "Programme für Ärzte")
    code = """
import json, SAMUSALib
from SAMUSALib.engine import registry
from SAMUSALib.training.recipes import list_recipes
from SAMUSALib.worker.command import WorkerCommand
here = [each.name for each in registry.list_models() if each.is_here and each.path]
worker = WorkerCommand.this_python().environment["PYTHONPATH"]
print(json.dumps([SAMUSALib.__file__, here, sorted(list_recipes()), worker]))
"""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "PYTHONIOENCODING": "utf-8",
        "SAMUSA_HOME": str(tmp_path / "home"),
    }
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8"
    )
    assert ran.returncode == 0, ran.stderr
    library, models, recipes, worker = json.loads(ran.stdout)
    assert Path(library).parents[1] == Path(worker) == folders[-1]
    assert models == ["samusa-small"] and "fine-tune" in recipes


def test_the_embedded_model_and_the_recipes_are_installed():
    resources = installed("SAMUSA")["MODULE_PYTHON_RESOURCES"]
    listed = json.loads((REPOSITORY / "SAMUSA/Resources/Models/models.json").read_text())["models"]
    embedded = [f"Resources/Models/{each['file']}" for each in listed if each.get("file")]
    assert embedded and set(embedded) <= resources
    assert "Resources/Recipes/fine-tune.yaml" in resources


def test_every_module_is_built_and_tested():
    text = (REPOSITORY / "CMakeLists.txt").read_text()
    assert re.findall(r"add_subdirectory\((\w+)\)", text) == list(MODULES)
    for module in MODULES:
        own = (REPOSITORY / module / "CMakeLists.txt").read_text()
        assert f"set(MODULE_NAME {module})" in own
        assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in own


@pytest.mark.parametrize("module", MODULES)
def test_no_python_file_beside_a_module_is_taken_for_one(module):
    beside = {name for name in files_of(module) if name.endswith(".py") and "/" not in name}
    assert beside <= {f"{module}.py"}


@pytest.mark.parametrize("module", MODULES)
def test_an_icon_is_128_pixels_square_and_has_its_drawing(module):
    icon = REPOSITORY / module / "Resources" / "Icons" / f"{module}.png"
    with Image.open(icon) as picture:
        assert picture.size == (128, 128) and picture.mode == "RGBA"
    assert icon.with_suffix(".svg").is_file()


def test_the_entry_of_the_extensions_index_follows_its_schema():
    raw = (REPOSITORY / "SAMUSA.json").read_bytes()
    entry = json.loads(raw)
    assert b"\r" not in raw and entry["$schema"] == SCHEMA
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(KEYS)
    for key, value in entry.items():
        assert isinstance(value, KEYS[key]), key
    assert 1 <= entry["tier"] <= 5 and entry["scm_url"].startswith("https://")


def test_index_entry_older_form_and_cmake_say_the_same():
    entry, older = json.loads((REPOSITORY / "SAMUSA.json").read_text()), older_form()
    cmake = extension()
    assert entry["scm_url"] == older["scmurl"] == cmake["HOMEPAGE"] + ".git"
    assert older["homepage"] == cmake["HOMEPAGE"]
    assert entry["category"] == older["category"] == cmake["CATEGORY"]
    assert entry["build_dependencies"] == older["depends"].split() == cmake["DEPENDS"].split()
    assert entry["scm_revision"] == older["scmrevision"]
    assert str(entry["tier"]) == older["tier"]
    for key in ("contributors", "iconurl", "description", "screenshoturls", "keywords"):
        assert older[key] == cmake[key.upper()], key
    assert (
        re.search(r"project\((\w+)\)", (REPOSITORY / "CMakeLists.txt").read_text())[1] == "SAMUSA"
    )


def test_pictures_that_the_index_shows_are_in_the_repository():
    cmake = extension()
    raw = cmake["HOMEPAGE"].replace("github.com", "raw.githubusercontent.com") + "/main/"
    for address in (cmake["ICONURL"], *cmake["SCREENSHOTURLS"].split()):
        assert address.startswith(raw)
        assert (REPOSITORY / address.removeprefix(raw)).is_file(), address
