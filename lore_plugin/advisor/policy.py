"""When the advisor may be asked: `allow_call(s)` of the method.

Each part has one question, one counter, and a value that switches it off.
What is already known costs nothing and isn't asked here; the caps on calls,
tokens and money are kept by the ledger, which all processes share.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
  """Tunables of the call policy.

  Attributes:
    cooldown: Environment steps between two calls of one environment; 0 is off.
    min_u: The least uncertainty u at which to ask; -10 is off in practice, as
      u is normalised.
  """
  cooldown: int = 0
  min_u: float = -10.0


class CallPolicy:
  """Decides from counters alone, so that it is cheap and reproducible.

  Args:
    limits: See `Limits`.
  """

  def __init__(self, limits=Limits()):
    self.limits = limits
    self._ready = {}  # Step of each environment from which it may ask.
    self._steps = {}

  def step(self, env):
    """Counts one step of an environment."""
    self._steps[env] = self._steps.get(env, 0) + 1

  def refuse(self, env, u):
    """Returns why an environment must not ask now, '' if it may.

    Args:
      env: Its number.
      u: Uncertainty of the agent in this state.
    """
    if self._steps.get(env, 0) < self._ready.get(env, 0):
      return 'cooldown'
    if not u >= self.limits.min_u:
      return 'certain'
    return ''

  def asked(self, env):
    """Notes that a call was made for an environment."""
    self._ready[env] = self._steps.get(env, 0) + self.limits.cooldown
