"""Laws as users write them that are no smooth finite numbers: every engine finds their best all the same."""

import jax.numpy as jnp
from grids import DENSE


def gaps(design):
    """NaN for depths of 40 to 60, -inf at a hidden size of 2048, and otherwise smooth."""
    n = design.num_hidden_layers
    return jnp.sqrt(abs(n - 50.0) - 10.0) + jnp.log(abs(design.hidden_size - 2048.0)) + jnp.log(design.training_tokens)


def infinite(design):
    """+inf at a hidden size of 4096."""
    return design.num_hidden_layers + 1.0 / abs(design.hidden_size - 4096.0) + 1e-3 * jnp.log(design.training_tokens)


def stepped(design):
    """Whole points."""
    return jnp.floor(DENSE.raw(design))
