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


@pytest.mark.parametrize('values, result', [
    ([7], 7), ([1, 2, 6], 3), ([1, 2, 3, 100], 2.5),
    ([8, 7, 6, 5, 4, 3, 2, 1], 4.5)])
def test_iqm_by_hand(values, result):
  assert stats.estimate(values).value == result


def test_interval_of_equal_values_has_no_width():
  x = stats.estimate([0.3] * 10)
  assert x.low == pytest.approx(0.3) == pytest.approx(x.high)


@pytest.mark.parametrize('count', [5, 7, 10])
def test_intervals_cover(count):
  """95 % intervals hold the truth about that often, also from five seeds."""
  rng = np.random.default_rng(0)
  found = [stats.estimate(rng.normal(size=count)) for _ in range(2000)]
  assert 0.92 <= np.mean([x.low <= 0 <= x.high for x in found]) <= 0.97


def test_ratios_cover_where_runs_are_cut_off():
  rng = np.random.default_rng(0)
  hits = []
  for _ in range(1000):
    one, two = (np.maximum(1, rng.normal(9000, 2000, 5)) for _ in range(2))
    x = stats.ratio(one, two, 12_000, reps=10)
    hits.append(x.low <= 1 <= x.high)
  assert 0.93 <= np.mean(hits) <= 0.98


def test_intervals_are_those_of_others():
  """Of scipy: Student's for means, Welch's for two arms, and for pairs."""
  rng = np.random.default_rng(1)
  one, two = rng.normal(size=11), rng.normal(1, 3, size=9)
  x = stats.estimate(one, cut=0.0)
  theirs = scipy.stats.ttest_1samp(one, 0).confidence_interval(0.95)
  assert (x.low, x.high) == pytest.approx(tuple(theirs))
  x = stats.difference(one, two)
  theirs = scipy.stats.ttest_ind(
      one, two, equal_var=False).confidence_interval(0.95)
  assert (x.low, x.high) == pytest.approx(tuple(theirs))
  x = stats.difference(one[:9], two, paired=True)
  theirs = scipy.stats.ttest_rel(one[:9], two).confidence_interval(0.95)
  assert (x.low, x.high) == pytest.approx(tuple(theirs))


def test_intervals_stay_where_values_can_be():
  x = stats.estimate([1.0, 1.0, 0.9, 0.5, 1.0], 0.0, 1.0)
  assert 0 <= x.low <= x.value <= x.high == 1


def test_few_seeds_have_a_range_and_no_interval():
  x = stats.estimate([1.0, 2.0, 4.0])
  assert not x.wide and (x.least, x.most) == (1.0, 4.0)
  assert x.plain() == {
      'value': pytest.approx(7 / 3), 'interval': None, 'seeds': 3,
      'range': [1.0, 4.0]}


def test_three_against_three_can_show_nothing():
  x = stats.difference([1.0, 1.1, 1.2], [5.0, 6.0, 7.0])
  assert x.p == pytest.approx(stats.least_p(3, 3)) == pytest.approx(0.1)
  assert not x.shown


@pytest.mark.parametrize('count, other', [(3, 3), (3, 4), (5, 5), (4, 7)])
def test_the_least_p_is_reached_by_arms_that_are_apart(count, other):
  one, two = np.arange(count) * 1.3, 100 + np.arange(other) ** 1.5
  assert stats.permuted(one, two) == pytest.approx(
      stats.least_p(count, other))


def test_arms_that_agree_do_not_differ():
  x = stats.difference([1.0] * 5, [1.0] * 5)
  assert x.p == 1 and x.value == x.low == x.high == 0


def test_holm_by_hand():
  make = lambda p: stats.Estimate(0, 0, 0, 5, p=p)
  found = stats.holm({k: make(p) for k, p in zip('abcd', (
      0.04, 0.01, 0.03, 0.5))})
  assert [round(x.p, 9) for x in found.values()] == [0.09, 0.04, 0.09, 0.5]
  assert [k for k, x in found.items() if x.shown] == ['b']


@quick
@hypothesis.given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_is_between_none_and_bonferroni(values):
  found = stats.holm({
      i: stats.Estimate(0, 0, 0, 5, p=p) for i, p in enumerate(values)})
  for p, x in zip(values, found.values()):
    assert p <= x.p <= min(1, p * len(values))


def test_what_was_planned_counts_before_it_is_there():
  """Of one arm of four, the verdict is as strict as of the first of four."""
  x = stats.Estimate(0, 0, 0, 5, p=0.01)
  assert stats.holm({'a': x}, planned=4)['a'].p == pytest.approx(0.04)
  assert stats.least_p(5, 5) == pytest.approx(2 / 252)
  # Seven arms of five seeds can show nothing, whatever they do.
  assert stats.least_p(5, 5, planned=7) == pytest.approx(14 / 252)
  assert stats.least_p(3, 3, planned=12) == 1


def test_pairs_that_all_differ_by_the_same_are_shown():
  """Seeds differ more among themselves than any does from its twin."""
  theirs = np.arange(4000.0, 14_000, 1000)
  mine = theirs - 500
  apart = stats.ratio(mine, theirs, 2e4)
  paired = stats.ratio(mine, theirs, 2e4, paired=True)
  assert apart.value == paired.value and not apart.shown and paired.shown
  # All ten signs alike, on either side.
  assert paired.p == pytest.approx(stats.least_p(10, 10, paired=True))
  assert paired.p == pytest.approx(2 / 1024)
  assert apart.low < paired.low < paired.high < 1 < apart.high


