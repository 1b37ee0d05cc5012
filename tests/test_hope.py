"""The gate is held open by what is likely, short of a proof."""

import pickle

import numpy as np
import pytest

from lore_plugin.agent import advised
from lore_plugin.agent import columns
from lore_plugin.agent import compare
from lore_plugin.agent import proven
from lore_plugin.agent import segments
from lore_plugin.agent import trust as trustlib
from lore_plugin.runs import rivals
from lore_plugin.upstream import plain

from trusting import bernoulli, means, play


def likely(better, **settings):
  """Returns a trust control by which advice helps with a probability."""
  trust = trustlib.Trust(trustlib.Settings(**settings))
  trust._better = better
  return trust


class TestHope:

  @pytest.mark.parametrize('better, hope', [
      (0.0, 0.0), (0.5, 0.0), (0.8, 0.0), (0.85, 0.25), (0.9, 0.5),
      (1.0, 1.0)])
  def test_by_hand(self, better, hope):
    assert likely(better).hope == pytest.approx(hope)

  def test_none_where_nothing_is_compared(self):
    assert likely(1.0, enabled=False).hope == 0

  def test_none_where_harm_is_shown(self):
    trust = likely(1.0)
    trust.evidence._logs = np.array([0.0, 9.0])
    assert trust.hope == 0

  def test_none_after_a_fall_until_much_has_come(self):
    trust = likely(1.0)
    trust.proven.forget(100)
    assert trust.proven.falls == 1 and trust.hope == 0
    # 2 * 4 segments of either arm.
    trust.proven.counts = [8, 7]
    assert trust.hope == 0
    trust.proven.counts = [8, 8]
    assert trust.hope == 1

  @pytest.mark.parametrize('better, proof, gate', [
      (0.9, 0.2, 0.5), (0.9, 0.7, 0.7), (0.1, 0.7, 0.7), (0.1, 0.0, 0.0)])
  def test_gate_is_held_by_the_greater(self, better, proof, gate):
    trust = likely(better)
    trust.proven.proof = proof
    assert trust.gate == pytest.approx(gate)
    assert trust.stats()['hope'] == trust.hope

  @pytest.mark.parametrize('better, follow', [(0.8, 0.0), (0.81, 1.0)])
  def test_ends_the_turns_of_the_agent(self, better, follow):
    trust = likely(better)
    turn = segments.STRETCH * trustlib.TURN
    for length in (0, turn - 1, 2 * turn):
      assert trust._follow(segments.Segment(
          1, 0.5, segments.Episode(1, 0.5), length=length)) == 1
    assert trust._follow(segments.Segment(
        1, 0.5, segments.Episode(1, 0.5), length=turn)) == follow

  def test_what_fails_behind_a_gate_held_by_hope_is_no_lapse(self):
    now = proven.Proven()
    now.reach, now.best = 1.0, 0.8
    for _ in range(20):
      now.ended(0, 0.0, (0.0, 1.0), 0, False, proven.OPEN)
    assert now.lapses == 0
    for _ in range(7):
      now.ended(0, 0.0, (0.0, 1.0), 0, False, 0.9 * proven.OPEN)
    assert now.lapses == 1

  def test_advice_without_effect_is_seldom_hoped_for(self):
    shares = []
    for seed in range(10):
      trust, held = trustlib.Trust(seed=seed), []
      for part in range(60):
        play(trust, bernoulli(0.5, 0.5), 4, 100 * seed + part, length=5)
        held.append(trust.gate > 0)
      shares.append(np.mean(held))
    # A fair comparison is above 0.8 in a fifth of the looks.
    assert np.mean(shares) < 0.25

  @pytest.mark.parametrize('counts, wanted', [([8, 7], False), ([8, 8], True)])
  def test_after_a_fall_advice_is_drawn_no_sooner(self, counts, wanted):
    trust = likely(1.0)
    trust.proven.forget(100)
    trust.proven.counts = counts
    assert (trust._wanted() == 1) == wanted

  def test_luck_short_of_a_proof_makes_nothing_fall(self):
    now = proven.Proven()
    # 2 of 2: the lower end of Wilson's interval, 2 / (2 + 3.84) = 0.342.
    now.bound(means(0.0, 1.0, 2), (0.0, 1.0), 0, 0.9, 0.5)
    assert now.reach == pytest.approx(0.342, abs=1e-3)
    # Without hope it is not learned at all.
    now = proven.Proven()
    now.bound(means(0.0, 1.0, 2), (0.0, 1.0), 0, 0.7, 0.0)
    assert now.reach is None

  def test_a_rival_hopes_for_nothing(self):
    trust = trustlib.Trust()
    play(trust, bernoulli(0.0, 1.0), 40)
    assert trust.hope > 0
    rival = rivals.read('jsrl 3')()
    rival.load(trust.save())
    assert rival.better > 0.8 and rival.hope == rival.gate == 0

  def test_a_checkpoint_with_comparisons_is_read_as_data(self, tmp_path):
    trust = trustlib.Trust()
    play(trust, bernoulli(0.2, 1.0), 60)
    trust.proven.alone = compare.Mean(0.1, 7)
    file = tmp_path / 'agent.pkl'
    file.write_bytes(pickle.dumps({'trust': trust.save()}))
    data = plain.load(file)['trust']
    other = trustlib.Trust()
    other.load(data)
    assert other.guess == trust.guess and other.matched == trust.matched
    assert isinstance(other.guess[0], compare.Mean)
    assert other.proven.alone == trust.proven.alone

  def test_acting_takes_the_gate_and_learning_the_proof(self):
    class Agent:
      def stream(self, st):
        return st
    trust = likely(0.9)
    trust.proven.proof = 0.2
    agent = advised.AdvisedAgent(Agent(), None, 3, trust)
    data = {
        columns.PRIOR: np.zeros((2, 3), np.float32),
        columns.VALID: np.ones(2, bool)}
    place = 3 + agent.columns.index(columns.UPLIFT)
    acting = agent._join(data, trust.trust, trust.gate)
    assert acting[:, place] == pytest.approx(0.5)
    batch = next(iter(agent.stream(iter([data]))))
    assert batch[columns.ADVICE][:, place] == pytest.approx(0.2)


