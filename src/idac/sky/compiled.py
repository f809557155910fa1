"""The compiled functions of cdshealpix, without its Python around them.

That imports astropy's coordinates, a third of a second of every start, to be given angles as objects whose making takes
longer than most of the functions do. Here angles are radians and results are arrays that are handed in or given back;
what is out of range is the caller's to refuse, since the functions panic.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from types import ModuleType

_NAME = "cdshealpix.cdshealpix"


def _load() -> ModuleType:
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    package = importlib.util.find_spec("cdshealpix")
    if package is None or package.submodule_search_locations is None:
        raise ImportError("cdshealpix is not installed", name="cdshealpix")
    spec = PathFinder.find_spec(_NAME, package.submodule_search_locations)
    if spec is None or spec.loader is None:
        raise ImportError(f"cdshealpix has no module {_NAME}", name=_NAME)
    module = importlib.util.module_from_spec(spec)
    # Where the package is imported after all, it takes this one: a second copy would not load.
    sys.modules[_NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[_NAME]
        raise
    return module


_functions = _load()
lonlat_to_healpix = _functions.lonlat_to_healpix
healpix_to_lonlat = _functions.healpix_to_lonlat
neighbours = _functions.neighbours
external_neighbours = _functions.external_neighbours
cone_search = _functions.cone_search
polygon_search = _functions.polygon_search
