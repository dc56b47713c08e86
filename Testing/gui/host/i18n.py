"""slicer.i18n: texts stay in English."""

import types


def tr(text: str) -> str:
    return text


def translate(context: str, text: str) -> str:
    return text


def build() -> types.ModuleType:
    module = types.ModuleType("slicer.i18n")
    module.tr = tr
    module.translate = translate
    return module
