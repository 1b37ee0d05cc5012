"""Whether advice helps or does harm: a test that may look at any time.

The arm of each unit of comparison is drawn with a known probability, so what
was drawn tells nothing but what the arm did. A gambler bets on each unit that
advice helps, another that it does harm. Both begin with 1; where advice makes
no difference neither gains on average, whatever the agent learns meanwhile,
and the chance that one of them ever owns 1 / ALPHA is at most ALPHA (Ville's
inequality). So there is a look after every unit and nothing to correct for.

  outcome  rank of the return among the last ones, known before the unit began:
           bounded, and without a scale that an outlier could spoil
  bet      on the difference of the arms, each outcome weighted by how likely
           its arm was to be drawn, in several stakes
  order    that of the beginnings; what takes long is waited for. By their ends
           the arm that succeeds sooner would be counted first
  money    half is there from the first unit on, the rest is laid out bit by
           bit, so that what changes late is found as well

Source: Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro 2024,
Anytime-valid off-policy inference for contextual bandits (pseudo-outcomes);
Shin, Ramdas and Rinaldo 2024, E-detectors (starting times).
"""

import collections
import dataclasses
import math
from typing import Any

import numpy as np

# Chance that advice without any effect is ever called a help, and the same
# that it is called harmful.
ALPHA = 0.025
SURE = math.log(1 / ALPHA)
# Stakes, as shares of what can be bet without going broke.
STAKES = np.array([0.1, 0.25, 0.5, 0.9])
# Wealth above the threshold, in nats, that is kept. What was proven is taken
# back once so much evidence speaks against it.
ABOVE = 2.0
MOST = math.exp(SURE + ABOVE)
# One over the outcomes that it takes on average, at least, until a fall is
# noticed that was none.
FALSE = 0.05
# Returns among which the next is ranked.
RANKED = 256
# What an outcome takes from the older ones where the arms' means are guessed.
FADE = 0.03
WEIGHTS = (1 - FADE) ** np.arange(RANKED - 1, -1, -1)
# Share of the money that is there from the start, and the units after which
# a half and more of the rest is still to come.
FIRST = 0.5
SPREAD = 100.0
# Units that wait for one that began before them. By then its environment has
# stopped, and it is left out.
WAIT = 8192


@dataclasses.dataclass(slots=True)
class Unit:
  """A unit of comparison that has begun.

  Attributes:
    arm: 1 if it is advised, else 0.
    p: Probability with which it was to be advised, in (0, 1).
    scale: Distinct earlier returns, sorted, and their ranks in [0, 1].
    value: Its return, once it has ended.
    left: Whether it is left out.
  """
  arm: int
  p: float
  scale: tuple[np.ndarray, np.ndarray]
  value: float | None = None
  left: bool = False


