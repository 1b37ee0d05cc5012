"""Any observation of numbers in words, for tasks without a describer."""

import numpy as np

from ..advisor.types import Description
from .base import Describer

# More numbers than this say nothing to a language model.
MAX_VALUES = 24
HIDDEN = ('reward', 'is_first', 'is_last', 'is_terminal')


class GenericDescriber(Describer):
  """Describes scalars, vectors and strings by their keys and values.

  Rounding to two significant digits lets near observations share advice.
  Images are not described. Actions are called 'action 0', 'action 1', ...
  """

  version = 'generic-1'

  def __init__(self, obs_space, act_space):
    super().__init__(obs_space, act_space)
    space = act_space['action']
    self.actions = tuple(f'action {i}' for i in range(int(space.high)))
    self.keys = readable(obs_space)

  def describe(self, obs, events=()):
    sentences = []
    for key in self.keys:
      values = np.asarray(obs[key]).reshape(-1)
      words = ', '.join(_word(x) for x in values[:MAX_VALUES])
      rest = len(values) - MAX_VALUES
      more = f' and {rest} more' if rest > 0 else ''
      sentences.append(f'{key} is {words}{more}.')
    text = ' '.join(sentences) or 'Nothing is known about the state.'
    return Description(
        text, 'get as much reward as possible', self.actions, (),
        tuple(events), self.version)


def readable(obs_space):
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
