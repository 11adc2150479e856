"""Objects of the user's own code, by name: ``module:name`` or ``path/to/file.py:name``."""

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from patchwise.errors import DataError
from patchwise.models.weights import split_source

_NAMED = re.compile(r"(?P<home>.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_][\w.]*)")


def names_object(text: str) -> bool:
    """Tell whether a text reads as ``module:name`` or ``file.py:name``.

    It does not if it is a file itself, or names a layout of weights: ``timm:weights.pth``.
    """
    is_file = Path(text).expanduser().exists()
    return _NAMED.fullmatch(text) is not None and not is_file and split_source(text)[0] is None


def import_object(text: str) -> object:
    """Run the module or file that ``text`` names, and return the object of that name in it.

    Modules are looked for as by ``python -m``, the working folder first; beside a file, its own
    folder is searched too. What can be called without an argument, and is no module of torch, is
    called: it makes the object.

    Raises:
        DataError: The code cannot be run, or holds no such object.
    """
    found = _NAMED.fullmatch(text)
    assert found is not None, "the caller has asked `names_object`"
    home = found["home"]
    try:
        value: Any = _run(home)
        for part in found["name"].split("."):
            value = getattr(value, part)
        return value() if _makes(value) else value
    except (Exception, SystemExit) as error:  # it is not ours, and may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        ours = last.filename == __file__ or last.filename.startswith("<")  # <frozen importlib>
        place = "" if ours else f" ({Path(last.filename).name}:{last.lineno})"
        raise DataError(
            f"evaluate: model must name an object of code that can be imported, got {text!r}: "
            f"{type(error).__name__}: {error}{place}"
        ) from error


def _run(home: str) -> ModuleType:
    if not home.endswith(".py"):
        _search_first(Path.cwd())
        return importlib.import_module(home)
    path = Path(home).expanduser().resolve()
    _search_first(path.parent)
    name = f"_patchwise_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"'{path}' is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def _search_first(folder: Path) -> None:
    """For good: code may import its neighbours only when it is called."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _makes(value: object) -> bool:
    """Tell whether an object is a class or a function that needs no argument."""
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return False
    try:
        inspect.signature(value).bind()
    except TypeError:
        return False
    return True
