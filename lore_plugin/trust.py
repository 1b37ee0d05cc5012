"""Finds out, while training goes on, whether advice helps.

Each episode is advised or not: a bandit with two arms, whose unadvised arm is
the control group. Three things come of it:

  trust    probability that advised episodes do at least as well, which decides
           how many are advised and scales beta
  uplift   how much better they do, with a 95 % interval, for people to act on
  proof    what advice has shown to be possible beyond the agent alone, which
           holds the gate open and draws the actor to the advice

Returns decide. Until some were earned there is nothing to compare, so dense
signals stand in: how many distinct states and how many events a stretch of
steps met. Their weight falls with the rewards seen.

Everything is counted in steps and episodes, and random draws come from a
generator of its own that is stored with the rest: the same run takes the same
decisions.
"""

import dataclasses
import math

import numpy as np

from . import progress

ARMS = ('control', 'advised')

# Steps of a stretch over which dense signals are counted.
STRETCH = 32
# Stretches with and without advice that take turns in an advised episode, as
# long as advice is not proven to help.
TURN = 2
SIGNALS = ('states', 'events', 'surprise')
# Stretches of one episode resemble each other, and signals go together: three
# stretches count as two, and signals as if they correlated by a half.
ALIKE = 1.5
SIGNALS_ALIKE = 0.5
# How much an advised episode takes from the best that was proven.
FADE = 0.005
# Steps owed to the control group before it gets an episode out of turn.
OWED = 8
# How many times longer an arm's episodes count while only the other has any.
# For ever, and an agent that has learned would be compared with its past.
AGE = 8
# Points at which the posteriors are integrated.
GRID = (np.arange(400) + 0.5) / 400
LOGS = np.log(GRID), np.log1p(-GRID)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
  """Tunables of the trust control.

  Attributes:
    enabled: False advises in every episode, at full beta.
    control: Least share of environment steps spent without advice, in [0, 1).
    probe: Share of episodes advised against the evidence, after k episodes
      probe / sqrt(k): what was harmful once is tried again, ever more seldom.
    memory: Episodes of each arm that count. The agent changes as it learns.
    dense: Weight of the dense signals before the first reward; 0 is off.
    imagined: Weight of what the critic thinks of the advice; 0 is off.
  """
  enabled: bool = True
  control: float = 0.1
  probe: float = 0.5
  memory: float = 20.0
  dense: float = 1.0
  imagined: float = 0.0


class Arm:
  """What is known about the episodes of one arm, older ones fading."""

  def __init__(self, memory):
    self.keep = 1 - 1 / memory
    self.count = 0.0
    self.total = 0.0
    self.episodes = 0
    # Of stretches with or without advice, whatever the episode's arm.
    self.stretches = 0.0
    self.sums = np.zeros(len(SIGNALS))
    self.squares = np.zeros(len(SIGNALS))

  def finish(self, score):
    self.count = self.keep * self.count + 1
    self.total = self.keep * self.total + score
    self.episodes += 1

  def age(self):
    """Takes note of an episode of the other arm: the agent changes with it."""
    keep = 1 - (1 - self.keep) / AGE
    for name in ('count', 'total', 'stretches', 'sums', 'squares'):
      setattr(self, name, keep * getattr(self, name))

  def stretch(self, values):
    # An episode has several.
    keep = 1 - (1 - self.keep) / 4
    self.stretches = keep * self.stretches + 1
    self.sums = keep * self.sums + values
    self.squares = keep * self.squares + np.square(values)

  def save(self):
    return {
        k: v.tolist() if isinstance(v, np.ndarray) else v
        for k, v in vars(self).items() if k != 'keep'}

  def load(self, data):
    for key, value in data.items():
      setattr(self, key, np.array(value) if isinstance(value, list) else value)


