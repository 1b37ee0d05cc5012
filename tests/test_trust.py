"""The trust control against advisors whose worth is known."""

import json
import math
import pickle

import numpy as np
import pytest

from lore_plugin import status as progress
from lore_plugin.agent import compare
from lore_plugin.agent import segments
from lore_plugin.agent import trust as trustlib

from trusting import bernoulli, play


def running(arm, start=0.5, length=0):
  """Returns a segment under way."""
  return segments.Segment(
      arm, start, segments.Episode(arm, 0.5), length=length)


class TestVerdict:

  def test_good_advice_is_used_and_named(self):
    trust = trustlib.Trust()
    arms = play(trust, bernoulli(0.1, 0.95), 200)
    assert np.mean(arms[100:]) >= 0.75
    estimate, low, high = trust.uplift()
    assert 0.3 < low < estimate <= high <= 1
    assert trust.trust == 1 and trust.proof >= low
    assert trust.describe().startswith('helps: +0.')
    assert trust.describe().endswith(
        f'({trust.episodes[1]} advised, {trust.episodes[0]} control episodes)')
    assert trust.stats()['control_episodes'] == trust.episodes[0]

  def test_harmful_advice_is_switched_off_and_named(self):
    trust = trustlib.Trust()
    arms = play(trust, bernoulli(0.9, 0.0), 200)
    assert np.mean(arms[100:]) <= 0.15
    assert trust.uplift()[2] < 0 and trust.shown == -1
    assert trust.trust == 0 and trust.proof == 0
    assert trust.describe().startswith('harmful, switched off at step ')

  def test_advice_without_effect_is_not_called_either(self):
    """At any of 30 looks; the 95 % interval alone is wrong far too often."""
    named, wrong = 0, 0
    for seed in range(15):
      trust = trustlib.Trust(seed=seed)
      said, shown = set(), set()
      for part in range(30):
        play(trust, bernoulli(0.5, 0.5), 4, 100 * seed + part, length=5)
        said.add(trust.describe().split()[0])
        _, low, high = trust.uplift()
        shown.add(low > 0 or high < 0)
      named += bool(said & {'helps:', 'helped', 'harmful,'})
      wrong += True in shown
    # 0.75 expected at most; 4 and more have a chance of 0.7 %.
    assert named <= 3 <= wrong

  def test_words_are_those_of_the_evidence(self):
    trust = trustlib.Trust()
    TestMatching.ends(trust, [0, 1] * 40, [0, 1] * 40)
    assert trust.uplift()[1] > 0
    assert trust.describe().startswith('may help: +')
    trust.evidence._logs = np.array([9.0, 0.0])
    assert trust.shown == 1 and trust.describe().startswith('helps: +')
    # Evidence against what the figures beside it say is not spoken out.
    trust.evidence._logs = np.array([0.0, 9.0])
    assert trust.shown == 0 and trust.describe().startswith('may help: +')

  def test_what_was_proven_is_no_licence(self):
    trust = trustlib.Trust()
    play(trust, bernoulli(0.1, 1.0), 100, length=5)
    assert trust.shown == 1 and trust.proof > 0
    before = trust.followed
    play(trust, bernoulli(0.95, 0.0), 100, 1, length=5)
    assert trust.shown < 1 and trust.proof == 0
    assert trust.followed - before < 250
    assert trust.describe().startswith('helped most at step ')

  def test_interval_covers_the_truth(self):
    covered = []
    for seed in range(30):
      trust = trustlib.Trust(trustlib.Settings(memory=1e9), seed)
      play(trust, bernoulli(0.3, 0.6), 80, seed, length=5)
      _, low, high = trust.uplift()
      covered.append(low <= 0.3 <= high)
    # 28.5 expected; fewer than 25 have a probability of 0.3 %.
    assert sum(covered) >= 25

  def test_uplift_by_hand(self):
    trust = trustlib.Trust(trustlib.Settings(memory=1e12))
    trust.range = (0.0, 1.0)
    trust.matched = [compare.Mean(48 / 80, 80), compare.Mean(56 / 70, 70)]
    # Newcombe 1998, table II, case (a), 56/70 against 48/80, method 10:
    # 0.0524 to 0.3339.
    assert np.allclose(trust.uplift(), (0.2, 0.0524, 0.3339), atol=5e-5)

  def test_interval_has_the_unit_of_returns(self):
    one, many = trustlib.Trust(), trustlib.Trust()
    play(one, bernoulli(0.2, 0.8), 100)
    play(many, lambda *args: 500 * bernoulli(0.2, 0.8)(*args), 100)
    assert np.allclose(500 * np.array(one.uplift()), many.uplift())
    assert one.better == pytest.approx(many.better)
    assert np.allclose(one.evidence.logs(), many.evidence.logs())

  def test_nothing_is_known_at_the_start(self):
    trust = trustlib.Trust()
    assert trust.uplift() == (0.0, -1.0, 1.0)
    assert (trust.trust, trust.proof, trust.better) == (1.0, 0.0, 0.5)
    assert trust.describe() == (
        'not compared yet: 0 advised and 0 control episodes have ended')

  def test_says_how_much_is_tried_of_what_shows_no_effect(self):
    trust = trustlib.Trust()
    play(trust, bernoulli(0.0, 0.0), 100)
    share = trust.shares.advised
    assert 0 < share < 0.2
    control, advised = trust.episodes
    assert control + advised == 100 and advised < control
    assert trust.describe() == (
        f'no effect shown: +0.00 [-1.00, +1.00] ({advised} advised, '
        f'{control} control episodes), tried in {share:.0%} of the last steps')

  def test_what_advice_achieved_is_remembered(self):
    trust = trustlib.Trust()
    play(trust, bernoulli(0.0, 1.0), 60)
    before = trust.proof
    # The gate closes too early: both arms fail.
    play(trust, bernoulli(0.0, 0.0), 8)
    assert trust.uplift()[0] < 0.9
    assert before / 2 < trust.proof <= before
    # The agent learns: nothing is left to add, however good advice was.
    play(trust, bernoulli(1.0, 1.0), 200, length=5)
    assert trust.proof < 0.1
    assert trust.describe().startswith('helped most at step ')
    assert 'at the end no effect shown' in trust.describe()

  def test_memory_of_achievements_fades(self):
    trust = trustlib.Trust()
    play(trust, bernoulli(0.0, 1.0), 60, length=5)
    play(trust, bernoulli(0.0, 0.0), 200, length=5)
    assert trust.proof == 0

  def test_words_and_intervals_agree(self):
    words = progress.verdict
    assert words(0.31, 0.22, 0.40) == 'helps: +0.31 [+0.22, +0.40]'
    assert words(-0.5, -0.7, -0.3, 1900) == (
        'harmful, switched off at step 1,900: -0.50 [-0.70, -0.30]')
    assert words(0.1, 0.0, 0.2).startswith('no effect shown')
    assert words(0.3, 0.2, 0.4, shown=0).startswith('may help')
    assert words(-0.3, -0.4, -0.2, shown=0).startswith('may do harm')
    assert words(0.1, -0.1, 0.3, shown=1).startswith('helps')


