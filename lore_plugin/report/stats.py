"""Statistics of runs, with the seed as the unit.

A run that did not reach its goal is censored: its time is at least the run's
length, and nothing more is known. Every statistic of times is therefore
computed twice, once with the least time that a censored run can have (its
length) and once with the greatest (infinity). Where both agree the number is
exact. Where they don't, it is a bound, and its interval runs from the lower
end of the first to the upper end of the second.

The definitions of the interquartile mean, of the stratified bootstrap and of
the probability of improvement are those of Agarwal et al. 2021, Deep
reinforcement learning at the edge of the statistical precipice. Their package
rliable, 1.2.0, is not used: it asks for arch below 8, whose newest release
does not import beside statsmodels 0.15, it knows no censoring, and its
bootstrap draws from numpy's global generator, so that a report could not be
repeated. Beside statsmodels 0.14, where it does import, it gave the same point
estimates for uncensored times, and intervals that differed by no more than
those of two seeds of the bootstrap.
"""

import dataclasses
import math

import numpy as np

from .. import status as progress

REPS = 5000
LEVEL = 0.95
# Seeds below which no interval is shown, and below which it is flagged.
FEW, ENOUGH = 3, 10


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
  """A statistic with its interval.

  Attributes:
    low: Lower end of the 95 % interval.
    high: Upper end; inf where censored runs leave it open.
    least: The statistic with censored runs at their length.
    most: The statistic with censored runs at infinity.
    count: Seeds behind it; of the smaller arm where two are compared.
  """
  low: float
  high: float
  least: float
  most: float
  count: int

  @property
  def exact(self):
    """Whether censoring leaves the statistic itself untouched."""
    return self.least == self.most

  def differs(self, null):
    """Whether the interval excludes a value. Never so for a few seeds."""
    return self.wide and (self.low > null or self.high < null)

  @property
  def wide(self):
    """Whether there are seeds enough for an interval to mean anything."""
    return self.count >= FEW

  def plain(self):
    """Returns a dict that JSON can hold; inf and nan become None."""
    tell = lambda x: float(x) if math.isfinite(x) else None
    return {
        'value': tell(self.least) if self.exact else None,
        'at_least': None if self.exact else tell(self.least),
        'interval': [tell(self.low), tell(self.high)] if self.wide else None,
        'seeds': self.count}


def iqm(x, axis=-1):
  """Interquartile mean: without the lowest and the highest quarter.

  A quarter is rounded down, so with fewer than 4 values it is the mean.

  Args:
    x: Values, may hold inf. Shape [..., N], f64, N at least 1.
    axis: The axis of the N values.

  Returns:
    Shape [...], f64; inf where an infinite value is not cut off.
  """
  x = np.sort(np.moveaxis(np.asarray(x, np.float64), axis, -1), -1)
  cut = x.shape[-1] // 4
  return x[..., cut:x.shape[-1] - cut].mean(-1)


def mean(x, axis=-1):
  return np.asarray(x, np.float64).mean(axis)


def resample(count, reps, rng):
  """Draws seeds with replacement. Shape [reps, count], i64."""
  return rng.integers(0, count, (reps, count))


def interval(low, high=None, level=LEVEL):
  """Percentile interval without interpolation, as inf can't be weighed.

  Args:
    low: Bootstrap values for the lower end. Shape [R], f64.
    high: Those for the upper end, if they differ. Shape [R], f64.
    level: Share covered, in (0, 1).
  """
  high = low if high is None else high
  tail = (1 - level) / 2
  return (
      float(np.quantile(low, tail, method='lower')),
      float(np.quantile(high, 1 - tail, method='higher')))


def estimate(values, fn=iqm, reps=REPS, seed=0):
  """Estimates a statistic of one arm.

  Args:
    values: One finite number a seed. Shape [N], f64, N at least 1.
    fn: The statistic, over the last axis.
    reps: Bootstrap repetitions.
    seed: Seed of the bootstrap.
  """
  values = np.asarray(values, np.float64)
  rng = np.random.default_rng(seed)
  drawn = fn(values[resample(len(values), reps, rng)])
  point = float(fn(values))
  return Estimate(*interval(drawn), point, point, len(values))


def difference(values, other, fn=iqm, reps=REPS, seed=0):
  """Estimates fn(values) - fn(other), whose seeds are drawn independently."""
  rng = np.random.default_rng(seed)
  values, other = (np.asarray(x, np.float64) for x in (values, other))
  drawn = [fn(x[resample(len(x), reps, rng)]) for x in (values, other)]
  point = float(fn(values) - fn(other))
  return Estimate(
      *interval(drawn[0] - drawn[1]), point, point,
      min(len(values), len(other)))


