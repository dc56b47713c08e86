"""Reports are one HTML file: pictures are inside it, charts are inline SVG, nothing is loaded."""

from __future__ import annotations

import time
from pathlib import Path

from .. import __version__
from ..atomic import atomic_write, made_folder


def write_page(path: Path, template: str, **values) -> Path:
    """Fill a template of this folder; returns the path. Raises CannotWrite; nothing half-written
    is left, and a folder made for it is removed again."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("SAMUSALib.evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(
        version=__version__, date=time.strftime("%Y-%m-%d %H:%M"), **values
    )
    with made_folder(path.parent), atomic_write(path) as part:
        part.write_text(html, encoding="utf-8")
    return path
