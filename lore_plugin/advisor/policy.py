"""When the advisor may be asked: `allow_call(s)` of the method.

What is already known costs nothing and isn't asked here; the caps on calls,
tokens and money are kept by the ledger, which all processes share. The parts
here are of two kinds, each switched off by its value in `Limits`:

  vetoes      cooldown, learned: a call too soon, or in vain, as the prior
              network knows the answer
  conditions  macro, novelty, plateau, surprise, uncertainty: reasons to ask,
              of which all that are set must hold

A veto, or the first condition that failed, names why there was no call; the
conditions that held name why there was one.

Everything is counted in environment steps and episodes, never in seconds, so
that the same run asks at the same steps.
"""

import dataclasses
import math

# Of the running means of return and temporal-difference error.
RATE = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
  """Tunables of the call policy. The defaults switch every part off.

  Attributes:
    cooldown: Steps between two calls of one environment; 0 is off.
    macro: Whether to ask only at macro boundaries: where an episode begins,
      and where the world names an event.
    novelty: Ask a question during its first n visits only; 0 is off.
    plateau: Ask only if the mean return has not risen for so many episodes;
      0 is off.
    min_td: The least temporal-difference error, in running deviations; 0 is
      off.
    min_u: The least uncertainty u; -10 is off in practice, as u is normalised.
    sure: Do not ask where the prior network is at least so sure of its own
      advice; inf is off.
  """
  cooldown: int = 0
  macro: bool = False
  novelty: int = 0
  plateau: int = 0
  min_td: float = 0.0
  min_u: float = -10.0
  sure: float = math.inf


@dataclasses.dataclass(slots=True)
class Moment:
  """A step of one environment, as the conditions see it.

  Attributes:
    env: Number of the environment.
    u: Uncertainty of the agent.
    boundary: Whether the step crossed a macro boundary.
    question: Name of what would be asked.
  """
  env: int
  u: float
  boundary: bool
  question: str


class CallPolicy:
  """Decides from counters alone, so that it is cheap and reproducible.

  Each step, call `step` for every environment and `meet` for its question,
  then `refuse` where advice is missing, and `asked` where it was asked for.

  Args:
    limits: See `Limits`.

  Attributes:
    reasons: Conditions that held when `refuse` last let a call through; 'new'
      if none is set, so that it was enough that nothing is known.
  """

  def __init__(self, limits: Limits = Limits()):
    self.limits = limits
    self.reasons: tuple[str, ...] = ()
    self._steps: dict[int, int] = {}
    self._ready: dict[int, int] = {}
    self._novelty = Novelty(limits.novelty)
    self._plateau = Plateau(limits.plateau)
    self._surprise = Surprise(limits.min_td)
    # Name of the reason, name of the refusal, and what decides.
    parts = (
        ('macro', 'between', limits.macro, lambda x: x.boundary),
        ('novelty', 'familiar', limits.novelty > 0, self._novelty.holds),
        ('plateau', 'rising', limits.plateau > 0, self._plateau.holds),
        ('surprise', 'expected', limits.min_td > 0, self._surprise.holds),
        ('uncertainty', 'certain', limits.min_u > -10,
         lambda x: x.u >= limits.min_u))
    self._conditions = [
        (reason, refusal, holds) for reason, refusal, on, holds in parts if on]

  def step(
      self, env: int, reward: float = 0.0, is_first: bool = False,
      is_last: bool = False, td: float | None = None) -> None:
    """Takes note of one step of an environment.

    Args:
      env: Its number.
      reward: Reward of the step.
      is_first: Whether an episode begins.
      is_last: Whether it ends.
      td: Temporal-difference error of the step before, or None.
    """
    self._steps[env] = self._steps.get(env, 0) + 1
    self._plateau.step(env, reward, is_first, is_last)
    self._surprise.step(env, td)

  def meet(self, question: str) -> None:
    """Takes note of a visit to a state with that question."""
    self._novelty.meet(question)

  def refuse(
      self, env: int, u: float, boundary: bool = True, question: str = '',
      sure: float = 0.0) -> str:
    """Returns why an environment must not ask now, '' if it may.

    Args:
      env: Its number.
      u: Uncertainty of the agent.
      boundary: Whether the step crossed a macro boundary.
      question: Name of what would be asked.
      sure: How sure the prior network is of its own advice, in [0, 1].
    """
    if self._steps.get(env, 0) < self._ready.get(env, 0):
      return 'cooldown'
    if sure >= self.limits.sure:
      return 'learned'
    moment = Moment(env, u, boundary, question)
    held = []
    for reason, refusal, holds in self._conditions:
      now = holds(moment)
      if now is None:
        continue
      if not now:
        return refusal
      held.append(reason)
    self.reasons = tuple(held) or ('new',)
    return ''

  def asked(self, env: int) -> None:
    """Takes note that a call was made for an environment."""
    self._ready[env] = self._steps.get(env, 0) + self.limits.cooldown

  def save(self) -> dict:
    """Returns the state as plain values, for `load`."""
    return {
        'steps': dict(self._steps), 'ready': dict(self._ready),
        'novelty': self._novelty.save(), 'plateau': self._plateau.save(),
        'surprise': self._surprise.save()}

  def load(self, data: dict) -> None:
    """Goes on where `save` was called."""
    self._steps = dict(data['steps'])
    if 'ready' not in data:
      # Written by version 0.1: of the seats only the cooldown lives on.
      self._ready = {k: x[0] for k, x in data['seats'].items()}
      return
    self._ready = dict(data['ready'])
    self._novelty.load(data['novelty'])
    self._plateau.load(data['plateau'])
    self._surprise.load(data['surprise'])


