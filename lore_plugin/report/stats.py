"""Statistics of runs, with the seed as the unit.

A run that did not reach its goal is censored: its time is at least the run's
length, and nothing more is known. Times are therefore cut off at the length of
the shortest run; their mean is the restricted mean (Royston and Parmar 2013),
the area under the Kaplan-Meier curve up to there. It leaves nothing open, but
what happens after the limit does not count: see `ceiling`.

The interquartile mean is that of Agarwal et al. 2021, Deep reinforcement
learning at the edge of the statistical precipice. Their intervals are not:
a percentile bootstrap over 3 or 5 seeds covers 0.75 and 0.89 where 0.95 is
promised. Intervals here are Student's, of trimmed means (Yuen 1974); of five
and ten seeds they cover 0.93 and 0.94 of normal ones, and 0.88 and 0.90 of
lognormal ones, which are very skewed.
For fewer there is none, and the range of the seeds is told; so it is where the
middle seeds agree and others do not, as a trimmed mean knows nothing of those.

Two arms are compared by their means, which a seed that is left behind moves.
Whether they differ is a permutation test, which assumes nothing about the
seeds but that they are alike if the arms are. Where both arms have the same
seeds, and at least ten, signs are flipped within the pairs instead. With 3
against 3 seeds its least p value is 0.10, so that nothing can be shown, and it
is multiplied by the number of arms that were planned.
"""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats

LEVEL = 0.95
# Permutations that are drawn where there are too many to try them all.
REPS = 10_000
# Seeds from which an interval is shown, and below which a warning is.
FEW, ENOUGH = 5, 10
# Share that an interquartile mean cuts off at each end.
QUARTER = 0.25
# One a seed, or a run.
Numbers = Sequence[float] | np.ndarray


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
  """A statistic with its interval.

  Attributes:
    value: The statistic.
    low: Lower end of the 95 % interval; nan where there is none.
    high: Upper end.
    count: Seeds behind it; of the smaller arm where two are compared.
    least: The lowest seed, of one arm; else nan.
    most: The highest seed.
    p: Probability of a difference as large as this by chance, corrected for
      the other arms of the figure after `holm`; nan of one arm.
    error: Standard error where two arms are compared, of a ratio that of its
      logarithm; nan for less than two seeds.
  """
  value: float
  low: float
  high: float
  count: int
  least: float = math.nan
  most: float = math.nan
  p: float = math.nan
  error: float = math.nan

  @property
  def wide(self) -> bool:
    """Whether there are seeds enough for an interval."""
    return not math.isnan(self.low)

  @property
  def shown(self) -> bool:
    """Whether the arms differ, as far as chance goes."""
    return self.p <= 1 - LEVEL

  def plain(self) -> dict:
    """Returns a dict that JSON can hold; nan becomes None."""
    tell = lambda x: float(x) if math.isfinite(x) else None
    out = {
        'value': tell(self.value),
        'interval': [tell(self.low), tell(self.high)] if self.wide else None,
        'seeds': self.count}
    if not math.isnan(self.least):
      out['range'] = [tell(self.least), tell(self.most)]
    if not math.isnan(self.p):
      out['p'] = tell(self.p)
    return out


def estimate(
    values: Numbers, least: float = -math.inf, most: float = math.inf,
    cut: float = QUARTER) -> Estimate:
  """Estimates the trimmed mean of one arm, by default the interquartile mean.

  What is cut off is rounded down, so that of fewer than 4 values the
  interquartile mean is the mean.

  Args:
    values: One finite number a seed. Shape [N], f64, N at least 1.
    least: What no value can be below; so is no interval.
    most: What no value can be above.
    cut: Share to cut off at each end, in [0, 0.5); 0 gives the mean.
  """
  values = np.asarray(values, np.float64)
  count = len(values)
  middle = float(scipy.stats.trim_mean(values, cut))
  low = high = math.nan
  if count >= FEW:
    half = spread(values, cut) * scipy.stats.t.ppf(
        (1 + LEVEL) / 2, kept(count, cut) - 1)
    if half or not np.ptp(values):
      low, high = max(least, middle - half), min(most, middle + half)
  return Estimate(
      middle, float(low), float(high), count, float(values.min()),
      float(values.max()))


def kept(count: int, cut: float = QUARTER) -> int:
  """Returns how many of so many values a trimmed mean is made of."""
  return count - 2 * int(cut * count)


def spread(values: Numbers, cut: float = QUARTER) -> float:
  """Standard error of a trimmed mean, by its winsorised deviation.

  Source: Yuen 1974, The two-sample trimmed t for unequal population variances.
  """
  inner = kept(len(values), cut)
  clipped = np.asarray(scipy.stats.mstats.winsorize(
      np.asarray(values, np.float64), (cut, cut)))
  total = ((clipped - clipped.mean()) ** 2).sum()
  return math.sqrt(total / (inner * (inner - 1))) if inner > 1 else math.nan


