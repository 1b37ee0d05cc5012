import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore_plugin.advisor import ground
from lore_plugin.advisor.types import Description, Option


def describe(options=(), actions=('left', 'right', 'forward', ''), text='x'):
  return Description(
      text, 'm', actions, tuple(Option(*x) for x in options), version='t-1')


def biases(answers, shrink=1.0):
  calibration = ground.Calibration(shrink)
  for words, scores in answers:
    calibration.add(words, scores)
  return calibration.biases()


class TestCenter:

  def test_worked(self):
    assert ground.center([1.0, 2.0, 6.0]).tolist() == [-2.0, -1.0, 3.0]

  def test_what_is_far_off_is_drawn_nearer(self):
    # -20 and no more stays; of -1e9 it becomes -20 - ln(1 + 1e9 - 20).
    assert ground.center([0.0, -20.0]).tolist() == [10.0, -10.0]
    assert np.ptp(ground.center([0.0, -1e9])) == pytest.approx(40.723266)
    assert np.isfinite(ground.center([1e308, -1e308])).all()

  @given(st.lists(st.floats(-200, 200), min_size=2, max_size=30))
  def test_the_order_stays(self, scores):
    order = np.argsort(scores)
    gaps = np.diff(np.asarray(scores)[order])
    found = np.diff(ground.center(scores)[order])
    assert (found >= 0).all() and (found[gaps > 1e-3] > 0).all()

  def test_long_rankings_stay_whole(self):
    """Rules rank the 23 choices of Crafter four nats apart."""
    assert (np.diff(ground.center(-4.0 * np.arange(23))) < -0.04).all()

  def test_constant_does_not_matter(self):
    np.testing.assert_allclose(
        ground.center([-700.0, -701.0]), ground.center([0.0, -1.0]))


class TestBiases:

  def test_same_candidates_give_the_mean(self):
    answers = [(('a', 'b'), (2.0, 0.0)), (('a', 'b'), (4.0, 0.0))]
    # Centred: (1, -1) and (2, -2); the mean is (1.5, -1.5).
    got = biases(answers, shrink=0.0)
    np.testing.assert_allclose([got['a'], got['b']], [1.5, -1.5], rtol=1e-4)

  def test_shrinkage(self):
    # One real state and one imaginary one without bias: half the mean.
    got = biases([(('a', 'b'), (2.0, 0.0))], shrink=1.0)
    np.testing.assert_allclose([got['a'], got['b']], [0.5, -0.5])

  def test_level_of_a_state_does_not_matter(self):
    one = biases([(('a', 'b'), (2.0, 0.0)), (('a', 'b'), (4.0, 0.0))])
    two = biases([(('a', 'b'), (9.0, 7.0)), (('a', 'b'), (1.0, -3.0))])
    assert one == pytest.approx(two)

  def test_different_candidates(self):
    # True biases a 3, b 0, c -3 and no noise: each state shows differences
    # only, and a plain mean of centred scores would give a 1.5 and c -1.5.
    answers = 50 * [
        (('a', 'b'), (3.0, 0.0)), (('b', 'c'), (5.0, 2.0))]
    got = biases(answers, shrink=0.0)
    assert got['a'] - got['b'] == pytest.approx(3.0, abs=1e-3)
    assert got['b'] - got['c'] == pytest.approx(3.0, abs=1e-3)

  def test_order_does_not_matter_to_the_last_bit(self):
    rng = np.random.default_rng(0)
    answers = [
        (tuple(rng.choice(list('abcdef'), size, replace=False)),
         tuple(rng.normal(0, 9, size))) for size in (2, 3, 5, 6) * 25]
    want = biases(answers)
    for _ in range(5):
      rng.shuffle(answers)
      assert biases(answers) == want

  def test_nothing_answered(self):
    assert biases([]) == {}

  def test_calibrate_removes_it(self):
    got = ground.calibrate(('a', 'b'), (2.0, 0.0), {'a': 1.0, 'b': -1.0})
    np.testing.assert_allclose(got, [0.0, 0.0])

  def test_calibrate_unknown_candidate(self):
    got = ground.calibrate(('a', 'b'), (2.0, 0.0), {'z': 5.0})
    np.testing.assert_allclose(got, [1.0, -1.0])