class Novelty:
  """Holds during the first visits of a question.

  Args:
    visits: How many; 0 counts nothing.
  """

  # Questions whose visits are remembered; the earliest are forgotten.
  LARGEST = 50_000

  def __init__(self, visits: int):
    self.visits = visits
    self._met: dict[str, int] = {}

  def meet(self, question: str) -> None:
    if self.visits:
      # More than one too many need not be told apart.
      self._met[question] = min(
          self._met.get(question, 0) + 1, self.visits + 1)
      if len(self._met) > self.LARGEST:
        del self._met[next(iter(self._met))]

  def holds(self, moment: Moment) -> bool:
    return self._met.get(moment.question, 0) <= self.visits

  def save(self) -> dict:
    return dict(self._met)

  def load(self, data: dict) -> None:
    self._met = dict(data)


class Plateau:
  """Holds where the mean return has not risen for some episodes.

  Args:
    episodes: How many.
  """

  def __init__(self, episodes: int):
    self.episodes = episodes
    self._returns: dict[int, float] = {}
    self._score = None
    self._best = None
    self._since = 0

  def step(
      self, env: int, reward: float, is_first: bool, is_last: bool) -> None:
    if not self.episodes:
      return
    ret = 0.0 if is_first else self._returns.get(env, 0.0)
    self._returns[env] = ret + (float(reward) if math.isfinite(reward) else 0)
    if is_last:
      self._finish(self._returns.pop(env))

  def _finish(self, ret):
    if self._score is None:
      # The first episode tells where the score begins, not that it rises.
      self._score = self._best = ret
      self._since = self.episodes
      return
    self._score += RATE * (ret - self._score)
    # A hundredth of its size, so that noise of the mean is no progress.
    if self._score > self._best + 0.01 * abs(self._best):
      self._best, self._since = self._score, 0
    else:
      self._since += 1

  def holds(self, moment: Moment) -> bool:
    del moment
    return self._score is None or self._since >= self.episodes

  def save(self) -> list:
    return [dict(self._returns), self._score, self._best, self._since]

  def load(self, data: list) -> None:
    self._returns, self._score, self._best, self._since = data
    self._returns = dict(self._returns)


class Surprise:
  """Holds where the temporal-difference error is large for its history.

  Args:
    least: How large, in running deviations; 0 looks at none.
  """

  def __init__(self, least: float):
    self.least = least
    self._spread = 0.0
    self._ratio: dict[int, float] = {}

  def step(self, env: int, td: float | None) -> None:
    if not self.least:
      return
    if td is None or not math.isfinite(td):
      self._ratio.pop(env, None)
      return
    # Judged by the spread so far, so that one outlier does not hide itself.
    size = abs(float(td))
    if self._spread:
      self._ratio[env] = size / self._spread
      square = (1 - RATE) * self._spread ** 2 + RATE * size ** 2
      self._spread = math.sqrt(square)
    else:
      self._ratio[env] = math.inf
      self._spread = size

  def holds(self, moment: Moment) -> bool | None:
    """Returns whether the error is large; None if nobody told it."""
    ratio = self._ratio.get(moment.env)
    return None if ratio is None else ratio >= self.least

  def save(self) -> list:
    return [self._spread, dict(self._ratio)]

  def load(self, data: list) -> None:
    self._spread, ratio = data
    self._ratio = dict(ratio)
