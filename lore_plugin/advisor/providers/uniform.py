"""Advice that likes all choices alike. The placebo of a language model.

What is left are the ways to the choices, and what experience makes of them.
"""

from typing import Any

from .. import types


class Uniform(types.Provider):
  """Gives each candidate the same score. Free, and deterministic."""

  name = 'uniform'
  model = 'none'
  sees = True  # It looks at nothing, whatever it is shown.

  def __init__(self, config: Any = None, seed: int = 0):
    del config, seed

  def ask(self, query: types.Query) -> types.Reply:
    return types.Reply((0.0,) * len(query.candidates), raw='uniform')
