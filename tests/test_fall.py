"""Advice that falls below what it was proven to reach, and agents that do."""

import json

import numpy as np
import pytest

from lore_plugin.agent import compare
from lore_plugin.agent import evidence
from lore_plugin.agent import proven
from lore_plugin.agent import trust as trustlib

import trusting

LENGTH = 5


def play(trust, control, advised, episodes, seed=0):
  """Plays episodes that succeed with these chances. Returns steps followed."""
  before = trust.followed
  trusting.play(
      trust, trusting.bernoulli(control, advised), episodes, seed,
      length=LENGTH)
  return trust.followed - before


class TestFall:

  def test_by_hand(self):
    fall = evidence.Fall()
    # Stakes of 0.1, 0.25, 0.5 and 0.9 on a gain of 1 each time: after six
    # 1.77, 3.81, 11.39 and 47.05, of whose sum a quarter is 16.0; after seven
    # 28.3.
    assert [fall.add(0.0, 0.5) for _ in range(7)] == [False] * 6 + [True]
    assert fall.wealth.sum() / 4 == pytest.approx(28.3, abs=0.05)
    assert fall.since == 7
    # Of what was a quarter, failures say less: a gain of a third.
    fall = evidence.Fall()
    fall.add(0.0, 0.25)
    assert fall.wealth == pytest.approx(1 + evidence.STAKES / 3)

  def test_begins_anew_after_what_is_no_fall(self):
    fall = evidence.Fall()
    fall.add(0.0, 0.5)
    fall.add(1.0, 0.5)
    assert (fall.wealth < 1).all() and fall.since == 0
    fall.add(0.0, 0.5)
    assert fall.wealth == pytest.approx(1 + evidence.STAKES)
    assert fall.since == 1

  def test_a_false_one_takes_twenty_outcomes_on_average(self):
    rng = np.random.default_rng(0)
    lengths = []
    for _ in range(100):
      fall, count = evidence.Fall(), 1
      while count < 2000 and not fall.add(float(rng.random() < 0.5), 0.5):
        count += 1
      lengths.append(count)
    assert np.mean(lengths) > 1 / evidence.FALSE

  def test_what_does_as_well_as_it_was_proven_to_does_not_fall(self):
    rng = np.random.default_rng(0)
    fall = evidence.Fall()
    assert not any(
        fall.add(float(rng.random() < 0.9), 0.5) for _ in range(5_000))

  def test_goes_on_where_it_was_saved(self):
    one, two = evidence.Fall(), evidence.Fall()
    one.add(0.0, 0.5)
    two.load(json.loads(json.dumps(one.save())))
    assert two.since == 1
    assert [one.add(0.0, 0.5) for _ in range(6)] == [
        two.add(0.0, 0.5) for _ in range(6)] == [False] * 5 + [True]


