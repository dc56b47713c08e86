"""slicer.packaging and slicer.util.pip_install, scripted by the test: nothing is installed.

host.packaging.installs(lambda requirements: ...)   # what an installation does; may raise
host.packaging.requested                            # what was asked for
"""

import types

requested: list[list[str]] = []
removed: list[list[str]] = []
_install = None


class UnexpectedInstall(AssertionError):
    """Something was installed although the test had not said that it may be."""


def installs(action) -> None:
    """Let installations happen: action(requirements) stands for pip."""
    global _install
    _install = action


def forget() -> None:
    global _install
    _install = None
    requested.clear()
    removed.clear()


def _list(requirements) -> list[str]:
    items = requirements.split() if isinstance(requirements, str) else requirements
    return [str(item) for item in items]


def pip_install(requirements, **kwargs):
    wanted = _list(requirements)
    requested.append(wanted)
    if _install is None:
        raise UnexpectedInstall(f"pip install {' '.join(wanted)}")
    return _install(wanted)


def pip_uninstall(requirements, **kwargs):
    removed.append(_list(requirements))


def pip_ensure(requirements, prompt=None, requester=None, **kwargs):
    return pip_install(requirements, **kwargs)


def load_requirements(path):
    """The requirements of a file, one a line."""
    from packaging.requirements import Requirement

    with open(path) as file:
        lines = (line.split("#")[0].strip() for line in file)
        return [Requirement(line) for line in lines if line]


def build() -> types.ModuleType:
    module = types.ModuleType("slicer.packaging")
    for function in (pip_install, pip_uninstall, pip_ensure, load_requirements):
        setattr(module, function.__name__, function)
    return module
