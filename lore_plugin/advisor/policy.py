"""When the advisor may be asked: `allow_call(s)` of the method.

What is already known costs nothing and isn't asked here; the caps on calls,
tokens and money are kept by the ledger, which all processes share. Every part
is switched off by its value in `Limits`, and each that is on can refuse:

  cooldown   a call too soon after another
  learned    a call in vain, as the prior network knows the answer
  between    the step crossed no macro boundary
  certain    the agent is not unsure enough

Everything is counted in environment steps, never in seconds, so that the same
run asks at the same steps.
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
  """Tunables of the call policy. The defaults switch every part off.

  Attributes:
    cooldown: Steps between two calls of one environment; 0 is off.
    macro: Whether to ask only at macro boundaries: where an episode begins,
      and where the world names an event.
    min_u: The least uncertainty u; -10 is off in practice, as u is normalised.
    sure: Do not ask where the prior network is at least so sure of its own
      advice; inf is off.
  """
  cooldown: int = 0
  macro: bool = False
  min_u: float = -10.0
  sure: float = math.inf


class CallPolicy:
  """Decides from counters alone, so that it is cheap and reproducible.

  Each step, call `step` for every environment, then `refuse` where advice is
  missing, and `asked` where it was asked for.

  Args:
    limits: See `Limits`.

  Attributes:
    reasons: What speaks for a call that `refuse` lets through; 'new' if it is
      enough that nothing is known.
  """

  def __init__(self, limits: Limits = Limits()):
    self.limits = limits
    self.reasons = tuple(
        reason for reason, on in (
            ('macro', limits.macro), ('uncertainty', limits.min_u > -10))
        if on) or ('new',)
    self._steps: dict[int, int] = {}
    self._ready: dict[int, int] = {}

  def step(self, env: int) -> None:
    """Takes note of one step of the environment of that number."""
    self._steps[env] = self._steps.get(env, 0) + 1

  def refuse(
      self, env: int, u: float, boundary: bool = True,
      sure: float = 0.0) -> str:
    """Returns why an environment must not ask now, '' if it may.

    Args:
      env: Its number.
      u: Uncertainty of the agent.
      boundary: Whether the step crossed a macro boundary.
      sure: How sure the prior network is of its own advice, in [0, 1].
    """
    if self._steps.get(env, 0) < self._ready.get(env, 0):
      return 'cooldown'
    if sure >= self.limits.sure:
      return 'learned'
    if self.limits.macro and not boundary:
      return 'between'
    # Written so that NaN is refused as well.
    if self.limits.min_u > -10 and not u >= self.limits.min_u:
      return 'certain'
    return ''

  def asked(self, env: int) -> None:
    """Takes note that a call was made for an environment."""
    self._ready[env] = self._steps.get(env, 0) + self.limits.cooldown

  def save(self) -> dict:
    """Returns the state as plain values, for `load`."""
    return {'steps': dict(self._steps), 'ready': dict(self._ready)}

  def load(self, data: dict) -> None:
    """Goes on where `save` was called."""
    self._steps = dict(data['steps'])
    if 'ready' in data:
      self._ready = dict(data['ready'])
    else:
      # Written by version 0.1: of the seats only the cooldown lives on.
      self._ready = {k: x[0] for k, x in data['seats'].items()}