class TestMatching:

  @staticmethod
  def ends(trust, arms, scores, length=10):
    """Takes note of finished episodes and judges."""
    trust.range = (0.0, 1.0)
    trust.ended.extend((a, float(s), length) for a, s in zip(arms, scores))
    for arm in arms:
      trust.episodes[arm] += 1
      trust.shares.steps[arm] += length
    trust._judge()
    return trust

  def test_learning_is_not_taken_for_help(self):
    # The agent fails 60 times, then always succeeds. Most episodes of the
    # first kind are of the control group, most of the second are advised:
    # unmatched, 4 of 5 against 1 of 5 would succeed.
    arms = [0, 0, 0, 0, 1] * 12 + [1, 1, 1, 1, 0] * 12
    scores = [0] * 60 + [1] * 60
    trust = self.ends(trustlib.Trust(), arms, scores)
    estimate, low, high = trust.uplift()
    assert abs(estimate) < 0.2 and low < 0 < high
    assert trust.proof == 0
    assert 0.1 < trust.better < 0.9

  def test_all_alike_count_as_they_are(self):
    # Two of four against one of four, all within a small distance.
    trust = trustlib.Trust(trustlib.Settings(memory=1e9))
    self.ends(trust, [0, 1] * 4, [0, 1, 0, 0, 1, 1, 0, 0])
    (control, n, _), (advised, m, _) = trust.matched
    assert control == pytest.approx(0.25, abs=0.05)
    assert advised == pytest.approx(0.5, abs=0.05)
    assert n == pytest.approx(4, rel=0.05) and n == pytest.approx(m, rel=0.05)

  def test_is_worth_no_more_episodes_than_there_are(self):
    trust = trustlib.Trust(trustlib.Settings(memory=1e9))
    self.ends(trust, [1] * 100 + [0] + [1] * 100, [1] * 100 + [0] + [1] * 100)
    (_, n, _), (_, m, _) = trust.matched
    # One control episode, and of the advised ones those near to it.
    assert n == pytest.approx(1) and 8 < m < 60
    assert trust.proof == 0

  def test_memory_bounds_what_counts(self):
    trust = trustlib.Trust(trustlib.Settings(memory=10))
    self.ends(trust, [0, 1] * 200, [0, 1] * 150 + [1, 1] * 50)
    (control, n, _), (advised, m, _) = trust.matched
    assert n <= 10 and m <= 10 and advised == pytest.approx(1)
    assert control > 0.95

  def test_order_and_arm_are_symmetric(self):
    arms, scores = [0, 1, 1, 0, 1], [1, 0, 1, 0, 0]
    one = self.ends(trustlib.Trust(), arms, scores).matched
    two = self.ends(trustlib.Trust(), [1 - x for x in arms], scores).matched
    assert np.allclose(one, two[::-1])

  def test_running_episodes_that_take_too_long_count(self):
    trust = trustlib.Trust()
    self.ends(trust, [1] * 20, [1] * 20, length=10)
    assert trust.better == 0.5
    trust.running[0] = running(0, length=10)
    trust._judge()
    assert trust.better == 0.5
    trust.running[0].length = 11
    trust._judge()
    # Enough to give the next episode to the arm that ends them.
    assert trust.better > 0.9
    # Whoever has seen no other arm cannot say what is long.
    trust.running = {1: running(1, length=500)}
    trust._judge()
    assert trust.better == 0.5

  def test_nothing_is_said_before_a_control_episode_finished(self):
    # Advice ends episodes in 10 steps. The agent alone gets there as well, in
    # 40: whoever takes a running episode for a failure calls advice a help.
    trust = trustlib.Trust()
    self.ends(trust, [1] * 40, [1] * 40, length=10)
    for length in (11, 39, 200):
      trust.running = {
          i: running(0, length=length) for i in range(4)}
      trust._judge()
      assert trust.matched is None
      assert trust.uplift() == (0.0, -1.0, 1.0)
      assert trust.verdict[0] == 0
      assert trust.describe() == (
          'not compared yet: 40 advised and 0 control episodes have ended')
    self.ends(trust, [0] * 4, [1] * 4, length=40)
    trust.running = {
        i: running(0, length=39) for i in range(4)}
    trust._judge()
    (control, *_), (advised, *_) = trust.matched
    assert control == advised == 1
    assert trust.describe().startswith('no effect shown')

  def test_good_advice_is_learned_from_before_the_words_say_so(self):
    # The agent alone is lost: its episodes run on, those advised end in 10.
    trust = trustlib.Trust()
    self.ends(trust, [1] * 40, [1] * 40, length=10)
    trust.running = {
        i: running(0, length=200) for i in range(4)}
    trust._judge()
    assert trust.proof > 0.2 and trust.alone == 0
    other = trustlib.Trust()
    other.load(trust.save())
    assert (other.proof, other.alone) == (trust.proof, trust.alone)

  def test_harm_is_not_said_of_advice_that_takes_longer(self):
    trust = trustlib.Trust()
    self.ends(trust, [0] * 40, [1] * 40, length=10)
    trust.running = {
        i: running(1, length=300) for i in range(4)}
    trust._judge()
    assert trust.verdict[0] == 0
    assert trust.describe().startswith('not compared yet: 0 advised')

  def test_running_episodes_end_as_those_that_took_as_long(self):
    ended = [
        (0, 1.0, 40), (0, 0.0, 250), (0, 0.5, 60), (1, 1.0, 10), (1, 0.0, 300)]
    told = lambda length: compare.lasting(ended, [(0, 0.0, length)])
    # Of 1, 0 and 1/2 all took at least 20 steps, two at least 50, one 61.
    assert told(20) == [(0, 0.5, 20)]
    assert told(50) == [(0, 0.25, 50)]
    assert told(61) == [(0, 0.0, 61)]
    # None of its arm took so long.
    assert told(251) == []

  @pytest.mark.parametrize('control, advised', [(0.5, 0.5), (0.05, 0.05)])
  def test_nothing_is_proven_by_looking_often(self, control, advised):
    proven = 0
    for seed in range(15):
      trust = trustlib.Trust(seed=seed)
      play(trust, bernoulli(control, advised), 150, seed, length=5)
      proven += trust.proven.peak > 0
    # At 3 deviations and some 20 looks that are worth one.
    assert proven <= 2


