"""README and documents say what the code does: texts, commands, buttons, keys, models, links."""

import ast
import html
import importlib
import json
import re
import shlex
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import nrrd
import pytest
import yaml

from SAMUSALib.app.settings import SHORTCUTS
from SAMUSALib.cli.main import build_parser, main

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
COMMAND_LINE = REPOSITORY / "docs" / "command-line.md"
MODULES = ("SAMUSA", "SAMUSATemporal", "SegmentEditorBoundaryPoints")
DOCUMENTS = (
    *sorted(REPOSITORY.glob("*.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *sorted((REPOSITORY / "SAMUSA" / "Resources").rglob("*.md")),
)
# What the README writes in italics besides SAMUSA's own buttons: keys, and names of 3D Slicer.
NOT_BUTTONS = {
    "Additional module paths",
    "Application Settings",
    "Ctrl",
    "Edit",
    "Enter",
    "Modules",
    "PyTorch",
    "Sample Data",
    "Shift",
}
KEY_NAMES = {"Return": "Enter", "Escape": "Esc", "Delete": "Del"}


def names(documents) -> list[str]:
    return [path.relative_to(REPOSITORY).as_posix() for path in documents]


def section(path: Path, heading: str) -> str:
    """What stands below a heading, up to the next one of its level."""
    level = heading.split(" ")[0]
    _, found, rest = path.read_text().partition(f"\n{heading}\n")
    assert found, f"{path.name} has no {heading}"
    return re.split(rf"\n#{{1,{len(level)}}} ", rest)[0]


def rows(text: str) -> list[list[str]]:
    """Cells of the tables in a text, without the line below the head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if set(row[0]) - set("-: ")]


def code(text: str) -> list[str]:
    """Lines of code blocks; those that end in a backslash are joined."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    blocks += re.findall(r"(?:^    .+\n)+", text, re.M)
    return "".join(blocks).replace("\\\n", " ").splitlines()


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def code_and_quotes(text: str) -> list[str]:
    return code(text) + re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(text))


@cache
def texts() -> tuple[str, ...]:
    """What the code can say; … for what varies."""
    found = [(REPOSITORY / "Makefile").read_text()]
    for module in MODULES:
        for path in (REPOSITORY / module).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (
                        part.value if isinstance(part, ast.Constant) else "…"
                        for part in node.values
                    )
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(re.sub(r"\{[^{}]*\}", "…", node.value))
        for path in (REPOSITORY / module).rglob("*.ui"):
            strings = ElementTree.parse(path).iter("string")
            found.extend(html.unescape(each.text) for each in strings if each.text)
    return tuple(found)


def quoted_errors(path: Path) -> list[str]:
    table = section(path, "## When something goes wrong")
    return [match[2] for match in re.finditer(r"^\| (`+) ?(.+?) ?\1 \|", table, re.M)]


@pytest.mark.parametrize("path", [README, COMMAND_LINE], ids=lambda path: path.name)
def test_every_quoted_error_can_be_said(path):
    quoted = quoted_errors(path)
    assert len(quoted) == len(rows(section(path, "## When something goes wrong"))) - 1 > 10
    missing = [text for text in quoted if not any(text in each for each in texts())]
    assert not missing


def test_every_button_that_the_readme_names_is_there():
    named = re.findall(r"(?<![*\w])\*([^*\n]+)\*(?!\*)", section(README, "## In 3D Slicer"))
    words = {word for name in named for word in name.split(" > ")}
    assert "Install" in words
    assert not {
        word for word in words - NOT_BUTTONS if word not in texts() and f"{word}:" not in texts()
    }


def test_the_keys_are_those_of_the_settings():
    listed = set()
    tutorial = section(README, "### Five minutes with the sample clip")
    for left, _, right, _ in rows(tutorial)[1:]:
        listed |= {key.strip("`") for key in re.split(r", | (?=`)", f"{left}, {right}")}
    assert listed == {KEY_NAMES.get(key, key) for key in SHORTCUTS.values()}


def test_the_models_are_those_of_the_registry():
    registry = json.loads((REPOSITORY / "SAMUSA/Resources/Models/models.json").read_text())
    known = {each["name"]: each for each in registry["models"]}
    listed = {}
    for name, size, prompts, licence in rows(section(README, "## Models"))[1:]:
        names = re.findall(r"`([^`]+)`", name)
        sizes = [int(number) for number in re.findall(r"\d+", size)] or [None]
        for each, megabytes in zip(names, sizes * len(names), strict=False):
            listed[each] = (megabytes, prompts.split(", "), licence)
    wanted = {
        name: (each["size"] and round(each["size"] / 1e6), each["prompts"], each["licence"])
        for name, each in known.items()
    }
    assert listed == wanted


def test_the_exports_of_the_tutorial_are_offered():
    pytest.importorskip("vtk")
    from SAMUSALib.app.export import FORMATS

    offered = " ".join(each.label.lower() for each in FORMATS)
    (files,) = re.findall(r"and files \((.*?)\)", section(README, "## In 3D Slicer"))
    assert not [each for each in files.lower().split(", ") if each.strip("`") not in offered]


def commands(lines: list[str]) -> list[str]:
    """Calls of `samusa`, also by `python -m SAMUSALib.cli`."""
    lines = [re.split(r"\s#", line)[0].strip() for line in lines]
    lines = [re.sub(r"^.*-m SAMUSALib\.cli(?= )", "samusa", line) for line in lines]
    return [line for line in lines if re.match(r"samusa [a-z]", line)]


@cache
def parser():
    return build_parser()


def sub_command(words: list[str]):
    """The parser that the first words lead to."""
    found = parser()
    for word in words:
        choices = [action.choices for action in found._actions if action.nargs == "A..."]
        if not choices:
            break
        assert word in choices[0], f"there is no command {word} in: {' '.join(words)}"
        found = choices[0][word]
    return found


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_every_command_and_option_exists(name):
    for command in commands(code_and_quotes((REPOSITORY / name).read_text())):
        words = shlex.split(command)[1:]
        options = {each for action in sub_command(words)._actions for each in action.option_strings}
        unknown = {word for word in words if word.startswith("--")} - options
        assert not unknown, command


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_every_command_of_a_code_block_can_be_run_as_it_stands(name, capsys):
    for command in commands(code((REPOSITORY / name).read_text())):
        if re.search(r"[…[|]", command):  # something is left out or optional
            continue
        try:
            parser().parse_args(shlex.split(command)[1:])
        except SystemExit:
            pytest.fail(f"{command}: {capsys.readouterr().err}")


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_every_target_of_make_exists(name):
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    text = "\n".join(code_and_quotes((REPOSITORY / name).read_text()))
    for words in re.findall(r"^make ((?:\S+=\S+ )*)([\w-]+)", text, re.M):
        assert words[1] in targets


def anchors(path: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_every_link_leads_to_a_file_and_a_heading(name):
    path = REPOSITORY / name
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
        if re.match(r"\w+:", target):
            continue
        place, _, anchor = target.partition("#")
        there = (path.parent / place).resolve() if place else path
        assert there.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{name}: {target}"


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_every_file_that_is_named_exists(name):
    tops = "|".join(("Testing", "docs", "Resources", "SAMUSALib", *MODULES))
    for line in code_and_quotes((REPOSITORY / name).read_text()):
        for place in re.findall(rf"(?<![\w/.])(?:{tops})/[\w/.-]+\.\w+", line):
            roots = (REPOSITORY, REPOSITORY / "SAMUSA")
            assert any((root / place).exists() for root in roots), f"{name}: {place}"


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_every_python_example_imports_what_is_there(name):
    blocks = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / name).read_text(), re.M | re.S)
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("SAMUSALib"):
                module = importlib.import_module(node.module)
                for each in node.names:
                    assert hasattr(module, each.name), f"{name}: {node.module}.{each.name}"


