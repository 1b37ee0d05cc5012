"""Good advice for another state. A control: does it matter which state?

The scores keep the distribution of good advice, but lose their tie to the
state. All states are not known in advance, so the permutation is drawn while
they arrive: the n-th distinct state gets the advice for a state drawn, by the
seed, from the n - 1 before it and itself. That state's choice is matched by
name; a name that isn't offered here leaves the scores flat.
"""

from typing import Any

import numpy as np

from .. import types
from . import scripted


class Shuffled(types.Provider):
  """Another state's scripted advice. Free; fixed by seed and order of states.
  """

  name = 'shuffled'

  def __init__(self, config: Any = None, seed: int = 0):
    del config
    self.model = f'shuffled-rules-1-seed{int(seed)}'
    self._rng = np.random.default_rng(int(seed))
    self._seen: list[dict] = []
    self._drawn: dict[tuple, dict] = {}

  def ask(self, query: types.Query) -> types.Reply:
    desc = query.description
    state = (desc.text, desc.mission, query.mode, query.candidates)
    if state not in self._drawn:
      self._seen.append(dict(zip(query.candidates, scripted.score(query))))
      self._drawn[state] = self._seen[self._rng.integers(len(self._seen))]
    other = self._drawn[state]
    scores = [float(other.get(x, 0.0)) for x in query.candidates]
    return types.Reply(tuple(scores), raw='shuffled')