class TestAllocation:

  def test_starts_even(self):
    counts = []
    for seed in range(40):
      trust = trustlib.Trust(seed=seed)
      for env in range(4):
        trust.step(env, 0, False, 0.0, True, False)
      counts.append(sum(x.arm for x in trust.running.values()))
    # Arms are drawn, and lean against each other.
    assert np.mean(counts) == pytest.approx(2, abs=0.4)
    assert np.std(counts) < 0.9 and counts.count(2) >= 20

  def test_draws_are_of_the_probability_that_is_noted(self):
    trust = trustlib.Trust()
    noted = []
    for t in range(400):
      trust.step(0, 0, False, 0.0, True, False)
      _, ended = trust.step(0, 0, False, float(t % 3 == 0), False, True)
      noted.append((ended.arm, ended.p))
    arm, p = np.array(noted).T
    # But for the first, which had no choice.
    assert (arm[0], p[0]) == (1, 1.0)
    assert 0 < p.min() and p[1:].max() < 1
    error = np.sqrt((p * (1 - p)).sum())
    assert abs((arm - p).sum()) < 3 * error

  def test_a_run_begins_with_advice_and_then_draws(self):
    second = []
    for seed in range(20):
      trust = trustlib.Trust(seed=seed)
      for env in range(2):
        trust.step(env, 0, False, 0.0, True, False)
      assert trust.running[0].arm == 1
      # Without a choice it is no evidence.
      assert trust.running[0].unit is None
      assert trust.running[1].unit.p < 1
      second.append(trust.running[1].arm)
    assert 0 < sum(second) < 20

  def test_control_group_keeps_its_share_of_steps(self):
    trust = trustlib.Trust(trustlib.Settings(control=0.2))
    # Advised episodes succeed at once, the others take long.
    steps = np.zeros(2)
    for t in range(2500):
      for env in range(4):
        now = trust.running.get(env)
        length = now.length if now else 0
        last = bool(now) and length >= (100, 5)[now.arm]
        _, ended = trust.step(
            env, length, False, float(last and now.arm), not now, last)
        if now and t > 500:
          steps[now.arm] += 1
    # Cut after 64 steps, of which some seven advised ones are worth one.
    assert trust.lengths.most == segments.SHORT
    assert 0.15 < steps[0] / steps.sum() < 0.3

  def test_disabled_advises_always(self):
    trust = trustlib.Trust(trustlib.Settings(enabled=False))
    arms = play(trust, bernoulli(1.0, 0.0), 100)
    assert all(arms)
    assert trust.trust == 1 and trust.proof == 0
    assert trust.step(0, 0, False, 0, True, False)[0] == 1

  def test_takes_turns_until_advice_is_proven(self):
    trust = trustlib.Trust()
    trust.running[0] = running(1)
    follow = [
        trust.step(0, t, False, 0.0, False, False)[0] for t in range(256)]
    block = trustlib.STRETCH * trustlib.TURN
    assert [x > 0 for x in follow[::block]] == [True, False, True, False]
    trust = trustlib.Trust()
    play(trust, bernoulli(0.0, 1.0), 60)
    assert trust.proof > 0
    trust.lengths.most = segments.LONG
    trust.running[0] = running(1, 0.9)
    assert all(
        trust.step(0, t, False, 0.0, False, False)[0] == 1
        for t in range(256))

  def test_control_episodes_never_follow(self):
    trust = trustlib.Trust()
    trust.running[0] = running(0)
    assert not any(
        trust.step(0, t, False, 0.0, False, False)[0] for t in range(200))

  def test_rewards_that_are_not_finite_count_for_nothing(self):
    trust = trustlib.Trust()
    for reward in (math.nan, math.inf, -math.inf):
      trust.step(0, 0, False, reward, True, False)
      _, ended = trust.step(0, 0, False, 1.0, False, True)
      assert ended.score == 1.0
    assert all(math.isfinite(x) for x in trust.stats().values())


