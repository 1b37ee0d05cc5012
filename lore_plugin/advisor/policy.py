"""When the advisor may be asked: `allow_call(s)` of the method.

What is already known costs nothing and isn't asked here; the caps on calls,
tokens and money are kept by the ledger, which all processes share. The parts
here are of two kinds, each switched off by its value in `Limits`:

  vetoes      cooldown, backoff, learned: a call too many, too soon, or in
              vain, as the prior network knows the answer
  conditions  macro, visits, novelty, plateau, surprise, uncertainty: reasons
              to ask; `combine` says whether any or all of them are needed

A veto, or the first condition that failed, names why there was no call; the
conditions that held name why there was one.

Everything is counted in environment steps and episodes, never in seconds, so
that the same run asks at the same steps.
"""

import dataclasses
import math

from .. import errors

COMBINE = ('all', 'any')


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
  """Tunables of the call policy. The defaults switch every part off.

  Attributes:
    cooldown: Steps between two calls of one environment; 0 is off.
    growth: How many times longer the cooldown is after an episode that earned
      reward; >= 1.
    backoff: Steps without calls in a kind of situation where advice was
      followed by an episode without reward; doubles each time, and ends with
      an episode that earned some. 0 is off.
    macro: Whether to ask only at macro boundaries: where an episode begins,
      and where the describer names an event.
    visits: Ask for a state from its n-th visit on: what never returns needs
      no advice. 1 is off.
    novelty: Ask for a state during its first n visits only; 0 is off.
    plateau: Ask only if the mean return has not risen for so many episodes;
      0 is off.
    min_td: The least temporal-difference error, in running deviations; 0 is
      off.
    min_u: The least uncertainty u; -10 is off in practice, as u is normalised.
    combine: 'all' if every condition must hold, 'any' if one is enough.
    sure: Do not ask where the prior network is at least so sure of its own
      advice; inf is off.
  """
  cooldown: int = 0
  growth: float = 1.0
  backoff: int = 0
  macro: bool = False
  visits: int = 1
  novelty: int = 0
  plateau: int = 0
  min_td: float = 0.0
  min_u: float = -10.0
  combine: str = 'all'
  sure: float = math.inf


@dataclasses.dataclass(slots=True)
class Seat:
  """What is remembered of one environment.

  Attributes:
    ready: Step from which it may ask.
    earned: Whether the last finished episode earned reward.
    ret: Return of the running episode.
    kinds: Situations in which this episode was given new advice.
  """
  ready: int = 0
  earned: bool = False
  ret: float = 0.0
  kinds: set = dataclasses.field(default_factory=set)


