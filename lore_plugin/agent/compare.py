"""Compares episodes with and without advice: what is known, what is guessed.

Advised episodes are compared with control episodes that ended shortly before
or after them. An agent that learns succeeds today where it failed yesterday,
and the arm that has more of today's episodes would seem to be the better one.
"""

import collections
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import curves

# Episodes apart at which two are a third as comparable as neighbours: fewer
# than an agent takes to learn, more than chance needs to even out.
NEAR = 8
# By how many episodes apart the weight is below what a float can add to 1.
REACH = 37 * NEAR
WEIGHTS = np.exp(-np.abs(np.arange(-REACH, REACH + 1)) / NEAR)
# Share of the returns that may be outliers, one in so many, and how many times
# as far from the middle as the others they lie.
RARE, FAR = 16, 10
# Returns whose spread is a smaller share of their distance to 0 are far off.
NEAR_ZERO = 0.05
SIGNALS = ('states', 'events', 'surprise')
# Stretches of one episode resemble each other, and signals go together: three
# stretches count as two, and signals as if they correlated by a half. Guesses
# that say less than independence would.
STRETCHES_ALIKE = 1.5
SIGNALS_ALIKE = 0.5
# Returns of the greatest variance that join an arm's, see `alike`.
DOUBT = 4.0
# Share of the range below which a mean return is 0.
ROUNDING = 1e-6
# Points at which the posteriors are integrated; a tenth of the deviation of a
# share of twenty episodes apart.
GRID = (np.arange(400) + 0.5) / 400
LOGS = np.log(GRID), np.log1p(-GRID)

# Arm (0 is the control group, 1 is advised), return, length.
Row = tuple[int, float, float]
# Least and greatest return.
Bounds = tuple[float, float]
# Estimate, lower and upper bound.
Interval = tuple[float, float, float]


class Mean(NamedTuple):
  """The mean return of an arm.

  Attributes:
    share: As a share of the range of returns, in [0, 1].
    number: Of how many episodes.
    alike: As how many trials that succeed or fail each of them counts.
  """
  share: float
  number: float
  alike: float = 1.0


# Of the control group, and of advised episodes.
Matched = list[Mean] | None


class Stretches:
  """What steps with or without advice met, older ones fading."""

  def __init__(self, memory: float):
    # An episode has several.
    self.keep = 1 - 1 / memory / 4
    self.count = 0.0
    self.sums = np.zeros(len(SIGNALS))
    self.squares = np.zeros(len(SIGNALS))

  def add(self, values: np.ndarray) -> None:
    """Takes in what one stretch met, in the order of `SIGNALS`."""
    self.count = self.keep * self.count + 1
    self.sums = self.keep * self.sums + values
    self.squares = self.keep * self.squares + np.square(values)

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values, for `load`."""
    return {
        'count': self.count, 'sums': self.sums.tolist(),
        'squares': self.squares.tolist()}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called."""
    self.count = data['count']
    self.sums = np.array(data['sums'])
    self.squares = np.array(data['squares'])


def episodes(
    ended: Sequence[Row], running: Iterable[Row],
    bounds: tuple[float, float], memory: float) -> tuple[Matched, Matched]:
  """Compares the arms by the returns of their episodes.

  Args:
    ended: Finished episodes, in the order of their ends.
    running: Those under way, with what they earned so far.
    bounds: Least and greatest return seen.
    memory: Episodes of each arm that count.

  Returns:
    known: By finished episodes, and by those under way whose return can be
      told from them.
    guess: The same, but what has taken longer than episodes of the other arm
      do counts as what it has earned so far. Advice that ends episodes in a
      few steps would have to wait for the control group's to run out of time.
      Good enough to decide who gets the next episode, and for nothing else.
  """
  late = overdue(ended, running)
  told = lasting(ended, late)
  known = match([*ended, *told], bounds, memory)
  if told == late:
    return known, known
  return known, match([*ended, *late], bounds, memory)


def overdue(ended: Sequence[Row], running: Iterable[Row]) -> list[Row]:
  """Returns what took longer than the last episodes of the other arm did."""
  lengths: list[list[float]] = [[], []]
  for arm, _, length in itertools.islice(reversed(ended), 2 * NEAR):
    lengths[arm].append(length)
  usual = [sum(x) / len(x) if x else math.inf for x in lengths]
  return [x for x in running if x[2] > usual[1 - x[0]]]