class TestSignals:

  @staticmethod
  def world(follow, t, rng):
    # Advice walks back and forth between two cells.
    return t % 2 if follow else int(rng.integers(0, 20))

  def test_sees_harm_before_the_first_reward(self):
    trust = trustlib.Trust()
    play(trust, lambda *_: 0.0, 12, states=self.world, length=128)
    assert trust.range == (0.0, 0.0)
    assert trust.better < 0.1

  def test_rewards_overrule(self):
    trust = trustlib.Trust()
    play(trust, bernoulli(0.0, 1.0), 60, states=self.world, length=128)
    assert trust.better > 0.9

  def test_constant_signals_say_nothing(self):
    trust = trustlib.Trust()
    play(trust, lambda *_: 0.0, 12, states=lambda *_: 0, length=128)
    assert trust.better == 0.5

  def test_who_courts_them_and_never_succeeds_is_left(self):
    trust = trustlib.Trust()
    for stretch in range(200):
      states = stretch % 3 + 20.0 * (stretch % 2)
      trust.stretches[stretch % 2].add(np.array([states, 0, 0]))
    trust._judge()
    assert trust.better > 0.99
    # See docs/method.md for the bound.
    trust.followed = 6 * trustlib.VAIN
    trust._judge()
    assert trust.better < trustlib.CLEAR


