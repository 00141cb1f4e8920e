"""Frozen dataclasses as pytrees whose structure tells their class."""

from dataclasses import fields
from typing import TypeVar

import jax

Class = TypeVar("Class", bound=type)


def pytree(cls: Class) -> Class:
    """Make a dataclass a pytree: its fields are leaves, those with ``metadata={"static": True}`` part of the structure.

    In place of ``jax.tree_util.register_dataclass``: by that, JAX 0.10 holds the structures of two classes for equal wherever
    their static fields are, and a program compiled for one is now and then taken for the other's, as their hashes fall.

    >>> from dataclasses import make_dataclass
    >>> one, other = (pytree(make_dataclass(name, ["x"])) for name in ("One", "Other"))
    >>> jax.tree.structure(one(1.0)) == jax.tree.structure(other(1.0)), jax.tree.map(lambda x: 2 * x, one(1.0))
    (False, One(x=2.0))
    """
    static = tuple(f.name for f in fields(cls) if f.metadata.get("static"))
    leaves = tuple(f.name for f in fields(cls) if f.name not in static)

    def flatten(tree):
        return tuple(getattr(tree, name) for name in leaves), tuple(getattr(tree, name) for name in static)

    def flatten_with_keys(tree):
        children, structure = flatten(tree)
        return tuple(zip(map(jax.tree_util.GetAttrKey, leaves), children, strict=True)), structure

    def unflatten(structure, children):
        return cls(**dict(zip(leaves, children, strict=True)), **dict(zip(static, structure, strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def kinds(tree: object) -> tuple:
    """The classes of all nodes of a pytree: what tells apart the structures of a user's own dataclasses (see ``pytree``)."""

    def of(structure):
        node = structure.node_data()
        return (node and node[0], *map(of, structure.children()))

    return of(jax.tree.structure(tree))
