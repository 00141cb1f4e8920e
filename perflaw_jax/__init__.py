"""perflaw_jax: pick the shape of a language model before training it.

``import perflaw_jax as pl`` brings ``pl.sweep(spec)``, ``pl.search(spec)``, ``pl.load(directory)`` and ``pl.predict(...)``.
They are loaded when first used, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perflaw_jax.api import load as load
    from perflaw_jax.api import predict as predict
    from perflaw_jax.api import search as search
    from perflaw_jax.api import sweep as sweep
    from perflaw_jax.loaded import Results as Results

__version__ = "0.1.0"

_HOMES = {"load": "api", "predict": "api", "search": "api", "sweep": "api", "Results": "loaded"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