class Evidence:
  """Two gamblers, one a side."""

  def __init__(self):
    # Arm and return of what was counted last, in the order of the beginnings.
    self.counted = np.zeros((0, 2))
    # Returns in the order of the ends: all that is known when a unit begins.
    self.known = np.zeros(0)
    self.waiting: collections.deque[Unit] = collections.deque()
    # Money at stake: row 0 that advice helps, row 1 that it does harm.
    self.wealth = np.zeros((2, len(STAKES)))
    self.units = 0
    self._logs = np.zeros(2)
    self._scale: tuple[np.ndarray, np.ndarray] | None = None

  @property
  def shown(self) -> int:
    """1 if advice is shown to help, -1 if to do harm, else 0."""
    helps, harms = self._logs
    return int(helps >= SURE) - int(harms >= SURE)

  def logs(self) -> np.ndarray:
    """Returns log wealth on 'helps' and on 'does harm'. Shape [2]."""
    return self._logs

  def begin(self, arm: int, p: float) -> Unit:
    """Takes note of a unit whose arm was drawn; see `Unit`."""
    assert 0 < p < 1, p
    if self._scale is None:
      self._scale = ranks(self.known)
    unit = Unit(arm, p, self._scale)
    self.waiting.append(unit)
    if len(self.waiting) > WAIT:
      self.waiting[0].left = True
      self._count()
    return unit

  def end(self, unit: Unit, value: float) -> None:
    """Takes in the return of a unit that has ended."""
    unit.value = value
    self.known = np.append(self.known, value)[-RANKED:]
    self._scale = None
    self._count()

  def leave(self, unit: Unit) -> None:
    """Leaves a unit out, for a reason that its arm has nothing to do with."""
    unit.left = True
    self._count()

  def _count(self):
    while self.waiting:
      unit = self.waiting[0]
      if not unit.left:
        if unit.value is None:
          return
        self._bet(unit)
        row = np.array([[unit.arm, unit.value]])
        self.counted = np.concatenate([self.counted, row])[-RANKED:]
      self.waiting.popleft()

  def _bet(self, unit):
    """Lays out a little money, and multiplies what is bet."""
    new = unspent(self.units) - unspent(self.units + 1)
    self.units += 1
    self.wealth += new / len(STAKES)
    if len(unit.scale[0]) > 1:
      self._multiply(unit)
    self._add_up()

  def _add_up(self):
    """Adds up what either gambler owns."""
    self._logs = np.log(self.wealth.sum(1) + unspent(self.units))

  def _multiply(self, unit):
    """Bets on the outcome of a unit."""
    control, advised = self.means(unit.scale)
    # What the next outcome will be, whichever arm it has. Of all guesses known
    # before, each of which is fair, this one lets the money grow fastest.
    guess = unit.p * advised + (1 - unit.p) * control
    outcome = float(rank(np.array([unit.value]), unit.scale)[0])
    gain = pseudo(unit.arm, outcome, unit.p, guess)
    could = [
        pseudo(arm, y, unit.p, guess) for arm in (0, 1) for y in (0.0, 1.0)]
    # Either outcome of one arm loses, so that neither is 0.
    shares = np.array([-gain / min(could), -gain / max(could)])
    self.wealth *= 1 + shares[:, None] * STAKES
    total = self.wealth.sum(1, keepdims=True)
    self.wealth *= np.minimum(1, MOST / total)

  def doubt(self) -> None:
    """Gives up what was won on 'helps', and what outcomes to expect.

    Money may be given up at any time. What is expected of units that wait is
    chosen with a look at them, which is not quite fair; it takes advice that
    was proven before.
    """
    self.counted = self.counted[:0]
    self.wealth[0] *= FIRST / max(FIRST, self.wealth[0].sum())
    self._add_up()

  def means(self, scale: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """Guesses both arms' mean outcome, by what was counted; in [0, 1]."""
    if not len(self.counted):
      return 0.5, 0.5
    arm, value = self.counted.T
    weight = WEIGHTS[-len(arm):]
    outcome = weight * rank(value, scale)
    counts = np.array([weight @ (1 - arm), weight @ arm])
    sums = np.array([outcome @ (1 - arm), outcome @ arm])
    pool = (sums.sum() + 0.5) / (counts.sum() + 1)
    control, advised = (sums + pool) / (counts + 1)
    return float(control), float(advised)

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values, for `load`.

    What has not ended is not part of it, as environments begin anew; what
    has ended is counted without it.
    """
    copy = Evidence()
    copy.counted = self.counted
    copy.wealth, copy.units = self.wealth.copy(), self.units
    for unit in self.waiting:
      copy.waiting.append(
          dataclasses.replace(unit, left=unit.left or unit.value is None))
    copy._count()
    return {
        'counted': copy.counted.tolist(),
        'known': self.known.tolist(), 'wealth': copy.wealth.tolist(),
        'units': copy.units}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called."""
    self.counted = np.array(data['counted'], float).reshape(-1, 2)
    self.known = np.array(data['known'], float)
    self.waiting.clear()
    self._scale = None
    self.wealth = np.array(data['wealth'])
    self.units = data['units']
    self._add_up()


class Fall:
  """Notices soon when outcomes fall below what they were known to reach.

  A gambler bets that they have, and begins anew with 1 whenever that is what
  is left. While they have not, it takes 1 / FALSE outcomes on average, or
  more, until it owns 1 / FALSE.

  Source: Shin, Ramdas and Rinaldo 2024, E-detectors (of CUSUM's kind).

  Attributes:
    since: Outcomes since all stakes began anew.
    total: Their sum.
  """

  def __init__(self):
    self.wealth = np.ones(len(STAKES))
    self.since, self.total = 0, 0.0

  def add(self, value: float, least: float) -> bool:
    """Takes in an outcome. Returns whether they have fallen.

    Args:
      value: The outcome, in [0, 1].
      least: Mean that they have at least if not, in (0, 1), known before.
    """
    gain = (least - value) / (1 - least)
    self.wealth = np.maximum(1, self.wealth) * (1 + STAKES * gain)
    below = (self.wealth > 1).any()
    self.since = self.since + 1 if below else 0
    self.total = self.total + value if below else 0.0
    return bool(self.wealth.mean() >= 1 / FALSE)

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values, for `load`."""
    return {
        'wealth': self.wealth.tolist(), 'since': self.since,
        'total': self.total}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called."""
    self.wealth, self.since = np.array(data['wealth']), data['since']
    self.total = data.get('total', 0.0)


def unspent(units: int) -> float:
  """Money that is not laid out yet after some units, of 1 at the start."""
  return 1.0 if not units else (1 - FIRST) / math.sqrt(1 + units / SPREAD)


def ranks(values: Any) -> tuple[np.ndarray, np.ndarray]:
  """Ranks of distinct values, the middle ones of ties.

  Args:
    values: Any numbers. [N].

  Returns:
    Distinct values, sorted, and their ranks, of which the first is 0 and the
    last is 1. [M], [M], f64.
  """
  distinct, counts = np.unique(
      np.asarray(values, float), return_counts=True)
  if len(distinct) == 1:
    # Failures end late. Until one has, it is 0 that nothing earns.
    distinct, counts = np.unique([0.0, distinct[0]], return_counts=True)
  if len(distinct) < 2:
    return distinct, np.zeros(len(distinct))
  middle = np.cumsum(counts) - counts / 2
  return distinct, (middle - middle[0]) / (middle[-1] - middle[0])


def rank(
    values: np.ndarray, scale: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
  """Ranks values on a scale of earlier ones, between them as halfway.

  Args:
    values: Returns. [N], f64.
    scale: What `ranks` gave, of two values or more.

  Returns:
    Ranks in [0, 1]. [N], f64.
  """
  known, place = scale
  above = np.searchsorted(known, values, 'left')
  below = np.searchsorted(known, values, 'right') - 1
  above, below = np.minimum(above, len(known) - 1), np.maximum(below, 0)
  return (place[above] + place[below]) / 2


def pseudo(arm: int, outcome: float, p: float, guess: float) -> float:
  """Estimate of advised less control, from the outcome of either.

  Its mean over draws of the arm is the difference itself, whatever is guessed:
  (a - p) / (p (1 - p)) (y - guess). With (1 - p) E[y | advised] + p E[y |
  control] as the guess it is the doubly robust one of least variance. With
  p E[y | advised] + (1 - p) E[y | control], a bet on it is the likelihood
  ratio of two binary outcomes, which no other bet outgrows.

  Args:
    arm: 1 if advised, else 0.
    outcome: In [0, 1].
    p: Probability that it was to be advised, in (0, 1).
    guess: Of the outcome, in [0, 1], known before the arm was drawn.
  """
  return (arm - p) / (p * (1 - p)) * (outcome - guess)