class TestSubgoals:

  def test_worked(self):
    desc = describe([('key', (0,)), ('look', (1, 2))])
    # p(key) = p(look) = 1/2: actions 1/2, 1/4, 1/4.
    got = ground.ground(desc, 'subgoal', ('key', 'look'), (0.0, 0.0), {}, 0.25)
    want = np.log([0.75, 0.5, 0.5])
    want -= want.mean()
    np.testing.assert_allclose(got[:3], want, rtol=1e-6)
    assert got[3] == got[:3].min()
    assert got.dtype == np.float32

  def test_option_without_actions_is_left_out(self):
    desc = describe([('key', (0,)), ('door', ()), ('look', (1,))])
    # 1/2, 1/4, 1/4 without the door: 2/3, 1/3.
    got = ground.ground(
        desc, 'subgoal', ('key', 'door', 'look'),
        np.log([0.5, 0.25, 0.25]), {}, 1e-9)
    assert got[0] - got[1] == pytest.approx(np.log(2.0), abs=1e-5)

  def test_no_option_has_an_action(self):
    desc = describe([('key', ()), ('door', ())])
    assert ground.ground(
        desc, 'subgoal', ('key', 'door'), (0.0, 1.0), {}) is None

  def test_illegal_actions_are_dropped(self):
    desc = describe([('key', (3, 99, -1, 0)), ('look', (1,))])
    assert ground.legal(desc) == [(0,), (1,)]

  def test_mean_zero_over_the_advisable(self):
    desc = describe([('key', (0,)), ('look', (1, 2))])
    got = ground.ground(desc, 'subgoal', ('key', 'look'), (3.0, -8.0), {})
    assert got[:3].mean() == pytest.approx(0.0, abs=1e-6)

  def test_extreme_scores_stay_finite(self):
    desc = describe([('key', (0,)), ('look', (1, 2))])
    for scores in ((0.0, -1e300), (1e300, -1e300), (1e-300, 0.0)):
      got = ground.ground(desc, 'subgoal', ('key', 'look'), scores, {})
      assert np.isfinite(got).all()
      assert np.abs(got).max() < 10


class TestActions:

  def test_worked(self):
    desc = describe()
    got = ground.ground(
        desc, 'action', ('left', 'right', 'forward'), (0.0, 1.0, 2.0), {})
    np.testing.assert_allclose(got, [-1.0, 0.0, 1.0, -1.0])

  def test_actions_that_share_a_word(self):
    desc = describe(actions=('noop', 'noop', 'go'))
    got = ground.ground(desc, 'action', ('noop', 'go'), (0.0, 3.0), {})
    np.testing.assert_allclose(got, [-1.0, -1.0, 2.0])

  def test_nothing_advisable(self):
    assert ground.level(np.zeros(2), np.zeros(2, bool)) is None


class TestDecided:

  @pytest.mark.parametrize('options, want', [
      ([], True),
      ([('a', (0,))], True),
      ([('a', (0,)), ('b', ())], True),
      ([('a', (0, 1)), ('b', (1, 0))], True),
      ([('a', (0,)), ('b', (1,))], False),
      ([('a', ()), ('b', ())], True),
  ])
  def test_subgoal(self, options, want):
    assert ground.decided(describe(options), 'subgoal') is want

  def test_action(self):
    assert not ground.decided(describe(), 'action')
    assert ground.decided(describe(actions=('', 'go')), 'action')


def test_candidates_are_distinct_and_in_order():
  desc = describe([('b', ()), ('a', ()), ('b', (1,))])
  assert ground.candidates(desc, 'subgoal') == ('b', 'a')
  assert ground.candidates(desc, 'action') == ('left', 'right', 'forward')