class CallPolicy:
  """Decides from counters alone, so that it is cheap and reproducible.

  Each step, call `step` for every environment, then `refuse` where advice is
  missing, and `asked` where it was asked for.

  Args:
    limits: See `Limits`.

  Attributes:
    reasons: Conditions that held when `refuse` last let a call through; 'new'
      if none is set, so that it was enough that nothing is known.
  """

  RATE = 0.1  # Of the running means of return and TD error.
  LONGEST = 16  # Doublings of the back-off.

  def __init__(self, limits=Limits()):
    errors.choose(
        limits.combine, COMBINE, 'value in lore.advisor.policy.combine:')
    self.limits = limits
    self.steps = {}
    self.seats = {}
    self.situations = {}
    self.score = None
    self.best = None
    self.since = 0
    self.spread = 0.0
    self.td = {}
    self.reasons = ()

  def step(self, env, reward=0.0, is_first=False, is_last=False, td=None):
    """Takes note of one step of an environment.

    Args:
      env: Its number.
      reward: Reward of the step.
      is_first: Whether an episode begins.
      is_last: Whether it ends.
      td: Temporal-difference error of the step before, or None.
    """
    seat = self.seats.setdefault(env, Seat())
    self.steps[env] = self.steps.get(env, 0) + 1
    if is_first:
      seat.ret = 0.0
      seat.kinds.clear()
    if math.isfinite(reward):
      seat.ret += float(reward)
    if td is None or not math.isfinite(td):
      self.td.pop(env, None)
    else:
      # Judged by the spread so far, so that one outlier does not hide itself.
      size = abs(float(td))
      self.td[env] = size / self.spread if self.spread else math.inf
      if self.spread:
        square = (1 - self.RATE) * self.spread ** 2 + self.RATE * size ** 2
        self.spread = math.sqrt(square)
      else:
        self.spread = size
    if is_last:
      self._finish(seat, self.steps[env])

  def _finish(self, seat, now):
    seat.earned = seat.ret > 0
    for kind in seat.kinds:
      if seat.earned:
        self.situations.pop(kind, None)
      else:
        times = min(self.situations.get(kind, (0, 0))[0] + 1, self.LONGEST)
        wait = self.limits.backoff * 2 ** (times - 1)
        self.situations[kind] = (times, now + wait)
    seat.kinds.clear()
    if self.score is None:
      self.score = seat.ret
    else:
      self.score += self.RATE * (seat.ret - self.score)
    # A hundredth of its size, so that noise of the mean is no progress.
    if self.best is None:
      # The first episode tells where the score begins, not that it rises.
      self.best = self.score
      self.since = self.limits.plateau
    elif self.score > self.best + 0.01 * abs(self.best):
      self.best = self.score
      self.since = 0
    else:
      self.since += 1

  def refuse(
      self, env, u, visits=1, boundary=True, kind=None, sure=0.0):
    """Returns why an environment must not ask now, '' if it may.

    Args:
      env: Its number.
      u: Uncertainty of the agent.
      visits: How often this state was met, this time included.
      boundary: Whether the step crossed a macro boundary.
      kind: The kind of situation, for the back-off; hashable.
      sure: How sure the prior network is of its own advice, in [0, 1].
    """
    limits = self.limits
    now = self.steps.get(env, 0)
    seat = self.seats.get(env)
    if seat and now < seat.ready:
      return 'cooldown'
    if limits.backoff and now < self.situations.get(kind, (0, 0))[1]:
      return 'backoff'
    if sure >= limits.sure:
      return 'learned'
    parts = []
    if limits.macro:
      parts.append(('macro', 'between', boundary))
    if limits.visits > 1:
      parts.append(('visits', 'rare', visits >= limits.visits))
    if limits.novelty > 0:
      parts.append(('novelty', 'familiar', visits <= limits.novelty))
    if limits.plateau > 0:
      rising = self.score is not None and self.since < limits.plateau
      parts.append(('plateau', 'rising', not rising))
    if limits.min_td > 0 and env in self.td:
      parts.append(('surprise', 'expected', self.td[env] >= limits.min_td))
    if limits.min_u > -10:
      parts.append(('uncertainty', 'certain', u >= limits.min_u))
    failed = [refusal for _, refusal, holds in parts if not holds]
    if failed and (limits.combine == 'all' or len(failed) == len(parts)):
      return failed[0]
    self.reasons = tuple(x for x, _, holds in parts if holds) or ('new',)
    return ''

  def asked(self, env, kind=None):
    """Takes note that a call was made for an environment."""
    seat = self.seats.setdefault(env, Seat())
    wait = self.limits.cooldown
    if seat.earned:
      wait = round(wait * self.limits.growth)
    seat.ready = self.steps.get(env, 0) + wait
    if self.limits.backoff:
      seat.kinds.add(kind)

  def save(self):
    """Returns the state as plain values, for `load`."""
    return {
        'steps': dict(self.steps), 'td': dict(self.td),
        'seats': {
            env: (x.ready, x.earned, x.ret, sorted(x.kinds))
            for env, x in self.seats.items()},
        'situations': list(self.situations.items()),
        'means': (self.score, self.best, self.since, self.spread)}

  def load(self, data):
    """Goes on where `save` was called."""
    self.steps = dict(data['steps'])
    self.td = dict(data['td'])
    self.seats = {
        env: Seat(ready, earned, ret, {freeze(x) for x in kinds})
        for env, (ready, earned, ret, kinds) in data['seats'].items()}
    self.situations = {
        freeze(kind): tuple(value) for kind, value in data['situations']}
    self.score, self.best, self.since, self.spread = data['means']

  def forget(self, env):
    """Drops what is remembered of an environment that is gone."""
    for items in (self.steps, self.seats, self.td):
      items.pop(env, None)


def freeze(value):
  """Returns a value with tuples for its lists, which storing may have made."""
  if isinstance(value, (list, tuple)):
    return tuple(freeze(x) for x in value)
  return value
