"""The parts of upstream that our agent is built of.

Imported where an agent is built, not with the package: it takes jax and
dreamerv3 along.
"""

from dreamerv3.agent import Agent as Dreamer
from embodied import Agent
from embodied import streams
from embodied.jax import Optimizer
from embodied.jax.internal import get_data_axes

__all__ = ['Agent', 'Dreamer', 'Optimizer', 'get_data_axes', 'streams']
