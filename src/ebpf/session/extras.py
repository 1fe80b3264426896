"""Packages that are used if they are there: imported late, and asked for in one way where they are not."""

from __future__ import annotations

from typing import Any

from ebpf.errors import NotSupported

# module → (the extra of this package that brings it, what it is called on an index)
_EXTRAS = {
    "pyarrow": ("arrow", "pyarrow"), "pyarrow.parquet": ("arrow", "pyarrow"), "pandas": ("data", "pandas"),
    "polars": ("data", "polars"), "duckdb": ("data", "duckdb"), "matplotlib.pyplot": ("data", "matplotlib"),
}


def need(module: str, what: str) -> Any:
    """The module; without it a `NotSupported` that says how to get it. ``what``: what it is wanted for."""
    from importlib import import_module

    extra, package = _EXTRAS[module]
    try:
        return import_module(module)
    except ImportError as error:
        raise NotSupported(what, who=f"this Python, without {package},",
                           instead=f"pip install 'ebpf[{extra}]'", notes=(str(error),)) from None
