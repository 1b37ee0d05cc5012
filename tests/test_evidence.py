"""A test of advice that may look at any time: laws, and figures by hand."""

import itertools
import json
import math

import numpy as np
import pytest

from lore_plugin.agent import evidence


def feed(test, control, advised, units, seed=0, p=0.5):
  """Draws arms and binary outcomes; returns what was shown after each."""
  rng = np.random.default_rng(seed)
  said = []
  for _ in range(units):
    arm = int(rng.random() < p)
    won = rng.random() < (control, advised)[arm]
    test.end(test.begin(arm, p), float(won))
    said.append(test.shown)
  return said


class TestRanks:

  def test_by_hand(self):
    # Middle ranks 1, 2.5, 4 of 4, between the least and the greatest.
    values, place = evidence.ranks([3.0, 1.0, 2.0, 2.0])
    assert values.tolist() == [1, 2, 3] and place.tolist() == [0, 0.5, 1]
    scale = evidence.ranks([0.0, 0.0, 0.0, 5.0, 9.0])
    # Middle ranks 1.5, 3.5 and 4.5.
    found = evidence.rank(np.array([-1, 0, 2, 5, 7, 9, 99.0]), scale)
    assert np.allclose(found, [0, 0, 1 / 3, 2 / 3, 5 / 6, 1, 1])

  def test_binary_returns_stay_as_they_are(self):
    scale = evidence.ranks([0.0] * 99 + [1.0])
    assert evidence.rank(np.array([0.0, 1.0]), scale).tolist() == [0, 1]

  def test_an_outlier_moves_others_by_one_rank(self):
    plain = evidence.ranks(range(100))
    spoilt = evidence.ranks([*range(99), 1e5])
    values = np.arange(99.0)
    assert np.allclose(
        evidence.rank(values, plain), evidence.rank(values, spoilt))

  def test_neither_offset_nor_scale_matter(self):
    returns = np.random.default_rng(0).normal(size=50)
    one = evidence.rank(returns, evidence.ranks(returns))
    two = evidence.rank(
        1000 - 5 * returns, evidence.ranks(1000 - 5 * returns))
    assert np.allclose(one, 1 - two)

  def test_zero_stands_in_for_failures_that_end_late(self):
    assert evidence.ranks([1.0, 1.0])[0].tolist() == [0, 1]
    assert evidence.ranks([-5.0])[0].tolist() == [-5, 0]
    # Nothing was ever earned, or nothing is known.
    assert len(evidence.ranks([0.0])[0]) == 1
    assert len(evidence.ranks([])[0]) == 0


class TestLaws:

  @pytest.mark.parametrize('p', [0.02, 0.3, 0.5, 0.95])
  @pytest.mark.parametrize('guess', [0.0, 0.4, 1.0])
  def test_pseudo_outcome_is_the_difference_on_average(self, p, guess):
    mean = p * evidence.pseudo(1, 0.9, p, guess) + (
        1 - p) * evidence.pseudo(0, 0.2, p, guess)
    assert mean == pytest.approx(0.7)

  def test_money_is_kept_on_average_where_advice_has_no_effect(self):
    """Exactly, over all draws of six arms, whatever the returns are."""
    returns = [0.0, 1.0, -3.0, 1.0, 7.0, 0.5]
    # Whoever draws may look at what came before.
    chances = lambda arms: 0.8 if sum(arms) % 2 else 0.3
    total = np.zeros(2)
    for arms in itertools.product((0, 1), repeat=len(returns)):
      test, weight = evidence.Evidence(), 1.0
      for i, (arm, value) in enumerate(zip(arms, returns)):
        p = chances(arms[:i])
        weight *= p if arm else 1 - p
        test.end(test.begin(arm, p), value)
      total += weight * np.exp(test.logs())
    assert np.allclose(total, 1)

  def test_the_money_is_laid_out_bit_by_bit(self):
    units = [evidence.unspent(n) for n in range(2000)]
    assert units[0] == 1 and 0.45 < units[1] < 0.5
    assert all(np.diff(units) < 0) and units[-1] > 0.1

  def test_seldom_wrong_at_any_time(self):
    wrong = 0
    for seed in range(20):
      wrong += any(feed(evidence.Evidence(), 0.3, 0.3, 100, seed, 0.7))
    # Of 20 runs 1 at most is expected; 5 and more have a chance of 0.3 %.
    assert wrong < 5

  @pytest.mark.parametrize('p', [0.1, 0.5, 0.9])
  def test_finds_help_and_harm(self, p):
    assert set(feed(evidence.Evidence(), 0.1, 0.9, 150, p=p)) == {0, 1}
    assert set(feed(evidence.Evidence(), 0.9, 0.1, 150, p=p)) == {0, -1}

  def test_a_clear_case_takes_a_dozen_units(self):
    said = [feed(evidence.Evidence(), 0, 1, 60, x).index(1) for x in range(5)]
    assert np.median(said) <= 14

  def test_takes_back_what_holds_no_more_and_finds_the_contrary(self):
    test = evidence.Evidence()
    assert feed(test, 0.1, 0.9, 150)[-1] == 1
    limit = evidence.SURE + evidence.ABOVE
    assert test.logs()[0] <= limit + 0.2
    said = feed(test, 0.9, 0.1, 100, 1)
    assert 0 in said[:15] and -1 in said[:60] and said[-1] == -1


