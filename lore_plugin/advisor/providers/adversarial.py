"""The opposite of good advice. A control: what does bad advice cost?"""

from typing import Any

from .. import types
from . import scripted


class Adversarial(types.Provider):
  """Negates the scores of `scripted`. Free, and deterministic."""

  name = 'adversarial'
  model = 'negated-rules-1'

  def __init__(self, config: Any = None, seed: int = 0):
    del config, seed

  def ask(self, query: types.Query) -> types.Reply:
    scores = -scripted.score(query)
    return types.Reply(tuple(scores.tolist()), raw='adversarial')