def lasting(ended: Sequence[Row], late: Iterable[Row]) -> list[Row]:
  """Returns what runs late and whose return can be told, with that return.

  As the mean of the last episodes of its own arm that took as long or longer.
  An arm of which none did says nothing: such an episode may fail, or take the
  longer way to the same end.
  """
  result = []
  for arm, _, length in late:
    like = list(itertools.islice((
        score for a, score, long in reversed(ended)
        if a == arm and long >= length), NEAR))
    if like:
      result.append((arm, sum(like) / len(like), length))
  return result


def bounds(ended: Sequence[float], late: Sequence[float]) -> Bounds:
  """Returns the range in which returns are compared.

  The least and the greatest that is known, and 0, which is what nothing earns.
  Not 0 where returns are far from it, nor what is both rare and far from all
  others: one return of a thousand times the range would make the rest alike.

  Args:
    ended: Returns of the last segments.
    late: What those under way that take long have earned so far.
  """
  values = np.sort(np.array([*ended, *late], float))
  if not len(values):
    return 0.0, 0.0
  rare, middle = len(values) // RARE, values[len(values) // 2]
  low, high = values[0], values[-1]
  inner = values[rare], values[-1 - rare]
  if inner[0] < inner[1]:
    # How far the inner ones lie from the middle, on the farther side.
    wide = FAR * max(middle - inner[0], inner[1] - middle)
    low, high = max(low, middle - wide), min(high, middle + wide)
  if max(low, -high) * NEAR_ZERO < high - low or low == high:
    low, high = min(low, 0.0), max(high, 0.0)
  return float(low), float(high)


def match(
    rows: Sequence[Row], bounds: tuple[float, float],
    memory: float) -> Matched:
  """Compares episodes with those of the other arm that ended near them.

  Around each end of an episode, the weight of both arms' episodes falls with
  their distance in episodes. There their shares are compared, and the places
  count as much as they tell, n0 n1 / (n0 + n1), the inverse of the variance
  of a difference, newer ones first.

  Args:
    rows: Episodes, in the order of their ends.
    bounds: Least and greatest return seen.
    memory: Episodes of each arm that count.

  Returns:
    The weighted mean of each arm, with Kish's effective number of episodes,
    or None without any to compare.
  """
  low, high = bounds
  if not rows or low == high:
    return None
  arm, score, _ = np.array(rows).T
  if arm.min() == arm.max():
    return None
  share = placed(score, bounds)
  member = np.stack([arm == 0, arm == 1]).astype(float)
  # Each episode counts as one, also near the ends.
  member /= _smooth(np.ones_like(member[:1]))
  near = _smooth(member)
  tells = near[0] * near[1] / np.maximum(1e-9, near.sum(0))
  # As if two equal groups were compared, of this many episodes each.
  newer = np.cumsum(2 * tells[::-1])[::-1] - 2 * tells
  tells = tells * np.exp(-newer / memory)
  weights = member * _smooth(tells / np.maximum(1e-9, near))
  total = weights.sum(1)
  if total.min() < 1e-6:
    return None
  count = np.minimum(np.square(total) / np.square(weights).sum(1), memory)
  shares = (weights * share).sum(1) / total
  spread = (weights * np.square(share - shares[:, None])).sum(1) / total
  return [
      Mean(float(x), float(n), alike(float(x), float(v), float(n)))
      for x, v, n in zip(shares, spread, count)]


def alike(share: float, spread: float, count: float) -> float:
  """As how many trials that succeed or fail a return of an arm counts.

  Such trials have the greatest variance that returns of their mean can have,
  share (1 - share). Where returns are alike fewer of them tell as much. Of few
  returns the variance is hardly known, so that `DOUBT` of the greatest one
  join them.

  Args:
    share: Mean of the returns, in [0, 1].
    spread: Their variance.
    count: Their number.

  Returns:
    1 or more; 1 for returns of 0 and 1.
  """
  most = share * (1 - share)
  # A sum of 0.1 and -0.1 is 0 but for rounding.
  if most < ROUNDING:
    return 1.0
  return max(
      1.0, (count + DOUBT) * most / (count * spread + DOUBT * most))


def newcombe(first: Interval, second: Interval) -> Interval:
  """Returns the difference second - first with its interval.

  Source: Newcombe 1998, Interval estimation for the difference between
  independent proportions, method 10.
  """
  diff = second[0] - first[0]
  below = math.hypot(second[0] - second[1], first[2] - first[0])
  above = math.hypot(second[2] - second[0], first[0] - first[1])
  return diff, diff - below, diff + above


