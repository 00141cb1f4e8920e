"""Every law by its name: of the registry, shipped or fitted (a JSON file), composed of two, or a user's own."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from perflaw_jax.design import nearest
from perflaw_jax.fitted import load_fitted
from perflaw_jax.laws import LAWS, FunctionLaw, LawEntry, OpaqueLaw, TwoStage

SHIPPED = Path(__file__).parent / "data" / "laws"  # fitted laws that come with the package, made by benchmarks.shipped_laws


def all_laws() -> Iterator[LawEntry]:
    """The registry, then the shipped laws, each loaded when its turn comes."""
    yield from LAWS.values()
    yield from (load_fitted(path) for path in shipped().values())


def shipped() -> dict[str, Path]:
    """The files of the shipped laws by name, in the order of the names."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.json"))}


def find_law(name: str) -> LawEntry:
    """The law of that name; ValueError otherwise.

    Args:
        name: one of the registry or shipped; ``"fitted.json"``; ``"LOSS + SCORE"``, the loss of one law under the map from
            loss to score of another; or the user's own, ``"package.module:object"``. The object may be a ``LawEntry``, an
            object with ``raw`` and ``clamp`` (or a class of such), or a function ``score(design)`` written in jax.numpy; its
            attribute ``higher_is_better = False`` says that less is better.
    """
    if name in LAWS:
        return LAWS[name]
    if name in shipped():
        return load_fitted(shipped()[name])
    if " + " in name:
        first, _, second = name.partition(" + ")
        return compose(find_law(first.strip()), find_law(second.strip()))
    if name.endswith(".json"):
        return load_fitted(name)
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        if "+" in name:
            spaced = " + ".join(part.strip() for part in name.split("+"))
            raise ValueError(f"law: no law named {name!r}; in a composition there are spaces around the +: {spaced!r}")
        others = "'package.module:object' for your own, or a fitted law's file.json"
        raise ValueError(f"law: no law named {name!r}; {nearest(name, [*LAWS, *shipped()])}; or {others}")
    return _users_law(name, module, attribute)


def compose(first: LawEntry, second: LawEntry) -> LawEntry:
    """The loss of the first law under the second one's map from a loss to a score; ValueError where either has none."""
    whole, other = (getattr(entry.law, "point", entry.law) for entry in (first, second))
    loss = whole.loss if isinstance(whole, TwoStage) else whole
    if first.metric != "loss" and not isinstance(whole, TwoStage):
        losses = [name for name, entry in LAWS.items() if entry.metric == "loss"]
        raise ValueError(f"law: {first.name} does not predict a loss; those that do: {', '.join(losses)}")
    if not isinstance(other, TwoStage):
        maps = [name for name, entry in LAWS.items() if isinstance(entry.law, TwoStage)]
        raise ValueError(f"law: {second.name} has no map from a loss to a score; those that have: {', '.join(maps)}")
    given, wanted = (getattr(part, "losses", ("loss",)) for part in (loss, other.score))
    if given != wanted:
        raise ValueError(f"law: {second.name} takes the losses {', '.join(wanted)}; {first.name} predicts {', '.join(given)}")
    return LawEntry(
        name=f"{first.name} + {second.name}",
        law=TwoStage(loss, other.score),
        metric=second.metric,
        unit=second.unit,
        source=f"{first.source}; {second.source}",
        valid=f"loss: {first.valid}; score: {second.valid}",
        experts=first.experts,
        higher_is_better=second.higher_is_better,
        note="a composition: the loss is that of one set of texts, the map was fitted on another's",
        support=first.support,
    )


def _users_law(name: str, module: str, attribute: str) -> LawEntry:
    found = _load(module, attribute)
    if isinstance(found, LawEntry):
        return found
    if hasattr(found, "raw") and hasattr(found, "clamp"):
        law = found if _is_pytree(found) else OpaqueLaw(found)
    elif callable(found):
        law = FunctionLaw(found)
    else:
        raise ValueError(f"law: {name} is neither a function of a design nor an object with raw and clamp")
    return LawEntry(
        name=name,
        law=law,
        metric="score",
        unit="",
        source=f"the user's own law {name}",
        valid="unknown",
        experts=True,
        higher_is_better=getattr(found, "higher_is_better", True),
    )


def _load(module: str, attribute: str) -> Any:
    try:
        found = getattr(importlib.import_module(module), attribute)
        return found() if inspect.isclass(found) else found
    except Exception as error:  # whatever a user's module raises is the user's mistake, to be told in one line
        reason = " ".join(str(error).split())
        raise ValueError(f"law: cannot load {module}:{attribute}: {type(error).__name__}: {reason}") from error


def _is_pytree(law: Any) -> bool:
    return not jax.tree_util.treedef_is_leaf(jax.tree_util.tree_structure(law))
