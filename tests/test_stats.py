"""Statistics of runs: numbers by hand, and laws."""

import math

import hypothesis
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st

from lore_plugin.report import stats

finite = st.floats(-1e6, 1e6)
positive = st.floats(1, 1e6)
quick = hypothesis.settings(deadline=None, max_examples=40)


def outcomes(least=1, most=12):
  return st.lists(
      st.tuples(positive, st.booleans()), min_size=least, max_size=most)


def split(pairs):
  return [x for x, _ in pairs], [x for _, x in pairs]


@pytest.mark.parametrize('values, result', [
    ([7], 7), ([1, 2, 6], 3), ([1, 2, 3, 100], 2.5),
    ([8, 7, 6, 5, 4, 3, 2, 1], 4.5), ([1, 2, 3, math.inf], 2.5),
    ([1, 2, math.inf, math.inf], math.inf)])
def test_iqm_by_hand(values, result):
  assert stats.iqm(values) == result


@quick
@hypothesis.given(st.lists(finite, min_size=1, max_size=30))
def test_iqm_is_the_trimmed_mean(values):
  np.testing.assert_allclose(
      stats.iqm(values), scipy.stats.trim_mean(values, 0.25),
      rtol=1e-9, atol=1e-6)


def test_interval_of_equal_values_has_no_width():
  x = stats.estimate([0.3] * 10)
  assert x.low == pytest.approx(0.3) == pytest.approx(x.high)
  assert x.exact and x.differs(0.5) and not x.differs(0.3)


def test_interval_covers():
  """95 % intervals from ten seeds hold the truth about that often."""
  rng = np.random.default_rng(0)
  hits = 0
  for k in range(200):
    x = stats.estimate(rng.normal(size=10), reps=400, seed=k)
    hits += x.low <= 0 <= x.high
  assert 0.85 <= hits / 200 <= 0.99


def test_few_seeds_show_nothing():
  assert not stats.difference([1.0, 1.1], [5.0] * 10).differs(0)
  assert stats.difference([1.0, 1.1, 1.2], [5.0] * 10).differs(0)
  assert stats.estimate([1.0, 2.0]).plain()['interval'] is None


def test_times_without_censoring_are_plain():
  x = stats.times([1, 2, 3, 4], [True] * 4)
  y = stats.estimate([1, 2, 3, 4])
  assert (x.least, x.most, x.low, x.high) == (y.least, y.most, y.low, y.high)


def test_censored_runs_that_are_cut_off_leave_the_middle_exact():
  x = stats.times([1, 2, 3, 12], [True, True, True, False])
  assert x.exact and x.least == 2.5
  # But not the interval: they may be drawn more than once.
  assert x.high == math.inf and math.isfinite(x.low)


def test_censored_runs_in_the_middle_give_a_bound():
  x = stats.times([1, 2, 12, 12], [True, True, False, False])
  assert not x.exact and x.least == 7 and x.most == math.inf
  plain = x.plain()
  assert plain['value'] is None and plain['at_least'] == 7
  assert plain['interval'][1] is None


def test_nobody_arrived():
  x = stats.times([12, 12, 12], [False] * 3)
  assert (x.low, x.high, x.least) == (12, math.inf, 12)


def test_ratio_by_hand():
  x = stats.ratio([1, 1, 1], [True] * 3, [4, 4, 4], [True] * 3)
  assert (x.low, x.least, x.most, x.high) == (0.25,) * 4 and x.differs(1)
  # At least 12 / 4, and nothing more is known.
  x = stats.ratio([12] * 3, [False] * 3, [4] * 3, [True] * 3)
  assert (x.low, x.least, x.high) == (3, 3, math.inf) and x.differs(1)
  # At most 4 / 12.
  x = stats.ratio([4] * 3, [True] * 3, [12] * 3, [False] * 3)
  assert (x.low, x.high) == (0, 1 / 3) and x.differs(1)
  # Two unknown times compare to nothing.
  x = stats.ratio([12] * 3, [False] * 3, [12] * 3, [False] * 3)
  assert (x.low, x.high) == (0, math.inf) and not x.differs(1)


@quick
@hypothesis.given(outcomes(), outcomes())
def test_bounds_are_in_order(mine, theirs):
  for x in (
      stats.times(*split(mine), reps=100),
      stats.ratio(*split(mine), *split(theirs), reps=100),
      stats.improvement(*split(mine), *split(theirs), reps=100)):
    assert x.least <= x.most and x.low <= x.high
    assert not math.isnan(x.low + x.least)


@pytest.mark.parametrize('mine, theirs, least, most', [
    ([(1, True), (3, True)], [(2, True)], 0.5, 0.5),
    ([(2, True)], [(2, True)], 0.5, 0.5),
    ([(2, True)], [(5, False)], 1, 1),
    ([(5, True)], [(5, False)], 1, 1),
    ([(5, False)], [(3, True)], 0, 0),
    ([(5, False)], [(7, True)], 0, 1),
    ([(5, False)], [(5, False)], 0, 1)])
def test_improvement_by_hand(mine, theirs, least, most):
  x = stats.improvement(*split(mine), *split(theirs), reps=100)
  assert (x.least, x.most) == (least, most)


@quick
@hypothesis.given(outcomes(), outcomes())
def test_improvement_turns_around(mine, theirs):
  x = stats.improvement(*split(mine), *split(theirs), reps=100)
  y = stats.improvement(*split(theirs), *split(mine), reps=100)
  assert x.least + y.most == pytest.approx(1)
  assert x.most + y.least == pytest.approx(1)


def test_profile_by_hand():
  share, low, high = stats.profile(
      [2, 4, 6, 6], [True, True, True, False], [0, 2, 5, 6])
  np.testing.assert_allclose(share, [0, 0.25, 0.5, 0.75])
  assert (low <= share).all() and (share <= high).all() and high[0] > 0


def test_curve_skips_windows_without_episodes():
  rates = np.array([[np.nan, 0.0, 1.0], [np.nan, 1.0, 1.0]])
  middle, low, high = stats.curve(rates, reps=200)
  np.testing.assert_array_equal(middle, [np.nan, 0.5, 1.0])
  assert np.isnan(low[0]) and low[1] == 0 and high[1] == 1


def test_same_seed_same_interval():
  values = np.random.default_rng(1).normal(size=10)
  assert stats.estimate(values) == stats.estimate(values)


def test_restricted_by_hand():
  x = stats.restricted([2.0, 4.0, 9.0], [4.0, 12.0], limit=8.0, reps=200)
  assert x.exact and x.least == pytest.approx((14 / 3) / 6)
  # Whatever happens after the limit changes nothing.
  other = stats.restricted([2.0, 4.0, 1e9], [4.0, 8.0], limit=8.0, reps=200)
  assert (x.least, x.low, x.high) == (other.least, other.low, other.high)
  assert x.low <= x.least <= x.high < np.inf
