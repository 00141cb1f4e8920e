"""perflaw_jax: pick the shape of a language model before training it."""

__version__ = "0.1.0"