def test_a_trimmed_mean_knows_nothing_of_the_seeds_it_cuts_off():
  x = stats.estimate([1.0, 1, 1, 1, 0.14])
  assert x.value == 1 and x.least == 0.14 and not x.wide
  assert stats.estimate([1.0] * 5).wide
  # The means differ, and the interval is of the means.
  x = stats.difference([1.0] * 8 + [0.14] * 2, [1.0] * 10)
  assert x.value == pytest.approx(-0.172) and x.low < x.value < x.high


def test_false_findings_are_rare():
  """Of figures with six arms that are all alike, few show anything."""
  rng = np.random.default_rng(0)
  wrong = 0
  for _ in range(100):
    base = rng.normal(size=5)
    found = stats.holm({
        i: stats.difference(rng.normal(size=5), base) for i in range(6)})
    wrong += any(x.shown for x in found.values())
  assert wrong <= 10


def test_ratio_by_hand():
  x = stats.ratio([2.0, 4.0, 9.0], [4.0, 12.0], limit=8.0)
  assert x.value == pytest.approx((14 / 3) / 6) and not x.wide
  # Whatever happens after the limit changes nothing.
  assert stats.ratio([2.0, 4.0, 1e9], [4.0, 8.0], 8.0) == (
      stats.ratio([2.0, 4.0, 9.0], [4.0, 12.0], 8.0))


@quick
@hypothesis.given(
    st.lists(positive, min_size=5, max_size=9),
    st.lists(positive, min_size=5, max_size=9))
def test_a_ratio_turns_around(mine, theirs):
  x = stats.ratio(mine, theirs, 5e5, reps=10)
  y = stats.ratio(theirs, mine, 5e5, reps=10)
  assert x.value * y.value == pytest.approx(1)
  assert x.low * y.high == pytest.approx(1)
  assert x.low <= x.value <= x.high
  # What never arrives can't be slower than this.
  assert x.value <= stats.ceiling(theirs, 5e5) + 1e-9


def test_the_ceiling_of_harm():
  """An arm that never learns, beside one that takes 10 of 12 steps."""
  assert stats.ceiling([10.0] * 3, 12.0) == pytest.approx(1.2)
  assert stats.ratio([12.0] * 3, [10.0] * 3, 12.0).value == (
      pytest.approx(1.2))


@pytest.mark.parametrize('mine, theirs, result', [
    ([1, 3], [2], 0.5), ([2], [2], 0.5), ([2], [9], 1), ([9], [3], 0),
    ([9], [8], 0.5)])
def test_improvement_by_hand(mine, theirs, result):
  assert stats.improvement(mine, theirs, limit=8) == result


def test_seeds_that_are_needed():
  """By simulation: so many seeds find a ratio of 1.3 four times in five."""
  rng = np.random.default_rng(0)
  draw = lambda mean, count: rng.normal(mean, 0.2 * mean, count)
  count = stats.needed(draw(1000, 1000), 1e4)
  found = np.mean([
      stats.permuted(draw(1300, count), draw(1000, count), 300) <= 0.05
      for _ in range(200)])
  assert 0.7 <= found <= 0.95
  # Beyond what can show within the limit, and where all seeds agree.
  assert stats.needed([10.0, 10, 10], 12.0) is None
  assert stats.needed([10.0, 10, 10], 100.0) == 4


def test_what_so_many_seeds_show():
  """By simulation: four times in five."""
  rng = np.random.default_rng(0)
  gap = stats.deviations() * math.sqrt(2 / 10)
  found = np.mean([
      stats.permuted(rng.normal(gap, 1, 10), rng.normal(size=10), 300) <= 0.05
      for _ in range(200)])
  assert 0.7 <= found <= 0.9
  assert stats.deviations() == pytest.approx(1.95996 + 0.84162, abs=1e-4)
  assert stats.deviations(5) == pytest.approx(2.57583 + 0.84162, abs=1e-4)


def test_profile_by_hand():
  share, low, high = stats.profile(
      [2, 4, 6, 6], [True, True, True, False], [0, 2, 5, 6])
  np.testing.assert_allclose(share, [0, 0.25, 0.5, 0.75])
  assert (low[1:] <= share[1:]).all() and (share[1:] <= high[1:]).all()
  # A run that ended early counts as long as it was there.
  share, _, _ = stats.profile([2, 3, 5], [True, False, True], [2, 5])
  np.testing.assert_allclose(share, [1 / 3, 1])
  share, low, _ = stats.profile([5, 5], [False, False], [0, 5])
  np.testing.assert_array_equal(share, [0, 0])
  assert np.isnan(low).all()


@quick
@hypothesis.given(st.lists(
    st.tuples(positive, st.booleans()), min_size=1, max_size=9))
def test_restricted_means_are_areas(pairs):
  """Under Kaplan's and Meier's curve, as far as all runs go."""
  values, reached = zip(*pairs)
  limit = min([x for x, y in pairs if not y], default=max(values))
  at = np.unique([0, *[min(x, limit) for x in values], limit])
  share, _, _ = stats.profile(values, reached, at)
  area = ((1 - share)[:-1] * np.diff(at)).sum()
  assert stats.restricted(values, limit).value == pytest.approx(area)


def test_curve_skips_windows_without_episodes():
  rates = np.array([[np.nan, 0.0, 1.0]] + [[np.nan, 1.0, 1.0]] * 4)
  middle, low, high = stats.curve(rates)
  np.testing.assert_array_equal(middle, [np.nan, 1.0, 1.0])
  # The middle three agree in the second window, all five in the third.
  assert np.isnan(low[:2]).all() and low[2] == high[2] == 1


def test_same_values_same_result():
  one, two = np.random.default_rng(1).normal(size=(2, 10))
  assert stats.difference(one, two) == stats.difference(one, two)
