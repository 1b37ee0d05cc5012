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

import collections
import dataclasses
import math
from collections.abc import Hashable
from typing import Any

import numpy as np

from .. import curves
from .. import status as progress
from . import compare

ARMS = ('control', 'advised')

# Steps of a stretch over which dense signals are counted. Over so many, a
# random policy and an adversary were half a deviation apart.
STRETCH = 32
# Stretches with and without advice that take turns in an advised episode, as
# long as advice is not proven to help.
TURN = 2
# Share of episodes advised against the evidence: after k of them PROBE /
# sqrt(k). What was harmful once is tried again, ever more seldom, so that the
# regret beside bad advice grows with the root of time. Half at the start, when
# nothing is known.
PROBE = 0.5
# What an episode takes from the best that was proven, as a share of the range:
# advice that stopped helping is forgotten within some three hundred.
FADE = 0.003
# Steps owed to the control group before it gets an episode out of turn. Some,
# as its share of steps never fits whole episodes.
OWED = 8
# Episodes kept; many times as many as count.
KEEP = 1024
# Steps of which the arms' shares are counted: some ten episodes that run out
# of time.
RECENT = 2000
# Probability that advice helps above which it gets more than its probes. Below
# it useless advice was followed more and good advice hardly more.
CLEAR = 0.8
# Deviations at which advice is proven. There is a look at every episode, and
# of many intervals of 95 % some exclude zero by chance; of three deviations
# one in 49 runs did.
SURE = 3.0
# Episodes of either arm without which nothing is proven: of one, the range of
# returns that was seen is taken for the range that there is.
FEWEST = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
  """Tunables of the trust control.

  Attributes:
    enabled: False advises in every episode, at full beta.
    control: Least share of environment steps spent without advice, in [0, 1).
    memory: Episodes of each arm that count, once they are matched, at least
      2. The agent changes as it learns; with 40 it took longer to find out.
  """
  enabled: bool = True
  control: float = 0.1
  memory: float = 20.0


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

  def __init__(self, settings: Settings = Settings(), seed: int = 0):
    self.settings = settings
    self.rng = np.random.default_rng(seed)
    self.stretches = [compare.Stretches(settings.memory) for _ in ARMS]
    # Arm, return and length of the last episodes, in the order of their ends.
    self.ended: collections.deque[compare.Row] = collections.deque(
        maxlen=KEEP)
    self.episodes = [0, 0]
    # Share of the range and number of the matched episodes of each arm.
    self.matched: compare.Matched = None
    # The same, with what runs late counted as what it has earned so far.
    self.guess: compare.Matched = None
    # Steps taken in each arm, faded so that the share is a recent one.
    self.steps = np.zeros(len(ARMS))
    # Steps by which the control group is short of its least share.
    self.owed = 0.0
    self.range = (0.0, 0.0)
    self.running: dict[int, Episode] = {}
    # What the interval shows: 1 helps, -1 harms; and since which step.
    self.verdict = (0, 0)
    # The proven interval with the greatest lower bound, and its last step.
    self.best = (0.0, 0.0, 0.0, 0)
    self.taken = 0
    self._better = 0.5
    self._proof = 0.0
    self._peak = 0.0

  def step(
      self, env: int, state: Hashable, event: bool, reward: float,
      is_first: bool, is_last: bool,
      surprise: float = 0.0) -> tuple[float, Episode | None]:
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
    self.steps *= 1 - 1 / RECENT
    self.steps[episode.arm] += 1
    # What the control group had too much of yesterday tells nothing about an
    # agent that has learned since, so it is no credit for today.
    self.owed = max(0.0, self.owed + self.settings.control - (
        0 if episode.arm else 1))
    if episode.length % STRETCH == 0:
      self.stretches[follow > 0].add(np.array([
          len(episode.seen), episode.events, episode.surprise], float))
      episode.seen.clear()
      episode.events, episode.surprise = 0, 0.0
      self._judge()
    if is_last:
      self.ended.append((episode.arm, episode.score, episode.length))
      self.episodes[episode.arm] += 1
      low, high = self.range
      self.range = min(low, episode.score), max(high, episode.score)
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

  @property
  def trust(self) -> float:
    """Scales beta in training. In [0, 1]; 1 as long as harm is not likely."""
    return min(1.0, 2 * self._better) if self.settings.enabled else 1.0

  @property
  def better(self) -> float:
    """Probability that advised episodes do at least as well, in (0, 1)."""
    return self._better

  @property
  def alone(self) -> float:
    """How well the agent does alone now, as a share of the range, in [0, 1].

    Of matched episodes of the control group; 0 as long as there are none.
    """
    return self.guess[0][0] if self.guess else 0.0

  def uplift(self) -> compare.Interval:
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
    estimate, low, high = compare.newcombe(*arms)
    return spread * estimate, spread * low, spread * high

  @property
  def proof(self) -> float:
    """Lower bound on what advice can add, as a share of the range, [0, 1].

    The lower bound of the difference, with the advised arm at the best that it
    was shown to reach. Control episodes that run late count as what they have
    earned so far: to learn from good advice can't wait for an agent that is
    lost to run out of time. What is said in words waits, see `uplift`.

    If a closed gate makes advised episodes fail as well, the uplift falls, but
    not what advice was seen to achieve; without that memory the gate would
    never open again.
    """
    return self._proof

  def stats(self) -> dict[str, float]:
    """Returns what is logged, as floats."""
    estimate, low, high = self.uplift()
    return {
        'trust': self.trust, 'better': self._better, 'uplift': estimate,
        'uplift_low': low, 'uplift_high': high,
        'uplift_sure': float(self._shown() != 0), 'proof': self.proof,
        **{f'{name}_episodes': float(count)
           for name, count in zip(ARMS, self.episodes)}}

  def describe(self) -> str:
    """Says in words what the comparison shows now, and at its best."""
    control, advised = self.episodes
    now = progress.verdict(
        *self.uplift(), self.verdict[1], self._shown() != 0,
        (advised, control))
    if min(self.episodes) and not (self.verdict[0] or self._proof):
      share = self.steps[1] / self.steps.sum()
      now += f', tried in {share:.0%} of the last steps'
    estimate, low, high, when = self.best
    if self.verdict[0] > 0 or not low > 0:
      return now
    return (
        f'helped most at step {when:,}: {estimate:+.2f} [{low:+.2f}, '
        f'{high:+.2f}]; at the end {now}')

  def _potential(self):
    arms = self._intervals(matched=self.guess)
    if not self.settings.enabled or not arms:
      return 0.0
    ctl, adv = arms
    # What is not better than the control group achieved nothing, however well
    # it does: the agent may have done that.
    if self._shown(self.guess) > 0:
      self._peak = max(self._peak, adv[1])
    elif self._better < 0.5:
      self._peak = 0.0
    if not self._peak:
      return 0.0
    best = tuple(max(x, self._peak) for x in adv)
    return max(0.0, compare.newcombe(ctl, best)[1])

  def _shown(self, matched=None):
    """Returns 1 if advice is proven to help, -1 to do harm, else 0."""
    matched = matched or self.matched
    if not matched or min(n for _, n in matched) < FEWEST:
      return 0
    _, low, high = compare.newcombe(*self._intervals(SURE, matched))
    return int(low > 0) - int(high < 0)

  def _intervals(self, deviations=1.959964, matched=None):
    """Returns each arm's share of the range with its interval, if known."""
    matched = matched or self.matched
    if not matched:
      return None
    return [
        (share, *curves.wilson(share * count, count, deviations))
        for share, count in matched]

  def _allocate(self):
    if not self.settings.enabled:
      return 1
    least = PROBE / math.sqrt(1 + sum(self.episodes))
    # Good advice soon makes itself clear. What does not gets no more than its
    # probes, unless it did so before.
    wanted = max(
        least, self._better if self._proof
        else (self._better - CLEAR) / (1 - CLEAR))
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
    running = [(x.arm, x.score, x.length) for x in self.running.values()]
    self.matched, self.guess = compare.episodes(
        self.ended, running, self.range, self.settings.memory)
    chance = compare.logit(compare.superior(self.guess))
    low, high = self.range
    earned = 0.0 if low == high else sum(
        (score - low) / (high - low) for _, score, _ in self.ended)
    chance += 1 / (1 + earned) * compare.logit(
        compare.richer(self.stretches))
    self._better = 1 / (1 + math.exp(-min(9.0, max(-9.0, chance))))
    estimate, below, above = self.uplift()
    shown = int(below > 0) - int(above < 0)
    self._proof = self._potential()
    if shown != self.verdict[0]:
      self.verdict = (shown, self.taken)
    # The best of many intervals is above zero by chance sooner or later.
    if below > self.best[1] and self._shown() > 0:
      self.best = (estimate, below, above, self.taken)

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values, for `load`.

    Running episodes are not part of it: environments begin anew.
    """
    return {
        'rng': self.rng.bit_generator.state, 'steps': self.steps.tolist(),
        'stretches': [x.save() for x in self.stretches],
        'ended': [list(x) for x in self.ended],
        'episodes': self.episodes, 'matched': self.matched,
        'guess': self.guess,
        'range': self.range, 'owed': self.owed,
        'verdict': self.verdict, 'best': self.best, 'taken': self.taken,
        'better': self._better, 'proof': self._proof,
        'peak': self._peak}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called."""
    self.rng.bit_generator.state = data['rng']
    self.steps = np.array(data['steps'])
    for arm, stored in zip(self.stretches, data['stretches']):
      arm.load(stored)
    self.ended.clear()
    self.ended.extend(tuple(x) for x in data['ended'])
    self.episodes = list(data['episodes'])
    self.matched = data['matched'] and [tuple(x) for x in data['matched']]
    guess = data.get('guess', data['matched'])
    self.guess = guess and [tuple(x) for x in guess]
    self.range = tuple(data['range'])
    self.owed = data['owed']
    self.verdict = tuple(data['verdict'])
    self.best = tuple(data['best'])
    self.taken = data['taken']
    self._better = data['better']
    self._proof = data['proof']
    self._peak = data['peak']
    self.running = {}
