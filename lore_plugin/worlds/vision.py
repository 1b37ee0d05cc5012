"""Any task with pictures: the picture itself is the question."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import errors
from ..advisor import pictures
from . import naming
from .base import Question, Situation, World

# Bytes of a picture beyond which a state would be too large to travel.
LARGEST = 2 ** 20


class VisionWorld(World):
  """Shows the picture that the agent sees to a model that sees.

  Nothing is remembered, and there are no choices: the advisor is asked for
  actions. The same picture hardly ever returns, so that what a reply is worth
  in other states is left to the agent's learned advice (lore.prior).

  Args:
    env: Anything with `obs_space`, `act_space` and, if it knows them, words
      for its actions; see `naming.find`.
    task: The task's name.

  Raises:
    EnvError: There is no picture, or too large a one.
  """

  version = 'vision-1'
  pictures = True

  def __init__(self, env: Any, task: str):
    super().__init__(env, task)
    self.key = find(env.obs_space, task)
    self.room = 4096 + pictures.room(env.obs_space[self.key].shape)
    if self.room > LARGEST:
      raise errors.EnvError(
          f'The task {task!r} shows pictures of '
          f'{env.obs_space[self.key].shape}, which are too large to ask '
          'about. Make them smaller, as --env.SUITE.size 96 96 does where '
          'the suite has that key.')
    self.actions = naming.find(env)
    name = ' '.join(task.replace('/', ' ').replace('_', ' ').split())
    self.mission = f'get as much reward as possible in {name}'

  def reset(self) -> None:
    pass

  def observe(
      self, obs: dict[str, Any], action: int | None = None) -> Situation:
    events = ('episode start',) if action is None else ()
    facts = pictures.encode(obs[self.key])
    return Situation(Question(self.mission, facts), (), events)


def find(obs_space: Mapping[str, Any], task: str) -> str:
  """Returns the key of the picture, `image` where there are several.

  Raises:
    EnvError: There is none.
  """
  found = [
      k for k, v in sorted(obs_space.items())
      if v.dtype == np.uint8 and len(v.shape) == 3 and v.shape[-1] in (1, 3)
      and not k.startswith(('log/', 'lore/'))]
  if not found:
    raise errors.EnvError(
        f'The task {task!r} shows {sorted(obs_space)}, none of which is a '
        'picture, but lore.world is vision. Type --lore.world auto, or let '
        'the task show pictures, as --env.minigrid.obs image does.')
  return 'image' if 'image' in found else found[0]
