"""Rivals of LoRe that change rewards: advice or doubt is paid for, not taken.

The agent acts as it would alone, and learns from rewards to which something is
added on their way out of the replay. What is compared, logged and evaluated
are the task's own.

  shaping N  look-back advice of N hundredths: an action that is advised has
             that potential, another none, and each step pays the difference
  bonus N    N thousandths times the disagreement of the ensemble, in its own
             mean so far; needs `lore.gate.disagreement`

Sources: Wiewiora, Cottrell and Elkan 2003, Principled methods for advising
reinforcement learning agents; Sekar et al. 2020, Planning to explore via
self-supervised world models, whose ensemble rewards imagined steps, and here
those that were taken.
"""

import contextlib
import functools
from typing import Any

import numpy as np

from .. import errors
from .. import upstream
from ..advisor import ground
from ..agent import advised
from ..agent.columns import PRIOR, VALID
from ..upstream import bases
from . import rivals

# What is added to the reward of a step, in the replay.
EXTRA = 'lore/extra'


class Payer(rivals.Rival):
  """Pays for steps; advice is never followed, and nothing is distilled.

  Attributes:
    discount: Of the agent, in (0, 1).
  """

  discount = 1.0

  @property
  def trust(self) -> float:
    # Nor does the penalty of the KL divergence draw the actor to advice.
    return 0.0

  def follows(self, episode: Any) -> float:
    return rivals.UNFOLLOWED

  def pay(
      self, seat: advised.Seat, first: bool, chosen: bool) -> float:
    """What is added to the reward with which a step arrived.

    Args:
      seat: The environment after the step, with what the ensemble says of it.
      first: Whether an episode begins.
      chosen: Whether the action that is taken next is an advised one.
    """
    raise NotImplementedError


class Shaping(Payer):
  """See the module's text."""

  rule, example = 'shaping', 'shaping 10'

  def __init__(self, *args: Any, **kwargs: Any):
    super().__init__(*args, **kwargs)
    # Potentials of the last two actions, by environment.
    self.last: dict[int, tuple[float, float]] = {}

  def pay(
      self, seat: advised.Seat, first: bool, chosen: bool) -> float:
    before, last = (0.0, 0.0) if first else self.last.get(
        seat.env, (0.0, 0.0))
    self.last[seat.env] = last, self.number / 100 * chosen
    return last - before / self.discount


class Bonus(Payer):
  """See the module's text."""

  rule, example = 'bonus', 'bonus 1'

  def __init__(self, *args: Any, **kwargs: Any):
    super().__init__(*args, **kwargs)
    self.sum, self.count = 0.0, 0

  def pay(
      self, seat: advised.Seat, first: bool, chosen: bool) -> float:
    self.sum, self.count = self.sum + seat.surprise, self.count + 1
    if not self.sum:
      return 0.0
    return self.number / 1000 * seat.surprise * self.count / self.sum

  def save(self) -> dict[str, Any]:
    return {**super().save(), 'sum': self.sum, 'count': self.count}

  def load(self, data: dict[str, Any]) -> None:
    super().load(data)
    # A run may begin from the checkpoint of one with LoRe's trust.
    self.sum, self.count = data.get('sum', 0.0), data.get('count', 0)


class PaidAgent(advised.AdvisedAgent):
  """Adds what a `Payer`, its trust control, pays to the rewards of replay.

  Args:
    discount: Of the agent, in (0, 1).
  """

  trust: Payer

  def __init__(self, discount: float, *args: Any, **kwargs: Any):
    super().__init__(*args, **kwargs)
    self.trust.discount = discount

  def policy(
      self, carry: dict, obs: advised.Arrays,
      mode: str = 'train') -> tuple[dict, advised.Arrays, advised.Arrays]:
    first = obs['is_first']
    carry, acts, outs = super().policy(carry, obs, mode)
    if mode == 'train':
      first_of = ground.foremost(outs[PRIOR])
      chosen = outs[VALID] & first_of[np.arange(len(first_of)), acts[self.key]]
      outs[EXTRA] = np.array([
          self.trust.pay(*x)
          for x in zip(carry['lore'], first, chosen)], np.float32)
    return carry, acts, outs

  def stream(self, st: Any) -> Any:
    def pay(data):
      data = dict(data)
      extra = data.pop(EXTRA)
      return {**data, 'reward': data['reward'] + extra}
    return super().stream(bases.streams.Map(st, pay))


RULES: dict[str, type[rivals.Rival]] = {
    x.rule: x for x in (Shaping, Bonus)}


def read(text: str) -> functools.partial:
  """Returns what makes a rival, of these or those of `rivals`.

  Raises:
    ConfigError: There is no such rule, or its number is none.
  """
  return rivals.read(text, {**rivals.RULES, **RULES})


def made(rule: str, config: Any) -> contextlib.AbstractContextManager[None]:
  """Builds agents that pay meanwhile, if that is a rival's rule.

  Args:
    rule: As `read` takes it; '' for none.
    config: The whole configuration.

  Raises:
    ConfigError: It needs what the configuration has not.
  """
  name = rule.partition(' ')[0]
  if name not in RULES:
    return contextlib.nullcontext()
  if name == Bonus.rule and not config.lore.gate.disagreement:
    raise errors.ConfigError(
        "The rival 'bonus' pays for the disagreement of an ensemble, which "
        'has no weight. Set lore.gate.disagreement to 1.')
  agent = functools.partial(PaidAgent, 1 - 1 / config.agent.horizon)
  return upstream.swapped(advised, AdvisedAgent=agent)
