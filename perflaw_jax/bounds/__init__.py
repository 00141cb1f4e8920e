"""Bounds of any JAX function over a box of inputs: ``bound`` turns a law for one design into one for a box of designs."""

from perflaw_jax.bounds.interpreter import UnboundedPrimitive as UnboundedPrimitive
from perflaw_jax.bounds.interpreter import bound as bound
from perflaw_jax.bounds.intervals import Interval as Interval
from perflaw_jax.bounds.intervals import interval as interval
from perflaw_jax.bounds.slopes import highest as highest