class TestTrust:

  @pytest.mark.parametrize('able', [0.1, 0.95])
  @pytest.mark.parametrize('seed', range(3))
  def test_advice_that_turns_is_left(self, able, seed):
    trust = trustlib.Trust(seed=seed)
    play(trust, 0.1, 1.0, 100, seed)
    assert trust.proof > 0 and trust.proven.reach > 0.7
    followed = play(trust, able, 0.0, 200, seed)
    assert trust.proof == 0 and trust.shown < 1 and trust.proven.reach is None
    # Of 1,000 steps; a dozen segments, and the probes.
    assert followed < 300

  def test_compares_by_what_came_after(self):
    trust = trustlib.Trust()
    play(trust, 0.1, 1.0, 100)
    count = len(trust.ended)
    while not trust.proven.falls:
      play(trust, 0.1, 0.0, 4)
    assert len(trust.ended) < 30 < count
    assert sum(score for arm, score, _ in trust.ended if arm) == 0
    # The gambler that it helps keeps nothing that he won.
    assert trust.evidence.logs()[0] < 1
    assert trust.taken - 4 < trust.proven.when <= trust.taken
    when = trust.proven.when
    assert trust.describe().endswith(
        f'; fell below half of what it had reached at step {when:,}')
    trust.proven.forget(7_000)
    assert trust.describe().endswith('reached 2 times, last at step 7,000')

  def test_each_fall_makes_the_next_belief_dearer(self):
    trust = trustlib.Trust()
    for falls, needed in enumerate((0, 8, 32)):
      while not trust.proof:
        assert trust.shown < 1
        play(trust, 0.1, 1.0, 4, len(trust.ended))
      # Segments of either arm that ended since the last fall.
      assert min(trust.proven.counts) >= needed
      while trust.proven.falls == falls:
        play(trust, 0.1, 0.0, 4, len(trust.ended))
      assert trust.proof == 0 and trust.shown < 1
      assert sum(trust.proven.counts) < 4

  @pytest.mark.parametrize('seed', range(3))
  @pytest.mark.parametrize('watches', ['proof', 'gate'])
  def test_who_turns_whenever_believed_falls_ever_more_seldom(
      self, seed, watches):
    trust = trustlib.Trust(seed=seed)
    followed, falls = [], []
    for _ in range(2):
      bad = 0
      for k in range(400):
        held = getattr(trust, watches) > 0 or trust.shown > 0
        steps = play(trust, 0.1, 0.0 if held else 1.0, 4, k)
        bad += steps if held else 0
      followed.append(bad)
      falls.append(trust.proven.falls)
    # 2, 8, 32, 128 and 512 segments of either arm, of 1,600 and 3,200 in all.
    assert 2 <= falls[0] <= falls[1] <= 5
    # Steps, of 8,000 in each half.
    assert followed[1] <= followed[0] < 800

  def test_two_false_falls_are_not_for_life(self):
    trust = trustlib.Trust()
    play(trust, 0.1, 0.9, 100)
    for _ in range(2):
      trust.evidence.doubt()
      compare.keep(trust.ended, trust.proven.forget(0))
    play(trust, 0.1, 0.9, 500, 1)
    assert trust.proven.falls == 2 and min(trust.proven.counts) >= 32
    assert trust.proof > 0 and trust.shown == 1 and trust.proven.reach > 0.5

  @pytest.mark.parametrize('seed', range(3))
  def test_honest_advice_does_not_fall(self, seed):
    trust = trustlib.Trust(seed=seed)
    play(trust, 0.1, 0.9, 400, seed)
    play(trust, 0.9, 0.9, 400, seed + 10)
    assert trust.proven.reach > 0.5 and trust.proven.falls == 0

  def test_goes_on_where_it_was_saved(self):
    one, two = trustlib.Trust(), trustlib.Trust(seed=5)
    play(one, 0.1, 1.0, 100)
    while not one.proven.falls:
      play(one, 0.1, 0.0, 4)
    while not one.proof:
      play(one, 0.1, 1.0, 4)
    while not one.proven.fall.since:
      play(one, 0.1, 0.0, 4)
    assert one.proven.reach > 0
    two.load(json.loads(json.dumps(one.save())))
    assert (two.proven.falls, two.proven.reach) == (1, one.proven.reach)
    # Its first segments would not count.
    one.begun.clear()
    count = 0
    while one.proven.falls < 2:
      good, count = float(not one.proof), count + 1
      assert play(one, 0.1, good, 4, count) == play(two, 0.1, good, 4, count)
    assert one.save() == two.save() and two.proven.falls == 2

  def test_a_change_of_scale_is_no_fall(self):
    # What succeeded stays a success where a rare return is much greater.
    trust = trustlib.Trust()
    play(trust, 0.05, 0.95, 100)
    assert trust.proof > 0
    for _ in range(3):
      reach = trust.proven.reach
      trust.ended.append((1, 50.0, LENGTH))
      play(trust, 0.05, 0.95, 100, 1)
      assert trust.proven.falls == 0 and trust.proven.reach >= reach

  def test_what_begins_together_is_not_counted(self):
    # With 64 environments those that fail soon end first after a restart.
    one = trustlib.Trust()
    play(one, 0.05, 1.0, 200)
    two = trustlib.Trust()
    two.load(one.save())
    envs = range(64)
    for t in range(3):
      for env in envs:
        last = t == 2 and env < 40
        two.step(env, t, False, 0.0, t == 0, last)
    assert two.proven.falls == 0 and two.proven.fall.since == 0
    # From the second segment of an environment on they are.
    for t in range(3):
      for env in envs[:40]:
        two.step(env, t, False, 0.0, t == 0, t == 2)
    assert two.proven.falls == 1