class TestAlike:

  @pytest.mark.parametrize('share, spread, count, factor', [
      # What succeeds or fails counts as what it is.
      (0.5, 0.25, 8, 1.0), (0.1, 0.09, 3, 1.0), (0.0, 0.0, 9, 1.0),
      (1.0, 0.0, 9, 1.0),
      # Four that are all alike, and as many doubts: half of the variance.
      (0.5, 0.0, 4, 2.0),
      # (4 + 4) 0.16 / (4 * 0.04 + 4 * 0.16) = 1.28 / 0.8.
      (0.2, 0.04, 4, 1.6),
      # Returns that are all at an end of the range, but for rounding.
      (1e-17, 0.0, 20, 1.0), (1 - 1e-16, 0.0, 20, 1.0),
      (1e-11, 1e-12, 20, 1.0), (5e-324, 0.0, 9, 1.0)])
  def test_by_hand(self, share, spread, count, factor):
    assert compare.alike(share, spread, count) == pytest.approx(factor)

  def test_never_less_than_what_succeeds_or_fails(self):
    rng = np.random.default_rng(0)
    for _ in range(100):
      values = rng.random(rng.integers(1, 20)) ** rng.integers(1, 9)
      factor = compare.alike(values.mean(), values.var(), len(values))
      assert 1 <= factor < 1 + len(values) / compare.DOUBT + 1e-9

  def test_returns_that_differ_little_are_proven_sooner(self):
    """As on Crafter: 2.1 alone and 12 with advice, of a range of 16."""
    def returns(spread):
      rng = np.random.default_rng(0)
      rows = [
          (arm, (2.1, 12.0)[arm] + spread * rng.normal(), 200)
          for arm in [0, 1, 1, 1] * 4]
      rows.append((1, 16.0, 200))
      extremes = compare.bounds([x for _, x, _ in rows], [])
      return compare.match(rows, extremes, 20.0)
    def low(matched):
      return compare.newcombe(*compare.intervals(matched, 3.0))[1]
    assert low(returns(1.0)) > 0 > low(returns(9.0))

  def test_no_effect_is_seldom_proven(self):
    """At any of 28 looks, by three deviations; 1 of 200 in simulations."""
    wrong = 0
    for seed in range(60):
      rng = np.random.default_rng(seed)
      rows = [(int(rng.random() < 0.7), x, 100) for x in rng.random(60)]
      for count in range(6, 61, 2):
        part = rows[:count]
        extremes = compare.bounds([x for _, x, _ in part], [])
        matched = compare.match(part, extremes, 20.0)
        if matched and compare.newcombe(
            *compare.intervals(matched, 3.0))[1] > 0:
          wrong += 1
          break
    assert wrong <= 2