def test_the_tutorial_of_the_command_line_leads_to_good_masks(tmp_path, monkeypatch):
    text = section(COMMAND_LINE, "## Five minutes")
    (prompts,) = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)
    shown = commands(code(text))
    assert [command.split()[1] for command in shown] == ["phantom", "annotate"]
    monkeypatch.chdir(tmp_path)
    Path("prompts.json").write_text(prompts)
    for command in shown:
        assert main(shlex.split(command)[1:]) == 0, command
    masks, _ = nrrd.read("lesion.seg.nrrd")
    truth, header = nrrd.read("truth.seg.nrrd")
    (value,) = [
        int(header[f"Segment{index}_LabelValue"])
        for index in range(2)
        if header[f"Segment{index}_Name"].startswith("hypo")
    ]
    ((start, end),) = json.loads(prompts)["segments"][0]["windows"]
    mask, lesion = masks[..., start : end + 1] > 0, truth[..., start : end + 1] == value
    dice = 2 * (mask & lesion).sum((0, 1)) / (mask.sum((0, 1)) + lesion.sum((0, 1)))
    assert dice.mean() > 0.85


def test_the_indices_name_every_document():
    for folder in (REPOSITORY / "docs", REPOSITORY / "docs" / "adr"):
        linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (folder / "README.md").read_text()))
        assert linked == {path.name for path in folder.glob("*.md")} - {"README.md"}


def test_the_index_of_decisions_gives_their_titles():
    folder = REPOSITORY / "docs" / "adr"
    for number, link in rows((folder / "README.md").read_text())[1:]:
        title, place = re.fullmatch(r"\[(.+)\]\((.+)\)", link).groups()
        assert (folder / place).read_text().splitlines()[0] == f"# {number}. {title}"


def test_notice_names_every_package_that_is_installed():
    from packaging.requirements import Requirement

    project = (REPOSITORY / "pyproject.toml").read_text()
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", project, re.M | re.S)
    wanted = {Requirement(each).name for each in ast.literal_eval(f"[{block}]")} | {"sam2"}
    noticed = re.findall(r"^  ([\w-]+) {2,}\S", (REPOSITORY / "NOTICE").read_text(), re.M)
    assert set(noticed) == wanted


def test_the_citation_gives_this_version_and_address():
    from SAMUSALib import __version__

    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == __version__ and citation["license"] == "Apache-2.0"
    assert f'"{citation["repository-code"]}"' in (REPOSITORY / "CMakeLists.txt").read_text()
    assert f"## {__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()