def times(values, reached, fn=iqm, reps=REPS, seed=0):
  """Estimates the time until a goal, for example its interquartile mean.

  Args:
    values: Time at which the goal was reached, or for how long the run went
      on without. Shape [N], f64.
    reached: Which of the two. Shape [N], bool.
    fn: The statistic, over the last axis.
    reps: Bootstrap repetitions.
    seed: Seed of the bootstrap.
  """
  least, most = bounds(values, reached)
  rows = resample(len(least), reps, np.random.default_rng(seed))
  return Estimate(
      *interval(fn(least[rows]), fn(most[rows])),
      float(fn(least)), float(fn(most)), len(least))


def ratio(values, reached, others, others_reached, fn=iqm, reps=REPS, seed=0):
  """Estimates the ratio of two arms' times, both above 0; see `times`."""
  rng = np.random.default_rng(seed)
  mine, theirs = bounds(values, reached), bounds(others, others_reached)
  rows = [resample(len(x[0]), reps, rng) for x in (mine, theirs)]
  under = fn(mine[0][rows[0]]) / fn(theirs[1][rows[1]])
  over = fn(mine[1][rows[0]]) / fn(theirs[0][rows[1]])
  return Estimate(
      *interval(under, over), float(fn(mine[0]) / fn(theirs[1])),
      float(fn(mine[1]) / fn(theirs[0])),
      min(len(mine[0]), len(theirs[0])))


def restricted(values, others, limit, reps=REPS, seed=0):
  """Estimates the ratio of two arms' mean times, each up to a limit.

  Source: Royston and Parmar 2013, Restricted mean survival time. What happens
  after the limit does not count, so that censored runs leave nothing open: it
  is the ratio of the steps that were spent before the goal. Runs that would
  have taken much longer draw it towards 1.

  Args:
    values: Times, of censored runs that at which they ended. Shape [N], f64.
    others: Those of the other arm. Shape [M], f64.
    limit: The greatest time that counts; no run may have been censored before.
    reps: Bootstrap repetitions.
    seed: Seed of the bootstrap.
  """
  mine, theirs = (np.minimum(x, limit) for x in (values, others))
  return ratio(
      mine, [True] * len(mine), theirs, [True] * len(theirs), mean, reps,
      seed)


def improvement(
    values, reached, others, others_reached, reps=REPS, seed=0):
  """Estimates the probability that a run reaches the goal before another's.

  Pairs of which it is not known, because the earlier of the two was censored,
  count 0 for the lower end, 1 for the upper end. Ties count one half.
  """
  rng = np.random.default_rng(seed)
  values, others = (np.asarray(x, np.float64) for x in (values, others))
  reached, others_reached = (
      np.asarray(x, bool) for x in (reached, others_reached))
  x, y = values[:, None], others[None]
  a, b = reached[:, None], others_reached[None]
  # Won for certain: reached, and before the other stopped or arrived.
  won = (a & (x < y)) | (a & ~b & (x <= y))
  lost = (b & (y < x)) | (b & ~a & (y <= x))
  tie = a & b & (x == y)
  under = won + 0.5 * tie
  over = 1.0 - lost - 0.5 * tie
  rows = resample(len(values), reps, rng)
  columns = resample(len(others), reps, rng)
  pick = lambda table: np.array([
      table[np.ix_(r, c)].mean() for r, c in zip(rows, columns)])
  return Estimate(
      *interval(pick(under), pick(over)), float(under.mean()),
      float(over.mean()), min(len(values), len(others)))


def bounds(values, reached):
  """Returns least and greatest possible times. Each of shape [N], f64."""
  values = np.asarray(values, np.float64)
  return values, np.where(np.asarray(reached, bool), values, np.inf)


def profile(values, reached, at):
  """Share of runs that reached the goal by a time, with Wilson intervals.

  Times after the end of a censored run are unknown to it, so `at` must not go
  beyond the shortest one.

  Args:
    values: As in `times`. Shape [N], f64.
    reached: As in `times`. Shape [N], bool.
    at: Times to look at. Shape [M], f64.

  Returns:
    Share, lower and upper end. Each of shape [M], f64.
  """
  _, most = bounds(values, reached)
  hits = (most[None] <= np.asarray(at)[:, None]).sum(-1)
  ends = np.array([progress.wilson(int(k), len(most)) for k in hits])
  return hits / len(most), ends[:, 0], ends[:, 1]


def curve(rates, fn=iqm, reps=1000, seed=0):
  """Summarises success by window over seeds.

  Args:
    rates: Success rate of each window; nan where no episode ended. Shape
      [N, W], f64.
    fn: The statistic, over the last axis.
    reps: Bootstrap repetitions.
    seed: Seed of the bootstrap.

  Returns:
    Middle, lower and upper end; nan where no seed has a rate. Each of shape
    [W], f64.
  """
  out = np.full((3, rates.shape[1]), np.nan)
  for k, column in enumerate(rates.T):
    column = column[~np.isnan(column)]
    if len(column):
      x = estimate(column, fn, reps, seed)
      out[:, k] = x.least, x.low, x.high
  return out