def intervals(
    matched: Matched, deviations: float = 1.959964) -> list[Interval]:
  """Returns each arm's share of the range with its interval, if known."""
  found = []
  for mean in matched or ():
    trials = mean.number * mean.alike
    low, high = curves.wilson(mean.share * trials, trials, deviations)
    found.append((mean.share, low, high))
  return found


def uplift(matched: Matched, extremes: Bounds) -> Interval:
  """Returns the difference of the arms in the unit of returns."""
  spread = extremes[1] - extremes[0]
  arms = intervals(matched)
  if not arms:
    return 0.0, -spread or -1.0, spread or 1.0
  estimate, low, high = newcombe(*arms)
  return spread * estimate, spread * low, spread * high


def earned(returns: Sequence[float], extremes: Bounds) -> float:
  """Sums returns, as shares of their range."""
  if extremes[0] == extremes[1]:
    return 0.0
  return float(placed(returns, extremes).sum())


def placed(returns: Any, extremes: Bounds) -> np.ndarray:
  """Returns returns as shares of their range, which is more than a point.

  Args:
    returns: Any numbers. [N].
    extremes: The range.

  Returns:
    Shares in [0, 1]. [N], f64.
  """
  low, high = extremes
  return np.clip((np.asarray(returns, float) - low) / (high - low), 0, 1)


def keep(ended: collections.deque[Row], advised: int) -> None:
  """Forgets all segments before the last advised ones, so many of them."""
  over = sum(arm for arm, *_ in ended) - advised
  while over > 0:
    over -= ended.popleft()[0]


def save(matched: Matched) -> list[tuple[float, ...]]:
  """Returns means as plain values, for `load`; none of them if not known."""
  return [tuple(x) for x in matched or ()]


def load(data: Sequence[Sequence[float]] | None) -> Matched:
  """Reads what `save` returned, or once was stored without `alike`."""
  return [Mean(*x) for x in data] if data else None


def superior(matched: Matched) -> float:
  """Probability that the advised arm earns more, by Beta posteriors."""
  if not matched:
    return 0.5
  # Jeffreys' prior.
  ctl, adv = (
      _density(share * count + 0.5, (1 - share) * count + 0.5)
      for share, count, _ in matched)
  below = np.cumsum(ctl) - ctl / 2
  return float((adv * below).sum())


def richer(stretches: Sequence[Stretches]) -> float:
  """Probability that advised stretches meet more, by dense signals."""
  counts = [x.count for x in stretches]
  if min(counts) < 2:
    return 0.5
  means = [x.sums / x.count for x in stretches]
  spread = sum(
      x.squares - x.count * np.square(m)
      for x, m in zip(stretches, means)) / sum(counts)
  error = np.sqrt(np.maximum(spread, 0) * STRETCHES_ALIKE * sum(
      1 / x for x in counts))
  told = error > 1e-6
  if not told.any():
    return 0.5
  scores = (means[1] - means[0])[told] / error[told]
  number = len(scores)
  score = scores.sum() / math.sqrt(
      number + number * (number - 1) * SIGNALS_ALIKE)
  # Of a standard normal variable below the score.
  return 0.5 * math.erfc(-score / math.sqrt(2))


def dense(
    stretches: Sequence[Stretches], returns: Sequence[float],
    extremes: Bounds, vain: float) -> float:
  """Log-odds that advice helps, by what stretches met.

  Args:
    stretches: Of the control group, and of advice.
    returns: Of the last segments; what they earned makes this weigh less.
    extremes: The range of returns.
    vain: By how much steps that followed advice make it weigh less, if it
      speaks for advice: who courts these signals may never succeed.
  """
  odds = logit(richer(stretches))
  return odds / (1 + earned(returns, extremes) + (vain if odds > 0 else 0.0))


def logit(p: float) -> float:
  """Returns the log-odds of a probability, at most about 9 either way."""
  p = min(1 - 1e-4, max(1e-4, p))
  return math.log(p / (1 - p))


def _smooth(values):
  """Sums over the last axis, weighted by exp(-distance / NEAR)."""
  # By numpy: scipy.signal does the same, but takes seconds to be imported.
  count = values.shape[-1]
  return np.stack([
      np.convolve(x, WEIGHTS)[REACH:REACH + count] for x in values])


def _density(a, b):
  """Probabilities of a Beta distribution on the grid. Sums to 1."""
  log = (a - 1) * LOGS[0] + (b - 1) * LOGS[1]
  dens = np.exp(log - log.max())
  return dens / dens.sum()