def handed_over(seed=0):
  """Returns the control of an agent that learned what advice had proven."""
  trust = trustlib.Trust(seed=seed)
  play(trust, 0.1, 1.0, 100, seed)
  assert trust.proof > proven.OPEN
  while trust.gate:
    play(trust, 1.0, 1.0, 4, len(trust.ended))
  play(trust, 1.0, 1.0, 40, seed)
  assert trust.proof == 0 and trust.proven.lapses == trust.proven.falls == 0
  return trust


def lapse(trust, episodes):
  """Plays an agent that fails, and advice that helps behind an open gate."""
  for _ in range(episodes):
    play(trust, 0.0, float(trust.gate >= proven.OPEN), 4, len(trust.ended))


class TestLapse:

  def test_by_hand(self):
    now = proven.Proven()
    now.reach, now.peak, now.best = 1.0, 0.2, 0.8
    # Both arms count. After seven failures a gambler owns 28.3, see above.
    for k in range(7):
      assert not now.ended(k % 2, 0.0, (0.0, 1.0), 0, False, now.proof)
      assert now.lapses == (k == 6)
    assert now.peak == 0.8 and now.alone[:2] == (0, 7) and now.fall.since == 0
    # Wilson's upper end of 0 of 7 is z^2 / (7 + z^2) = 3.84 / 10.84 = 0.354,
    # and 0.8 has no width here.
    now.bound(None, (0.0, 1.0), 0, 0.5, 0.0)
    assert now.proof == pytest.approx(0.8 - 0.354, abs=1e-3)
    # A success of the control group is one of eight.
    now.ended(0, 1.0, (0.0, 1.0), 0, False, now.proof)
    assert now.alone[:2] == (0.125, 8)
    # Once that is as good, it is compared with advised segments again.
    for _ in range(20):
      now.ended(0, 1.0, (0.0, 1.0), 0, False, now.proof)
    now.bound(None, (0.0, 1.0), 0, 0.5, 0.0)
    assert now.proof == 0 and now.alone is None

  def test_nothing_lapses_that_never_was(self):
    now = proven.Proven()
    for k in range(40):
      assert not now.ended(k % 2, 0.0, (0.0, 1.0), 0, False, now.proof)
    assert now.lapses == 0 and now.lapse.since == 0

  def test_what_would_not_open_the_gate_is_no_lapse(self):
    # 0 of 7 may be 0.35; a best of 0.4 adds 0.05 at least.
    now = proven.Proven()
    now.reach, now.best = 1.0, 0.4
    fell = [
        now.ended(1, 0.0, (0.0, 1.0), 1, False, 0.0) for _ in range(7)]
    assert fell == [False] * 6 + [True] and now.lapses == 0
    # Nor is it remembered for later.
    assert now.lapse.since == 0

  def test_is_tried_once_until_something_comes_of_it(self):
    now = proven.Proven()
    now.reach, now.best = 1.0, 0.8
    def fail(arm, times=7):
      for _ in range(times):
        now.ended(arm, 0.0, (0.0, 1.0), 0, False, now.proof)
      return now.lapses
    assert fail(0) == 1 and now.tried
    # The proof is 0 here, as nothing asks for a bound.
    assert fail(0, 40) == 1
    # The agent comes up to half of it: (20 / 21)^15 is below a half.
    for _ in range(15):
      assert now.tried
      now.ended(0, 1.0, (0.0, 1.0), 0, False, now.proof)
      now.peak = 0.8
      now.bound(None, (0.0, 1.0), 0, 0.5, 0.0)
    assert not now.tried and now.proof > 0
    # The gate closes, and it falls over again.
    now.proof, now.alone = 0.0, None
    assert fail(0) == 2
    # It is proven again: 0 of 20 beside 20 of 20, but not yet of either.
    now.alone = None
    now.bound(trusting.means(0.0, 0.0), (0.0, 1.0), 0, 0.5, 0.0)
    assert now.tried
    now.bound(trusting.means(0.0, 1.0), (0.0, 1.0), 0, 1.0, 0.0)
    assert now.tried is False and now.proof > 0
    # Or the control group does well long after.
    now.tried = True
    now.bound(trusting.means(0.4, 0.0), (0.0, 1.0), 0, 0.4, 0.0)
    assert now.tried
    now.bound(trusting.means(0.6, 0.0), (0.0, 1.0), 0, 0.1, 0.0)
    assert not now.tried

  def test_what_was_shown_to_do_harm_is_not_tried_again(self):
    now = proven.Proven()
    now.reach, now.peak, now.best = 1.0, 0.8, 0.8
    now.bound(trusting.means(0.9, 0.1), (0.0, 1.0), -1, 0.01, 0.0)
    assert (now.peak, now.best) == (0, 0)
    for k in range(40):
      now.ended(k % 2, 0.0, (0.0, 1.0), -1, False, now.proof)
    assert now.lapses == 0

  def test_what_is_under_way_as_the_gate_opens_is_not_blamed(self):
    trust = handed_over()
    while not trust.proven.lapses:
      play(trust, 0.0, 0.0, 4, len(trust.ended))
    # It was counted with the last segment of the four, or one before.
    for env in range(4):
      trust.step(env, 0, False, 0.0, True, False)
    trust.proven.reach, trust.proven.peak, trust.proven.best = 1.0, 0.0, 0.8
    trust.proven.alone, trust.proven.tried = None, False
    trust.proven.proof = 0.0
    trust.proven.lapse = evidence.Fall()
    for _ in range(6):
      trust.proven.lapse.add(0.0, 0.5)
    trust.running[0].fresh = False
    trust.step(0, 0, False, 0.0, False, True)
    assert trust.proven.lapses == 2
    assert all(trust.running[env].fresh for env in (1, 2, 3))

  @pytest.mark.parametrize('seed', range(3))
  def test_a_lapsed_agent_gets_its_advice_back(self, seed):
    trust = handed_over(seed)
    lapse(trust, 5)
    # Of 20 segments, each of which counts, seven are enough. With seed 1 the
    # first to fail are of the control group, so that the arms tell.
    assert trust.gate > 0.3 and trust.proven.lapses == (seed != 1)
    lapse(trust, 20)
    assert trust.gate > 0.3 and trust.proven.falls == 0
    # It learns again, and advice gets out of the way again.
    for k in range(100):
      play(trust, 1.0, 1.0, 4 if trust.gate else 0, k)
    assert trust.gate == 0 and trust.proven.alone is None
    assert trust.stats()['lapses'] == (seed != 1)

  @pytest.mark.parametrize('seed', range(3))
  def test_advice_that_turned_meanwhile_is_found_out(self, seed):
    trust = handed_over(seed)
    held = 0
    for k in range(60):
      steps = play(trust, 0.0, 0.0, 4, k)
      held += steps if trust.proof > 0 or trust.shown > 0 else 0
    assert trust.proven.falls == 1 and trust.proven.best == 0
    # Steps, of 1,200; seven segments of five steps until it is tried again,
    # and as many until it has fallen, would be 70.
    assert trust.proof == 0 and held < 250

  @pytest.mark.parametrize('seed', range(3))
  def test_advice_that_turns_on_an_able_agent_is_left(self, seed):
    trust = handed_over(seed)
    assert play(trust, 1.0, 0.0, 200, seed) < 300
    assert trust.proof == 0 and trust.shown < 1

  def test_an_agent_that_fails_at_times_has_not_lapsed(self):
    trust = handed_over()
    play(trust, 0.9, 0.9, 1000)
    assert trust.proven.lapses == 0

  def test_goes_on_where_it_was_saved(self):
    one, two = handed_over(), trustlib.Trust(seed=5)
    lapse(one, 5)
    assert one.proven.alone and one.proof
    one.proven.tried = True
    two.load(json.loads(json.dumps(one.save())))
    one.begun.clear()
    for k in range(20):
      assert play(one, 0.5, 0.0, 4, k) == play(two, 0.5, 0.0, 4, k)
    assert one.save() == two.save() and one.proof == two.proof

  @pytest.mark.parametrize('apart', [True, False])
  def test_a_checkpoint_of_before_goes_on(self, apart):
    one, two = trustlib.Trust(), trustlib.Trust()
    play(one, 0.1, 1.0, 100)
    data = json.loads(json.dumps(one.save()))
    for name in ('best', 'alone', 'lapses', 'lapse', 'tried'):
      del data['proven'][name]
    if not apart:
      # Once all of it was kept by `Trust`, which has another `best`.
      data.update(data.pop('proven'))
    two.load(data)
    assert two.proof == one.proof > 0
    assert two.proven.best == two.proven.peak == one.proven.peak
    play(two, 0.1, 1.0, 40)
    assert two.proven.best >= two.proven.peak > 0