def difference(
    values: Numbers, others: Numbers, bound: float = math.inf,
    reps: int = REPS, paired: bool = False) -> Estimate:
  """Estimates mean(values) - mean(others).

  Args:
    values: One finite number a seed. Shape [N], f64.
    others: Those of the other arm. Shape [M], f64.
    bound: What no difference can be beyond.
    reps: Permutations to draw at most.
    paired: Whether both are of the same seeds, in the same order.
  """
  values, others = (np.asarray(x, np.float64) for x in (values, others))
  middle = float(values.mean() - others.mean())
  error, half = welch(values, others, paired)
  low = high = math.nan
  if min(len(values), len(others)) >= FEW:
    low, high = max(-bound, middle - half), min(bound, middle + half)
  return Estimate(
      middle, low, high, min(len(values), len(others)),
      p=permuted(values, others, reps, paired), error=error)


def welch(
    values: np.ndarray, others: np.ndarray,
    paired: bool = False) -> tuple[float, float]:
  """Standard error of a difference of means, and half its interval's width.

  Source: Welch 1947, The generalization of Student's problem; of pairs
  Student's own. nan where a mean of one value has no error.
  """
  if min(len(values), len(others)) < 2:
    return math.nan, math.nan
  if paired:
    error, freedom = spread(values - others, 0.0), len(values) - 1.0
  else:
    one, two = (spread(x, 0.0) ** 2 for x in (values, others))
    error = math.sqrt(one + two)
    freedom = (one + two) ** 2 / (
        one ** 2 / (len(values) - 1) + two ** 2 / (len(others) - 1)
    ) if error else 1.0
  return error, float(error * scipy.stats.t.ppf((1 + LEVEL) / 2, freedom))


def permuted(
    values: np.ndarray, others: np.ndarray, reps: int = REPS,
    paired: bool = False) -> float:
  """The p value of a permutation test of two means, on both sides.

  Every way to split the values into two arms, or to flip pairs, is tried where
  there are no more than `reps`, else so many are drawn, the same ones each
  time.
  """
  if min(len(values), len(others)) < 2 or np.ptp(
      np.concatenate([values, others])) == 0:
    return 1.0
  gap = lambda x, y, axis: abs(x.mean(axis) - y.mean(axis))
  found = scipy.stats.permutation_test(
      (values, others), gap, alternative='greater', n_resamples=reps,
      permutation_type='samples' if paired else 'independent',
      vectorized=True, rng=np.random.default_rng(0))
  return float(found.pvalue)


def restricted(values: Numbers, limit: float) -> Estimate:
  """Estimates the mean time up to a limit.

  Args:
    values: Times, of censored runs that at which they ended. Shape [N], f64.
    limit: The greatest time that counts; no run may have been censored before.
  """
  return estimate(np.minimum(values, limit), 0.0, limit, cut=0.0)


def ratio(
    values: Numbers, others: Numbers, limit: float,
    reps: int = REPS, paired: bool = False) -> Estimate:
  """Estimates the ratio of two arms' restricted mean times.

  The interval is Welch's, of the logarithm.

  Args:
    values: Times, above 0; see `restricted`. Shape [N], f64.
    others: Those of the other arm. Shape [M], f64.
    limit: The greatest time that counts.
    reps: Permutations to draw at most.
    paired: Whether both are of the same seeds, in the same order.
  """
  mine, theirs = (
      np.minimum(np.asarray(x, np.float64), limit) for x in (values, others))
  middle = mine.mean() / theirs.mean()
  low = high = math.nan
  error, half = welch(mine / mine.mean(), theirs / theirs.mean(), paired)
  if min(len(mine), len(theirs)) >= FEW:
    low, high = middle * math.exp(-half), middle * math.exp(half)
  return Estimate(
      float(middle), float(low), float(high), min(len(mine), len(theirs)),
      p=permuted(mine, theirs, reps, paired), error=error)


def ceiling(others: Numbers, limit: float) -> float:
  """The ratio of an arm that never gets there: no harm can show beyond it."""
  return float(limit / np.minimum(others, limit).mean())


def improvement(
    values: Numbers, others: Numbers, limit: float) -> float:
  """Probability that a run gets there before another one; ties are a half.

  The statistic of Mann and Whitney, of times up to a limit.
  """
  mine, theirs = (np.minimum(x, limit) for x in (values, others))
  won = scipy.stats.mannwhitneyu(theirs, mine).statistic
  return float(won / (len(mine) * len(theirs)))


