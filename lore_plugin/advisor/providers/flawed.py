"""Rules that are right in a share of the questions. A control of known worth.

Which questions it gets wrong is fixed by the seed and the question's words, so
that it is wrong there always, as a weak model is. The greater the share, the
more questions are right, and none turns wrong. A wrong answer prefers another
choice, drawn in the same way.

  --lore.advisor.provider flawed --lore.advisor.model 0.5
"""

import hashlib
from typing import Any

import numpy as np

from ... import errors
from .. import types
from . import scripted

UNIT = 2 ** 32


class Flawed(types.Provider):
  """Scripted advice, wrong in some questions. Free; fixed by the seed.

  Args:
    config: `model` is the share of questions that are answered rightly, in
      [0, 1]; '' is 0.5.
    seed: Of what is drawn.

  Raises:
    ConfigError: The share is no such number.
  """

  name = 'flawed'

  def __init__(self, config: Any = None, seed: int = 0):
    self.share = share((config or {}).get('model', ''))
    self.seed = int(seed)
    self.model = f'{label(self.share)}seed{self.seed}'

  @classmethod
  def rehearse(cls, config: Any, seed: int) -> None:
    del seed
    share(config.get('model', ''))

  def ask(self, query: types.Query) -> types.Reply:
    scores = scripted.score(query)
    best = int(np.argmax(scores))
    other = mistake(query, best, self.share, self.seed)
    if other is not None:
      scores[[best, other]] = scores[[other, best]]
      if scores[best] == scores[other]:  # The rules had no preference.
        scores[other] += scripted.STRENGTH
    return types.Reply(tuple(scores.tolist()), raw='flawed')


def label(share: float) -> str:
  """Returns how the names of its models begin."""
  return f'rules-1-right-{share:g}-'


def is_named(identity: str, text: str) -> bool:
  """Whether `lore.advisor.model` means an advisor of a file; see `replay`."""
  try:
    return identity.startswith(label(share(text)))
  except errors.ConfigError:
    return False


def mistake(
    query: types.Query, best: int, share: float, seed: int) -> int | None:
  """Returns what is preferred in the place of the best choice.

  Args:
    query: The question; its words and the seed decide, for good.
    best: Number of the best choice.
    share: Share of questions that are answered rightly, in [0, 1].
    seed: Of what is drawn.

  Returns:
    The number of another choice, or None where the answer is right.
  """
  desc = query.description
  text = '\0'.join((str(seed), desc.mission, desc.text, *query.candidates))
  digest = hashlib.sha256(text.encode('utf-8', 'surrogatepass')).digest()
  first, second = (int.from_bytes(digest[i:i + 4], 'little') for i in (0, 4))
  others = [i for i in range(len(query.candidates)) if i != best]
  if first / UNIT < share or not others:
    return None
  return others[second % len(others)]


def share(text: str) -> float:
  """Reads the share of right answers.

  Raises:
    ConfigError: It is no number in [0, 1].
  """
  try:
    value = float(text or 0.5)
  except ValueError:
    value = -1.0
  if not 0 <= value <= 1:
    raise errors.ConfigError(
        f'lore.advisor.model is {text!r}, but of the advisor flawed it is the '
        'share of questions that it answers rightly, from 0 to 1. Type '
        '--lore.advisor.model 0.5.')
  return value
