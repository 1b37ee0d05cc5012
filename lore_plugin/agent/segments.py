"""Parts of episodes that are compared: when they end, who is drawn.

A segment begins where an episode begins, or where the last one was cut. It
ends with the episode, or once it has lasted several times as long as others
took to succeed: by then it has told what it can tell, and the arm of the rest
is drawn anew. A control episode that runs out of time where advice needs a
few steps would else hold an environment up. When to cut is told from steps
and returns alone, never from the arms.
"""

import collections
import dataclasses
import math
import statistics
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from . import evidence

# Steps of a stretch over which dense signals are counted. Over so many, a
# random policy and an adversary were half a deviation apart.
STRETCH = 32
# How many times as long as others took to succeed a segment may last.
TIMES = 4
# Least and most steps of a segment, whatever is known.
SHORT, LONG = 64, 512
# Successes of which the mean length is taken, and without which none is.
WINS, FEW = 16, 3
# Segments among whose returns the better half is told from the worse.
WIDE = 64
# What a segment takes from the arms' mean lengths.
FADE = 0.1
# Steps of which the arms' shares are counted: some ten episodes that run out
# of time.
RECENT = 2000
# Greatest probability to be advised once something is proven, and until then:
# of few control segments it takes long to tell.
PROVEN, UNPROVEN = 0.99, 0.85
# Steps owed to the control group before it gets a segment out of turn, a short
# one, as its share of steps never fits whole segments. Then the probability to
# be advised is no greater than this.
OWED, PAYS = SHORT, 0.2
# How strongly the chance to be drawn leans against shares that are missed.
LEAN = 0.75


@dataclasses.dataclass(slots=True)
class Episode:
  """An episode, from its first step on.

  Attributes:
    arm: Of its first segment.
    p: Probability with which that was drawn to be advised.
    score: Return so far.
    length: Steps so far.
    changed: Steps after which another arm was drawn, for the first time.
  """
  arm: int
  p: float
  score: float = 0.0
  length: int = 0
  changed: int | None = None


@dataclasses.dataclass(slots=True)
class Segment:
  """A running segment, and what went before it in its episode.

  Attributes:
    arm: 0 for the control group, 1 if it is advised.
    start: Probability that advice helps when the segment began.
    episode: Its episode.
    p: Probability with which it was drawn to be advised.
    unit: What `evidence` knows of it.
    score: Return so far.
    length: Steps so far.
    seen: Names of the states met in this stretch.
    events: Events in this stretch.
    surprise: Sum of the ensemble's disagreement in this stretch.
    fresh: Whether it is the first of its environment in this process, which
      all begin together, so that those that end soon are not like the others;
      or was under way as the gate was opened again. It is not counted where
      falls and lapses are told.
  """
  arm: int
  start: float
  episode: Episode
  p: float = 0.5
  unit: evidence.Unit | None = None
  score: float = 0.0
  length: int = 0
  seen: set = dataclasses.field(default_factory=set)
  events: int = 0
  surprise: float = 0.0
  fresh: bool = False

  def earn(self, reward: float) -> None:
    """Adds a reward, unless it is not finite."""
    if math.isfinite(reward):
      self.score += float(reward)
      self.episode.score += float(reward)

  def count(
      self, state: Hashable, event: bool,
      surprise: float) -> np.ndarray | None:
    """Takes in a step; returns what the stretch met where one ends."""
    self.length += 1
    self.seen.add(state)
    self.events += bool(event)
    self.surprise += float(surprise)
    if self.length % STRETCH:
      return None
    met = np.array([len(self.seen), self.events, self.surprise], float)
    self.seen.clear()
    self.events, self.surprise = 0, 0.0
    return met


