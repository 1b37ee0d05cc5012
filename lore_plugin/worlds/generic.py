"""Any observation of numbers in words, for tasks without a world of theirs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import naming
from .base import Question, Situation, World

# More numbers than this say nothing to a language model.
MAX_VALUES = 24
HIDDEN = ('reward', 'is_first', 'is_last', 'is_terminal')


class GenericWorld(World):
  """Describes scalars, vectors and strings by their keys and values.

  Rounding to two significant digits lets near observations share advice.
  Images are not described, nothing is remembered, and there are no choices:
  an advisor is asked for actions.

  Args:
    env: Anything with `obs_space` and `act_space`. Where it has no words for
      its actions (`naming.find`) they are 'action 0', 'action 1', ...
    task: The task's name.
  """

  version = 'generic-1'

  def __init__(self, env: Any, task: str):
    super().__init__(env, task)
    count = int(env.act_space['action'].high)
    self.actions = naming.find(env) or tuple(
        f'action {i}' for i in range(count))
    self.keys = readable(env.obs_space)

  def reset(self) -> None:
    pass

  def observe(
      self, obs: dict[str, Any], action: int | None = None) -> Situation:
    sentences = []
    for key in self.keys:
      values = np.asarray(obs[key]).reshape(-1)
      words = ', '.join(_word(x) for x in values[:MAX_VALUES])
      rest = len(values) - MAX_VALUES
      more = f' and {rest} more' if rest > 0 else ''
      sentences.append(f'{key} is {words}{more}.')
    text = ' '.join(sentences) or 'Nothing is known about the state.'
    events = ('episode start',) if action is None else ()
    return Situation(
        Question('get as much reward as possible', text), (), events)


def too_large(obs_space: Mapping[str, Any]) -> list[str]:
  """Returns how many numbers each key has, if all have too many for words."""
  sizes = {k: int(np.prod(obs_space[k].shape)) for k in readable(obs_space)}
  if not sizes or min(sizes.values()) <= MAX_VALUES:
    return []
  return [f'{k} {n}' for k, n in sizes.items()]


def readable(obs_space: Mapping[str, Any]) -> list[str]:
  """Returns the keys of what is no picture and no bookkeeping, sorted."""
  return [
      key for key, space in sorted(obs_space.items())
      if len(space.shape) < 3 and key not in HIDDEN
      and not key.startswith(('log/', 'lore/'))]


def _word(x):
  if isinstance(x, str):
    return ' '.join(x.split())
  if isinstance(x, (bool, np.bool_)):
    return 'yes' if x else 'no'
  if isinstance(x, (int, np.integer)):
    return str(int(x))
  return f'{float(x) + 0.0:.2g}'
