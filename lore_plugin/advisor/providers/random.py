"""Advice that knows nothing. A control: what does mere noise do?"""

import hashlib
from typing import Any

import numpy as np

from .. import types

SCALE = 4.0  # As far apart as the scripted scores, so that only sense differs.


class Random(types.Provider):
  """Prefers one random candidate, fixed by the seed and the state. Free."""

  name = 'random'
  sees = True  # It looks at nothing, whatever it is shown.

  def __init__(self, config: Any = None, seed: int = 0):
    del config
    self.seed = int(seed)
    # The seed is part of whose advice it is: two seeds share no stored reply.
    self.model = f'uniform-1-seed{self.seed}'

  def ask(self, query: types.Query) -> types.Reply:
    desc = query.description
    text = '\0'.join((
        str(self.seed), query.mode, desc.mission, desc.text,
        *query.candidates))
    digest = hashlib.sha256(text.encode('utf-8', 'surrogatepass')).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], 'little'))
    chosen = rng.integers(len(query.candidates))
    scores = np.zeros(len(query.candidates))
    scores[chosen] = SCALE
    return types.Reply(tuple(scores.tolist()), raw='random')