class Lengths:
  """How long segments last, and how long those that succeed."""

  def __init__(self):
    # Sum of steps and number of segments of each arm, older ones fading.
    self.steps = [0.0, 0.0]
    self.counts = [0.0, 0.0]
    self.wins: collections.deque[int] = collections.deque(maxlen=WINS)
    self.most = LONG

  def add(self, arm: int, length: int, won: bool) -> None:
    """Takes in a segment that has ended."""
    self.steps[arm] = (1 - FADE) * self.steps[arm] + length
    self.counts[arm] = (1 - FADE) * self.counts[arm] + 1
    if won:
      self.wins.append(length)
      if len(self.wins) >= FEW:
        usual = TIMES * statistics.fmean(self.wins) / STRETCH
        self.most = min(LONG, max(SHORT, round(usual) * STRETCH))

  def means(self) -> tuple[float, float]:
    """Returns the mean length of both arms' segments, leant to each other."""
    pool = (sum(self.steps) + 1) / (sum(self.counts) + 1)
    control, advised = (
        (s + pool) / (n + 1) for s, n in zip(self.steps, self.counts))
    return control, advised

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values, for `load`."""
    return {
        'steps': list(self.steps), 'counts': list(self.counts),
        'wins': list(self.wins), 'most': self.most}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called."""
    self.steps, self.counts = list(data['steps']), list(data['counts'])
    self.wins.clear()
    self.wins.extend(data['wins'])
    self.most = data['most']


class Shares:
  """Which share of the steps is advised, and how likely the next is to be.

  Args:
    control: Least share of steps without advice, in [0, 1).
  """

  def __init__(self, control: float):
    self.control = control
    # Steps taken in each arm, faded so that the share is a recent one.
    self.steps = np.zeros(2)
    # Steps by which the control group is short of its least share.
    self.owed = 0.0

  @property
  def advised(self) -> float:
    """Share of the last steps that were advised."""
    return float(self.steps[1] / max(1e-9, self.steps.sum()))

  def count(self, arm: int) -> None:
    """Takes in a step."""
    self.steps *= 1 - 1 / RECENT
    self.steps[arm] += 1
    # What the control group had too much of yesterday tells nothing about an
    # agent that has learned since, so it is no credit for today.
    self.owed = max(0.0, self.owed + self.control - (0 if arm else 1))

  def chance(
      self, wanted: float, least: float, proven: bool,
      running: Sequence[int], means: tuple[float, float]) -> float:
    """Probability with which the next segment is to be advised.

    Args:
      wanted: Share of the steps that advice is worth.
      least: Share that it gets at least.
      proven: Whether it was shown to help or to do harm.
      running: Arms of the segments under way.
      means: Mean length of control and of advised segments.
    """
    if not self.steps.any():
      # A run begins with advice: whether answers come at all must not wait for
      # a draw. As no other arm is possible, it is no evidence.
      return 1.0
    # Either arm stays possible, or nothing could be told from a draw.
    low, high = least / 8, PROVEN if proven else UNPROVEN
    steps = self.steps.copy()
    for arm in running:
      steps[arm] += 1
    # One control segment at a time pays the debt.
    if self.owed >= OWED and 0 not in running:
      high = min(high, PAYS)
    wanted = min(max(wanted, least), 1 - self.control)
    actual = steps[1] / steps.sum() if steps.sum() else wanted
    return chance(wanted, actual, means, min(low, high), high)


def won(score: float, recent: Sequence[float]) -> bool:
  """Whether a return is among the better half of the last ones.

  Args:
    score: The return.
    recent: The last returns, it among them.
  """
  return bool(score > min(0.0, *recent) and score >= np.median(recent))


def chance(
    wanted: float, actual: float, means: tuple[float, float],
    low: float, high: float) -> float:
  """Probability to be advised that brings about a share of steps.

  By segments, the arm with the longer ones, which is the worse one, would take
  most of the time.

  Args:
    wanted: Share of the steps to be advised, in [0, 1].
    actual: Share of the last steps that were.
    means: Mean length of control and of advised segments.
    low: Least probability.
    high: Greatest probability.
  """
  control, advised = means
  # Not so far that the other arm could hardly be drawn.
  share = min((1 + wanted) / 2, max(
      wanted / 2, wanted + LEAN * (wanted - actual)))
  turns = share * control
  return min(high, max(low, turns / (turns + (1 - share) * advised)))