@dataclasses.dataclass(slots=True)
class Episode:
  """A running episode.

  Attributes:
    arm: 0 for the control group, 1 if it is advised.
    start: Probability that advice helps when the episode began.
    score: Return so far.
    length: Steps so far.
    seen: Names of the states met in this stretch.
    events: Events in this stretch.
    surprise: Sum of the ensemble's disagreement in this stretch.
  """
  arm: int
  start: float
  score: float = 0.0
  length: int = 0
  seen: set = dataclasses.field(default_factory=set)
  events: int = 0
  surprise: float = 0.0


class Trust:
  """Allocates episodes to arms and compares them.

  Args:
    settings: See `Settings`.
    seed: Seed of the draws.
  """

  def __init__(self, settings=Settings(), seed=0):
    self.settings = settings
    self.rng = np.random.default_rng(seed)
    self.arms = [Arm(settings.memory) for _ in ARMS]
    # Steps taken in each arm, faded so that the share is a recent one.
    self.steps = np.zeros(len(ARMS))
    # Steps by which the control group is short of its least share.
    self.owed = 0.0
    self.range = (0.0, 0.0)
    self.running = {}
    # Running mean and variance of the critic's opinion, once it has one.
    self.opinion = None
    # What the interval shows: 1 helps, -1 harms; and since which step.
    self.verdict = (0, 0)
    # The interval with the greatest lower bound so far, and its last step.
    self.best = (0.0, 0.0, 0.0, 0)
    self.taken = 0
    self._better = 0.5
    self._proof = 0.0
    self._peak = 0.0

  def step(self, env, state, event, reward, is_first, is_last, surprise=0.0):
    """Takes note of one step of an environment.

    Args:
      env: Its number.
      state: Name of the state, hashable.
      event: Whether the step crossed a macro boundary.
      reward: Reward of the step.
      is_first: Whether an episode begins.
      is_last: Whether it ends.
      surprise: Disagreement of the agent's ensemble here, if it has one.

    Returns:
      follow: How far advice is to be followed at this step, in [0, 1]: 0
        throughout an episode of the control group, and in every other stretch
        of advised ones until advice is proven to help.
      ended: The `Episode` if it ended with this step, else None.
    """
    if is_first or env not in self.running:
      self.running[env] = Episode(self._allocate(), self._better)
    episode = self.running[env]
    follow = self._follow(episode)
    self.taken += 1
    episode.score += float(reward) if math.isfinite(reward) else 0.0
    episode.length += 1
    episode.seen.add(state)
    episode.events += bool(event)
    episode.surprise += float(surprise)
    # The share of the last two thousand steps or so.
    self.steps *= 1 - 1 / 2000
    self.steps[episode.arm] += 1
    # What the control group had too much of yesterday tells nothing about an
    # agent that has learned since, so it is no credit for today.
    self.owed = max(0.0, self.owed + self.settings.control - (
        0 if episode.arm else 1))
    if episode.length % STRETCH == 0:
      self.arms[follow > 0].stretch(np.array([
          len(episode.seen), episode.events, episode.surprise], float))
      episode.seen.clear()
      episode.events, episode.surprise = 0, 0.0
      self._judge()
    if is_last:
      self.arms[episode.arm].finish(episode.score)
      self.arms[1 - episode.arm].age()
      low, high = self.range
      self.range = min(low, episode.score), max(high, episode.score)
      if episode.arm:
        self._peak = max(0.0, self._peak - FADE)
      del self.running[env]
      self._judge()
    return follow, episode if is_last else None

  def _follow(self, episode):
    if not episode.arm or not self.settings.enabled:
      return float(episode.arm)
    # Bad advice may keep an episode from ever succeeding. Taking turns leaves
    # the agent half of it, and good advice enough to show what it is worth.
    turn = episode.length // (STRETCH * TURN)
    if turn % 2 and not self.proof:
      return 0.0
    # What was to be advised is, unless the evidence turns on it meanwhile.
    return min(1.0, self._better / min(episode.start, 0.5))

  def hear(self, advantage, error):
    """Takes in what the critic thinks of the advice after an update.

    Args:
      advantage: Mean advantage of the mixed over the agent's own policy, as
        the world model imagines it.
      error: Its standard error.
    """
    if not (math.isfinite(advantage) and error > 0):
      return
    now = np.array([advantage, error ** 2])
    if self.opinion is None:
      self.opinion = now
    self.opinion = 0.9 * self.opinion + 0.1 * now

  @property
  def trust(self):
    """Scales beta in training. In [0, 1]; 1 as long as harm is not likely."""
    return min(1.0, 2 * self._better) if self.settings.enabled else 1.0

  @property
  def better(self):
    """Probability that advised episodes do at least as well, in (0, 1)."""
    return self._better

  def uplift(self):
    """Returns how much more an advised episode earns: estimate, low, high.

    In the unit of returns; the interval covers 95 %. Source: Newcombe 1998,
    Interval estimation for the difference between independent proportions,
    method 10, on returns expressed as shares of the range seen. A share
    varies at most as much as a proportion of the same mean.
    """
    spread = self.range[1] - self.range[0]
    arms = self._intervals()
    if not arms:
      return 0.0, -spread or -1.0, spread or 1.0
    ctl, adv = arms
    diff = adv[0] - ctl[0]
    below = math.hypot(adv[0] - adv[1], ctl[2] - ctl[0])
    above = math.hypot(adv[2] - adv[0], ctl[0] - ctl[1])
    return tuple(spread * x for x in (diff, diff - below, diff + above))

  @property
  def proof(self):
    """Lower bound on what advice can add, as a share of the range, [0, 1].

    The uplift's lower bound, with the advised arm at the best that it was
    shown to reach. If a closed gate makes advised episodes fail as well, the
    uplift falls, but not what advice was seen to achieve; without that memory
    the gate would never open again.
    """
    return self._proof

  def stats(self):
    """Returns what is logged, as floats."""
    estimate, low, high = self.uplift()
    return {
        'trust': self.trust, 'better': self._better, 'uplift': estimate,
        'uplift_low': low, 'uplift_high': high, 'proof': self.proof,
        **{f'{name}_episodes': float(arm.episodes)
           for name, arm in zip(ARMS, self.arms)}}

  def describe(self):
    """Says in words what the comparison shows now, and at its best."""
    now = progress.verdict(*self.uplift(), self.verdict[1])
    estimate, low, high, when = self.best
    if self.verdict[0] > 0 or not low > 0:
      return now
    return (
        f'helped most at step {when:,}: {estimate:+.2f} [{low:+.2f}, '
        f'{high:+.2f}]; at the end {now}')

  def _potential(self):
    arms = self._intervals()
    if not self.settings.enabled or not arms:
      return 0.0
    ctl, adv = arms
    self._peak = max(self._peak, adv[1])
    share, low = max(adv[0], self._peak), max(adv[1], self._peak)
    return max(0.0, share - ctl[0] - math.hypot(share - low, ctl[2] - ctl[0]))

  def _intervals(self):
    """Returns each arm's share of the range with its interval, if known."""
    if self.range[0] == self.range[1] or not all(x.count for x in self.arms):
      return None
    wins = [self._wins(x) for x in self.arms]
    return [
        (n / x.count, *progress.wilson(n, x.count))
        for n, x in zip(wins, self.arms)]

  def _wins(self, arm):
    """Returns how many returns of the highest kind an arm's amount to."""
    low, high = self.range
    if high == low:
      return 0.0
    wins = (arm.total - low * arm.count) / (high - low)
    return min(arm.count, max(0.0, wins))

  def _allocate(self):
    if not self.settings.enabled:
      return 1
    episodes = sum(x.episodes for x in self.arms)
    least = min(0.5, self.settings.probe / math.sqrt(1 + episodes))
    wanted = max(least, self._better)
    running = [
        sum(x.arm == arm for x in self.running.values()) for arm in (0, 1)]
    # One control episode at a time pays the debt.
    if self.owed >= OWED and not running[0]:
      return 0
    # Shares are of steps. By episodes, the arm with the longer ones, which is
    # the worse one, would take most of the time.
    steps = self.steps + running
    total = steps.sum()
    if not total:
      return int(self.rng.random() < wanted)
    return int(steps[1] / total < wanted)

  def _judge(self):
    chance = _logit(self._returns())
    if self.settings.dense:
      earned = sum(self._wins(x) for x in self.arms)
      chance += self.settings.dense / (1 + earned) * _logit(self._signals())
    # Before the first reward the critic makes it up.
    if self.settings.imagined and self.opinion is not None and (
        self.range[1] > self.range[0]):
      mean, variance = self.opinion
      chance += self.settings.imagined * _logit(
          _normal(mean / math.sqrt(variance)))
    self._better = 1 / (1 + math.exp(-min(9.0, max(-9.0, chance))))
    estimate, below, above = self.uplift()
    self._proof = self._potential()
    shown = int(below > 0) - int(above < 0)
    if shown != self.verdict[0]:
      self.verdict = (shown, self.taken)
    if below > self.best[1]:
      self.best = (estimate, below, above, self.taken)

  def _returns(self):
    """Probability that the advised arm earns more, by Beta posteriors."""
    if self.range[0] == self.range[1]:
      return 0.5
    wins = [self._wins(x) for x in self.arms]
    # Jeffreys' prior.
    shapes = [
        (n + 0.5, x.count - n + 0.5) for n, x in zip(wins, self.arms)]
    ctl, adv = (_density(*x) for x in shapes)
    below = np.cumsum(ctl) - ctl / 2
    return float((adv * below).sum())

  def _signals(self):
    """Probability that the advised arm meets more, by dense signals."""
    ctl, adv = self.arms
    if min(ctl.stretches, adv.stretches) < 2:
      return 0.5
    means = [x.sums / x.stretches for x in self.arms]
    spread = sum(
        x.squares - x.stretches * np.square(m)
        for x, m in zip(self.arms, means)) / (ctl.stretches + adv.stretches)
    error = np.sqrt(np.maximum(spread, 0) * ALIKE * (
        1 / ctl.stretches + 1 / adv.stretches))
    told = error > 1e-6
    if not told.any():
      return 0.5
    scores = (means[1] - means[0])[told] / error[told]
    number = len(scores)
    score = scores.sum() / math.sqrt(
        number + number * (number - 1) * SIGNALS_ALIKE)
    return _normal(score)

  def save(self):
    """Returns the state as plain values, for `load`.

    Running episodes are not part of it: environments begin anew.
    """
    return {
        'rng': self.rng.bit_generator.state, 'steps': self.steps.tolist(),
        'arms': [x.save() for x in self.arms], 'range': self.range,
        'owed': self.owed,
        'verdict': self.verdict, 'best': self.best, 'taken': self.taken,
        'better': self._better, 'proof': self._proof,
        'peak': self._peak, 'opinion': None if self.opinion is None
        else self.opinion.tolist()}

  def load(self, data):
    """Goes on where `save` was called."""
    self.rng.bit_generator.state = data['rng']
    self.steps = np.array(data['steps'])
    for arm, stored in zip(self.arms, data['arms']):
      arm.load(stored)
    self.range = tuple(data['range'])
    self.owed = data['owed']
    self.verdict = tuple(data['verdict'])
    self.best = tuple(data['best'])
    self.taken = data['taken']
    self._better = data['better']
    self._proof = data['proof']
    self._peak = data['peak']
    opinion = data['opinion']
    self.opinion = None if opinion is None else np.array(opinion)
    self.running = {}


def _density(a, b):
  """Probabilities of a Beta distribution on the grid. Sums to 1."""
  log = (a - 1) * LOGS[0] + (b - 1) * LOGS[1]
  dens = np.exp(log - log.max())
  return dens / dens.sum()


def _normal(x):
  """Probability of a standard normal variable below x."""
  return 0.5 * math.erfc(-x / math.sqrt(2))


def _logit(p):
  p = min(1 - 1e-4, max(1e-4, p))
  return math.log(p / (1 - p))