class TestOrder:

  def test_waits_for_what_began_before(self):
    test = evidence.Evidence()
    late = test.begin(0, 0.5)
    for _ in range(5):
      test.end(test.begin(1, 0.5), 1.0)
    assert test.units == 0 and len(test.waiting) == 6
    test.end(late, 0.0)
    assert test.units == 6 and not test.waiting
    assert test.counted[:, 0].tolist() == [0, 1, 1, 1, 1, 1]

  def test_the_scale_is_that_of_the_beginning(self):
    test = evidence.Evidence()
    for value in (0.0, 1.0):
      test.end(test.begin(1, 0.5), value)
    unit = test.begin(1, 0.5)
    test.end(test.begin(0, 0.5), 99.0)
    assert unit.scale[0].tolist() == [0, 1]
    assert test.begin(0, 0.5).scale[0].tolist() == [0, 1, 99]

  def test_what_is_left_out_holds_nothing_up(self):
    test = evidence.Evidence()
    gone = test.begin(0, 0.5)
    test.end(test.begin(1, 0.5), 1.0)
    test.leave(gone)
    assert test.units == 1 and not test.waiting

  def test_an_environment_that_stops_holds_nothing_up(self, monkeypatch):
    monkeypatch.setattr(evidence, 'WAIT', 10)
    test = evidence.Evidence()
    test.begin(0, 0.5)
    for _ in range(30):
      test.end(test.begin(1, 0.5), 1.0)
    assert len(test.waiting) <= 10 and test.units >= 20


class TestState:

  def test_goes_on_where_it_was_saved(self):
    one, two = evidence.Evidence(), evidence.Evidence()
    feed(one, 0.2, 0.8, 40)
    two.load(json.loads(json.dumps(one.save())))
    assert two.save() == one.save()
    assert feed(one, 0.2, 0.8, 40, 1) == feed(two, 0.2, 0.8, 40, 1)
    assert np.array_equal(one.logs(), two.logs())

  def test_what_runs_is_left_out_and_what_waits_is_counted(self):
    one, two = evidence.Evidence(), evidence.Evidence()
    one.begin(0, 0.5)
    one.end(one.begin(1, 0.5), 1.0)
    two.load(one.save())
    assert two.units == 1 and two.counted.tolist() == [[1, 1]]
    # Saving changes nothing.
    assert one.units == 0 and len(one.waiting) == 2

  def test_memory_is_bounded(self):
    test = evidence.Evidence()
    for i in range(300):
      test.end(test.begin(i % 2, 0.5), float(i % 7))
    assert len(test.counted) == len(test.known) == evidence.RANKED
    assert not test.waiting
    assert all(math.isfinite(x) for x in test.logs())
