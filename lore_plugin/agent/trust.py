"""Finds out, while training goes on, whether advice helps.

Steps are advised or not: a bandit with two arms, whose unadvised arm is the
control group. Episodes, and segments of those that last, draw their arm (see
`segments`). Four things come of it:

  trust    probability that advised segments do at least as well, which decides
           how many are advised and scales beta
  uplift   how much better they do, with a 95 % interval of one look
  shown    whether they are proven to do better or worse, at any time (see
           `evidence`); the words that people read come from it
  proof    what advice has shown to be possible beyond the agent alone, which
           holds the gate open and draws the actor to the advice
  hope     how clear it is, short of a proof, that advice is better, which
           holds the gate open as well

Returns decide. Until some were earned there is nothing to compare, so dense
signals stand in: how many distinct states and how many events a stretch of
steps met. Their weight falls with the rewards seen, and with the steps that
were spent on advice in vain.

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

from .. import status as progress
from . import compare
from . import evidence
from . import proven as provenlib
from . import segments
from .segments import STRETCH

ARMS = ('control', 'advised')

# Stretches with and without advice that take turns in an advised segment, as
# long as advice is not clearly better.
TURN = 2
# Share of episodes advised against the evidence: after k of them PROBE /
# sqrt(k). What was harmful once is tried again, ever more seldom, so that the
# regret beside bad advice grows with the root of time. Half at the start, when
# nothing is known.
PROBE = 0.5
# Segments kept; many times as many as count.
KEEP = 1024
# Probability that advice helps above which it gets more than its probes, and
# its gate is open. Below it useless advice was followed more and good advice
# hardly more.
CLEAR = 0.8
# Wealth, in nats, from which half the steps go to advice that may help.
HOPE = 1.5
# The same of advice that may do harm: enough to find out.
FEAR = 0.1
# Tells this generator from others of the same seed.
STREAM = 0x7275
# Steps of advice, followed in vain, that halve the weight of dense signals.
VAIN = 512


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
  """Tunables of the trust control.

  Attributes:
    enabled: False advises in every episode, at full beta.
    control: Least share of environment steps spent without advice, in [0, 1).
    memory: Segments of each arm that count, once they are matched, at least
      2. The agent changes as it learns; with 40 it took longer to find out.
  """
  enabled: bool = True
  control: float = 0.1
  memory: float = 20.0


class Trust:
  """Allocates segments to arms and compares them.

  Args:
    settings: See `Settings`.
    seed: Seed of the draws.
  """

  def __init__(self, settings: Settings = Settings(), seed: int = 0):
    self.settings = settings
    # Nobody else may draw the same: arms are drawn apart from what comes of
    # them.
    self.rng = np.random.default_rng((STREAM, seed))
    self.stretches = [compare.Stretches(settings.memory) for _ in ARMS]
    self.evidence = evidence.Evidence()
    self.proven = provenlib.Proven()
    self.lengths = segments.Lengths()
    self.shares = segments.Shares(settings.control)
    # Arm, return and length of the last segments, in the order of their ends.
    self.ended: collections.deque[compare.Row] = collections.deque(
        maxlen=KEEP)
    # Segments of each arm that have ended, or were cut.
    self.episodes = [0, 0]
    # Mean of the matched segments of each arm.
    self.matched: compare.Matched = None
    # The same, with what runs late counted as what it has earned so far.
    self.guess: compare.Matched = None
    # Steps that followed advice.
    self.followed = 0
    self.range = (0.0, 0.0)
    self.running: dict[int, segments.Segment] = {}
    # Environments that have begun since the start of this process.
    self.begun: set[int] = set()
    # What is proven: 1 helps, -1 harms; and since which step.
    self.verdict = (0, 0)
    # The greatest uplift while help was proven, its interval and last step.
    self.best = (0.0, 0.0, 0.0, 0)
    self.taken, self._better = 0, 0.5

  def step(
      self, env: int, state: Hashable, event: bool, reward: float,
      is_first: bool, is_last: bool,
      surprise: float = 0.0) -> tuple[float, segments.Episode | None]:
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
        throughout a segment of the control group, and in every other stretch
        of advised ones until advice is clearly better.
      ended: The `Episode` if it ended with this step, else None.
    """
    if is_first and env in self.running:
      # Its environment began anew.
      self._close(self.running.pop(env), False)
    if env not in self.running:
      self.running[env] = self._begin(None)
      self.running[env].fresh = env not in self.begun
      self.begun.add(env)
    segment = self.running[env]
    episode = segment.episode
    segment.earn(reward)
    if segment.length >= self.lengths.most and not is_last:
      self._close(self.running.pop(env), False)
      self.running[env] = segment = self._begin(episode)
    follow = self._follow(segment)
    self.taken += 1
    self.followed += follow > 0
    episode.length += 1
    self.shares.count(segment.arm)
    met = segment.count(state, event, surprise)
    if met is not None:
      self.stretches[follow > 0].add(met)
      self._judge()
    if is_last:
      self._close(self.running.pop(env), True)
    return follow, episode if is_last else None

  def _begin(self, episode):
    """Draws the arm of a segment; without an episode one begins as well."""
    p = self._chance()
    arm = int(self.rng.random() < p)
    if episode is None:
      episode = segments.Episode(arm, p)
    elif arm != episode.arm and episode.changed is None:
      episode.changed = episode.length
    unit = self.evidence.begin(arm, p) if p < 1 else None
    return segments.Segment(arm, self._better, episode, p, unit)

  def _close(self, segment, last):
    """Takes note of a segment that ended with its episode, or was cut."""
    score = segment.score
    self.ended.append((segment.arm, score, segment.length))
    recent = [x for _, x, _ in self.ended][-segments.WIDE:]
    self.lengths.add(
        segment.arm, segment.length, last and segments.won(score, recent))
    self.episodes[segment.arm] += 1
    if segment.unit:
      self.evidence.end(segment.unit, score)
    lapses = self.proven.lapses
    if self.settings.enabled and self.proven.ended(
        segment.arm, score, self.range, self._shown, segment.fresh,
        self.gate):
      # From here on arms are compared by what came after the fall.
      self.evidence.doubt()
      compare.keep(self.ended, self.proven.forget(self.taken))
    elif self.proven.lapses > lapses:
      # What is under way began behind a closed gate.
      for other in self.running.values():
        other.fresh = True
    self._judge()

  def _follow(self, segment):
    if not segment.arm or not self.settings.enabled:
      return float(segment.arm)
    # Bad advice may keep an episode from ever succeeding. Taking turns leaves
    # the agent half of it, and good advice enough to show what it is worth.
    turn = segment.length // (STRETCH * TURN)
    if turn % 2 and not self.gate:
      return 0.0
    # What was to be advised is, unless the evidence turns on it meanwhile.
    return min(1.0, self._better / min(segment.start, 0.5))

  @property
  def trust(self) -> float:
    """Scales beta in training. In [0, 1]; 1 as long as harm is not likely."""
    if not self.settings.enabled:
      return 1.0
    return 0.0 if self.evidence.shown < 0 else min(1.0, 2 * self._better)

  @property
  def better(self) -> float:
    """Probability that advised segments do at least as well, in (0, 1)."""
    return self._better

  @property
  def shown(self) -> int:
    """1 if advice is proven to help, -1 if to do harm, else 0; at any time.

    Where the estimate that people read beside says the contrary, 0.
    """
    shown = self._shown
    return shown if shown * self.uplift()[0] > 0 else 0

  @property
  def _shown(self):
    """The same by the evidence alone; after falls, help is believed late."""
    shown = self.evidence.shown
    return shown if self.proven.enough else min(0, shown)

  @property
  def alone(self) -> float:
    """How well the agent does alone now, as a share of the range, in [0, 1].

    Of matched segments of the control group; 0 as long as there are none.
    """
    return self.guess[0].share if self.guess else 0.0

  def uplift(self) -> compare.Interval:
    """Returns how much more an advised segment earns: estimate, low, high.

    In the unit of returns; the interval covers 95 % at one look. Source: see
    `compare.newcombe`, on returns expressed as shares of the range seen, each
    of which counts as some trials that succeed or fail; see `compare.alike`.
    """
    return compare.uplift(self.matched, self.range)

  @property
  def proof(self) -> float:
    """Lower bound on what advice can add, as a share of the range, [0, 1].

    See `Proven.bound`. What runs late counts as what it has earned so far.
    """
    return self.proven.proof

  @property
  def hope(self) -> float:
    """How clear it is that advice is better, in [0, 1].

    A gate that waits for a proof closes on an agent that is sure before it is
    able. 0 where harm is shown, and after a fall until much has come since.
    """
    known = self.settings.enabled and self.proven.enough
    clear = max(0.0, (self._better - CLEAR) / (1 - CLEAR))
    return clear if known and self.evidence.shown >= 0 else 0.0

  @property
  def gate(self) -> float:
    """How far the gate is held open however sure the agent is, in [0, 1]."""
    return max(self.proof, self.hope)

  def stats(self) -> dict[str, float]:
    """Returns what is logged, as floats."""
    estimate, low, high = self.uplift()
    return {
        'trust': self.trust, 'better': self._better, 'proof': self.proof,
        'hope': self.hope, 'uplift': estimate, 'uplift_low': low,
        'uplift_high': high, 'uplift_shown': float(self.shown),
        'falls': float(self.proven.falls),
        'lapses': float(self.proven.lapses),
        **{f'{name}_episodes': float(count)
           for name, count in zip(ARMS, self.episodes)}}

  def describe(self) -> str:
    """Says in words what the comparison shows now, and at its best."""
    control, advised = self.episodes
    shown = self.shown
    now = progress.verdict(
        *self.uplift(), self.verdict[1], shown, (advised, control))
    if min(self.episodes) and not (shown or self.proof):
      now += f', tried in {self.shares.advised:.0%} of the last steps'
    now += self.proven.describe()
    return now if shown > 0 else recall(self.best, now)

  def _chance(self):
    """Probability with which the next segment is to be advised."""
    if not self.settings.enabled:
      return 1.0
    return self.shares.chance(
        self._wanted(), PROBE / math.sqrt(1 + sum(self.episodes)),
        bool(self._shown), [x.arm for x in self.running.values()],
        self.lengths.means())

  def _wanted(self):
    """Share of the steps that advice is worth, beyond its probes."""
    if self.evidence.shown < 0:
      return 0.0
    # Good advice soon makes itself clear. What does not gets no more than its
    # probes, unless it did so before.
    if self.proof:
      return self._better
    # Where the last segments don't show it, all of them may.
    helps, harms = self.evidence.logs() / HOPE
    return max(self.hope, min(0.5, helps / 2), min(FEAR, harms / 2))

  def _judge(self):
    running = [(x.arm, x.score, x.length) for x in self.running.values()]
    late = compare.overdue(self.ended, running)
    self.range = compare.bounds(
        [x for _, x, _ in self.ended], [x for _, x, _ in late])
    self.matched, self.guess = compare.episodes(
        self.ended, running, self.range, self.settings.memory)
    chance = compare.logit(compare.superior(self.guess)) + compare.dense(
        self.stretches, [x for _, x, _ in self.ended], self.range,
        self.followed / VAIN)
    self._better = 1 / (1 + math.exp(-min(9.0, max(-9.0, chance))))
    self.proven.bound(
        self.guess if self.settings.enabled else None, self.range,
        self._shown, self._better, self.hope)
    shown = self.shown
    if shown != self.verdict[0]:
      self.verdict = (shown, self.taken)
    interval = self.uplift()
    if shown > 0 and interval[0] > self.best[0]:
      self.best = (*interval, self.taken)

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values; what runs will begin anew."""
    return {
        'evidence': self.evidence.save(), 'lengths': self.lengths.save(),
        'followed': self.followed, 'rng': self.rng.bit_generator.state,
        'steps': self.shares.steps.tolist(), 'owed': self.shares.owed,
        'stretches': [x.save() for x in self.stretches],
        'ended': [list(x) for x in self.ended], 'episodes': self.episodes,
        'matched': compare.save(self.matched),
        'guess': compare.save(self.guess), 'range': self.range,
        'verdict': self.verdict, 'best': self.best, 'taken': self.taken,
        'better': self._better, 'proof': self.proof,
        'proven': self.proven.save()}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called."""
    self.rng.bit_generator.state = data['rng']
    self.shares.steps = np.array(data['steps'])
    for arm, stored in zip(self.stretches, data['stretches']):
      arm.load(stored)
    self.ended = collections.deque(map(tuple, data['ended']), KEEP)
    self.episodes, self.taken = list(data['episodes']), data['taken']
    self.matched = compare.load(data['matched'])
    self.guess = compare.load(data.get('guess', data['matched']))
    self.range, self.shares.owed = tuple(data['range']), data['owed']
    self.verdict, self.best = tuple(data['verdict']), tuple(data['best'])
    self._better = data['better']
    self.proven.load(data.get('proven', data))
    self.proven.proof = data['proof']
    # Checkpoints of 0.1.0 have none of these.
    self.followed = data.get('followed', 0)
    self.evidence, self.lengths = evidence.Evidence(), segments.Lengths()
    if 'evidence' in data:
      self.evidence.load(data['evidence'])
      self.lengths.load(data['lengths'])
    self.running, self.begun = {}, set()


def recall(best: tuple[float, float, float, int], now: str) -> str:
  """Adds to words on the present what advice was worth at its best.

  Args:
    best: Uplift, its interval, and the last step at which that was so.
    now: The words.
  """
  estimate, low, high, when = best
  if not estimate > 0:
    return now
  return (
      f'helped most at step {when:,}: {estimate:+.2f} [{low:+.2f}, '
      f'{high:+.2f}]; at the end {now}')
