"""The recipes that come with SAMUSA: names and purposes, without reading YAML."""

from __future__ import annotations

from pathlib import Path


def recipes_folder() -> Path:
    """`Resources/Recipes`, beside the package in a checkout and in Slicer, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "Resources" / "Recipes"
    return inside if inside.is_dir() else package.parent / "Resources" / "Recipes"


def list_recipes() -> dict[str, str]:
    """Name -> what it is for (the first line of its file) of the recipes that come with SAMUSA."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for path in sorted(recipes_folder().glob("*.yaml"))
    }
