"""Adds the state in words to any environment."""

import functools

import elements
import numpy as np

from .. import errors
from .base import describe


class Describe:
  """Adds `lore/state` to an environment's observations.

  Args:
    env: An `embodied.Env` with a single discrete action called 'action'.
    world: The world.
    size: Bytes reserved for the words.
    steps: See `base.describe`.

  Raises:
    EnvError: The action space can't be advised.
  """

  def __init__(self, env, world, size, steps=False):
    check_actions(env.act_space)
    self.env = env
    self._size = int(size)
    self._world = world
    self._steps = steps

  def __getattr__(self, name):
    if name.startswith('__') or name == 'env':
      raise AttributeError(name)
    return getattr(self.env, name)

  @functools.cached_property
  def obs_space(self):
    space = elements.Space(np.uint8, (self._size,))
    return {**self.env.obs_space, 'lore/state': space}

  def step(self, action):
    obs = self.env.step(action)
    if obs['is_first']:
      self._world.reset()
    act = None if obs['is_first'] else int(action['action'])
    words = describe(self._world.observe(obs, act), self._world, self._steps)
    return {**obs, 'lore/state': words.encode(self._size)}


def check_actions(act_space):
  """Raises an EnvError unless there is one discrete action, 'action'."""
  acts = {k: v for k, v in act_space.items() if k != 'reset'}
  space = acts.get('action')
  if len(acts) != 1 or space is None or not space.discrete or space.shape:
    raise errors.EnvError(
        f'The actions of this task are {acts}. LoRe advises tasks with a '
        f'single discrete action called \'action\'. Leave out the lore block '
        f'(--lore.enabled False) or choose another task.')