class TestState:

  def test_goes_on_where_it_was_saved(self):
    one = trustlib.Trust(seed=3)
    play(one, bernoulli(0.2, 0.7), 40)
    two = trustlib.Trust(seed=9)
    two.load(pickle.loads(pickle.dumps(one.save())))
    assert two.stats() == one.stats()
    again = [play(x, bernoulli(0.2, 0.7), 40, seed=1) for x in (one, two)]
    assert again[0] == again[1]
    assert one.stats() == two.stats() and one.save() == two.save()

  def test_memory_is_the_configuration_s(self):
    trust = trustlib.Trust(trustlib.Settings(memory=10))
    trust.load(trustlib.Trust(trustlib.Settings(memory=40)).save())
    assert trust.settings.memory == 10
    assert [x.keep for x in trust.stretches] == [0.975, 0.975]

  def test_plain_values_only(self):
    trust = trustlib.Trust()
    play(trust, bernoulli(0.2, 0.7), 40)
    json.dumps(trust.save())

  def test_older_checkpoints_have_no_evidence(self):
    one, two = trustlib.Trust(), trustlib.Trust()
    play(one, bernoulli(0.2, 0.7), 40)
    data = one.save()
    for key in ('evidence', 'lengths', 'followed'):
      del data[key]
    play(two, bernoulli(0.2, 0.7), 40)
    two.load(data)
    assert two.episodes == one.episodes and two.evidence.units == 0
    play(two, bernoulli(0.2, 0.7), 40)
