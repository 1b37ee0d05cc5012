"""Adds the state in words to any environment."""

import functools
from collections.abc import Mapping
from typing import Any

import elements
import numpy as np

from .. import errors
from . import failing
from .base import World, describe


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

  def __init__(self, env: Any, world: World, size: int, steps: bool = False):
    check_actions(env.act_space)
    self.env = env
    self._size = int(size)
    self._world = world
    self._steps = steps
    self._count = 0

  def __getattr__(self, name: str) -> Any:
    if name.startswith('__') or name == 'env':
      raise AttributeError(name)
    return getattr(self.env, name)

  @functools.cached_property
  def obs_space(self) -> dict[str, elements.Space]:
    space = elements.Space(np.uint8, (self._size,))
    return {**self.env.obs_space, 'lore/state': space}

  def step(self, action: Mapping[str, Any]) -> dict[str, Any]:
    self._count += 1
    obs = failing.call(
        'The environment', self._where(), self.env.step, action)
    self._count = 0 if obs['is_first'] else self._count
    failing.check('The environment', self._where(), obs)
    act = None if obs['is_first'] else int(action['action'])
    return {**obs, 'lore/state': failing.call(
        f'The world {self._world.version}', self._where(), self._words, obs,
        act)}

  def _words(self, obs, act):
    if act is None:
      self._world.reset()
    situation = self._world.observe(obs, act)
    words = describe(situation, self._world, self._steps)
    return words.encode(self._size)

  def _where(self):
    return f'step {self._count} of an episode of {self._world.task!r}'


def check_actions(act_space: Mapping[str, Any]) -> None:
  """Raises an EnvError unless there is one discrete action, 'action'."""
  acts = {k: v for k, v in act_space.items() if k != 'reset'}
  space = acts.get('action')
  if len(acts) != 1 or space is None or not space.discrete or space.shape:
    raise errors.EnvError(
        f'The actions of this task are {acts}. LoRe advises tasks with a '
        f'single discrete action called \'action\'. Leave out the lore block '
        f'(--lore.enabled False) or choose another task.')
