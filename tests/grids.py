"""The grid that the fixed cases of sweeps and searches share."""

import numpy as np

from perflaw_jax.laws import PerformanceDense
from perflaw_jax.space import Axis, Space

LAYERS = Axis("num_hidden_layers", tuple(map(float, range(4, 100, 4))))
HIDDEN = Axis("hidden_size", tuple(map(float, range(1024, 9216, 1024))))
FFN = Axis("intermediate_size", (1.5, 2.0, 3.5), "ratio", "hidden_size", 256)
TOKENS = Axis("training_tokens", tuple(np.geomspace(1e11, 3e13, 21)))
SPACE = Space((LAYERS, HIDDEN, FFN, TOKENS))
DENSE = PerformanceDense()