def holm(
    found: Mapping[str, Estimate], planned: int = 0) -> dict[str, Estimate]:
  """Corrects p values for how many comparisons a figure makes.

  Source: Holm 1979, A simple sequentially rejective multiple test procedure.

  Args:
    found: Estimates of one outcome by arm.
    planned: Comparisons that were planned, where more than are there: what is
      said of an arm does not hang on which others have finished.

  Returns:
    The same, with corrected p values.
  """
  out, worst = {}, 0.0
  order = sorted(found, key=lambda k: found[k].p)
  family = max(planned, len(order))
  for rank, key in enumerate(order):
    worst = max(worst, min(1.0, found[key].p * (family - rank)))
    out[key] = dataclasses.replace(found[key], p=worst)
  return {k: out[k] for k in found}


def least_p(
    count: int, other: int, planned: int = 1, paired: bool = False) -> float:
  """The least p value that so many seeds can give, whatever they do.

  Args:
    count: Seeds of the one arm.
    other: Seeds of the other.
    planned: Comparisons that were planned; the smallest p is multiplied by it.
    paired: Whether pairs are flipped.
  """
  if min(count, other) < 2:
    return 1.0
  least = 2 / 2 ** count if paired else (
      (2 if count == other else 1) / math.comb(count + other, count))
  return min(1.0, planned * least)


def deviations(planned: int = 1, power: float = 0.8) -> float:
  """Standard errors that a difference needs, to be shown that often.

  By the normal approximation, at 5 % on both sides over all planned arms.
  """
  return float(
      scipy.stats.norm.ppf(1 - (1 - LEVEL) / 2 / planned)
      + scipy.stats.norm.ppf(power))


def needed(
    values: Numbers, limit: float, effect: float = 1.3,
    planned: int = 1) -> int | None:
  """Seeds an arm that are needed to see a ratio of restricted mean times.

  Args:
    values: Times of the reference. Shape [N], f64, N at least 2.
    limit: The greatest time that counts.
    effect: The ratio.
    planned: Comparisons that were planned.

  Returns:
    So many that it is seen four times in five, and at least so many that it
    can be seen at all; None where it is beyond the `ceiling`.
  """
  if effect >= ceiling(values, limit):
    return None
  cut = np.minimum(np.asarray(values, np.float64), limit)
  z = deviations(planned)
  relative = cut.std(ddof=1) / cut.mean()
  count = max(2, math.ceil(2 * (z * relative / math.log(effect)) ** 2))
  while least_p(count, count, planned) > 1 - LEVEL:
    count += 1
  return count


def profile(
    values: Numbers, reached: Sequence[bool] | np.ndarray, at: Numbers
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Share of runs that reached the goal by a time, as Kaplan and Meier say.

  Args:
    values: Time at which the goal was reached, or for how long the run went
      on without. Shape [N], f64.
    reached: Which of the two. Shape [N], bool.
    at: Times to look at. Shape [M], f64.

  Returns:
    Share, and the lower and the upper end of its 95 % interval (log-log); nan
    where it has none. Each of shape [M], f64.
  """
  values, reached = np.asarray(values, np.float64), np.asarray(reached, bool)
  at = np.asarray(at, np.float64)
  left = scipy.stats.ecdf(scipy.stats.CensoredData(
      uncensored=values[reached], right=values[~reached])).sf
  share = 1 - left.evaluate(at)
  if not reached.any() or len(values) < 2:
    return share, np.full(at.shape, np.nan), np.full(at.shape, np.nan)
  with warnings.catch_warnings():
    # It has no interval where all or none have arrived.
    warnings.simplefilter('ignore', RuntimeWarning)
    band = left.confidence_interval(LEVEL, method='log-log')
  low, high = (1 - x.evaluate(at) for x in (band.high, band.low))
  outside = (share == 0) | (share == 1)
  return share, np.where(outside, np.nan, low), np.where(outside, np.nan, high)


def curve(
    rates: np.ndarray, least: float = 0.0, most: float = 1.0) -> np.ndarray:
  """Summarises what windows came to over seeds.

  Args:
    rates: Mean of each window; nan where no episode ended. Shape [N, W], f64.
    least: What no value can be below.
    most: What no value can be above.

  Returns:
    IQM, lower and upper end of its interval; nan where no seed has a rate, and
    the ends where too few have. Each of shape [W], f64.
  """
  out = np.full((3, rates.shape[1]), np.nan)
  for k, column in enumerate(rates.T):
    column = column[~np.isnan(column)]
    if len(column):
      x = estimate(column, least, most)
      out[:, k] = x.value, x.low, x.high
  return out
