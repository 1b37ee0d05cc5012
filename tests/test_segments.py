"""Parts of episodes: when they are cut, who is drawn, what bounds returns."""

import pytest

from lore_plugin.agent import compare
from lore_plugin.agent import segments
from lore_plugin.agent import trust as trustlib


class TestSegments:

  @staticmethod
  def wins(trust, length):
    """Plays episodes of one environment that succeed after some steps."""
    for _ in range(segments.WINS):
      for t in range(length):
        trust.step(0, t, False, float(t == length - 1), not t, t == length - 1)

  def test_are_cut_once_they_last_several_times_as_long(self):
    trust = trustlib.Trust()
    self.wins(trust, 24)
    assert trust.lengths.most == 96
    before = sum(trust.episodes)
    trust.step(0, 0, False, 0.0, True, False)
    first = trust.running[0]
    for t in range(95):
      trust.step(0, t, False, 0.0, False, False)
    assert trust.running[0] is first and first.length == 96
    # The reward of the last action is the segment's, the next step is not.
    trust.step(0, 0, False, 0.25, False, False)
    second = trust.running[0]
    assert second is not first and second.episode is first.episode
    assert (first.score, first.length, second.length) == (0.25, 96, 1)
    assert sum(trust.episodes) == before + 1
    _, ended = trust.step(0, 0, False, 1.0, False, True)
    assert (ended.score, ended.length) == (1.25, 98)
    assert ended.arm == first.arm
    assert ended.changed == (None if second.arm == first.arm else 96)

  def test_last_longer_as_long_as_nothing_is_known(self):
    trust = trustlib.Trust()
    assert trust.lengths.most == segments.LONG
    # What ends soon and earns nothing says nothing.
    for _ in range(20):
      trust.step(0, 0, False, 0.0, True, False)
      trust.step(0, 0, False, 0.0, False, True)
    assert trust.lengths.most == segments.LONG
    lengths = segments.Lengths()
    for _ in range(segments.WINS):
      lengths.add(1, 5, True)
    assert lengths.most == segments.SHORT

  def test_chance_brings_about_shares_of_steps(self):
    chance = lambda *args: segments.chance(*args, 0.01, 0.99)
    assert chance(0.5, 0.5, (20, 20)) == pytest.approx(0.5)
    # Three steps in four, of segments a third as long.
    assert chance(0.75, 0.75, (60, 20)) == pytest.approx(0.9)
    assert chance(0.5, 0.9, (20, 20)) < 0.5 < chance(0.5, 0.1, (20, 20))
    assert chance(0.0, 0.0, (20, 20)) == 0.01
    assert chance(1.0, 1.0, (20, 20)) == 0.99

  def test_an_environment_that_begins_anew_ends_its_segment(self):
    trust = trustlib.Trust()
    trust.step(0, 0, False, 0.0, True, False)
    trust.step(0, 0, False, 0.0, True, False)
    assert sum(trust.episodes) == 1 and len(trust.evidence.waiting) == 1


class TestBounds:

  def test_of_few_are_their_extremes_and_nothing(self):
    assert compare.bounds([], []) == (0, 0)
    assert compare.bounds([1.0, 1.0], []) == (0, 1)
    assert compare.bounds([1.0], [0.0, -2.0]) == (-2, 1)
    assert compare.bounds([-3.0, -1.0], []) == (-3, 0)

  def test_an_outlier_does_not_stretch_them(self):
    assert compare.bounds([0.0, 1.0] * 20 + [1000.0], [])[1] <= 11
    assert compare.bounds([0.0, 1.0] * 20 + [-1000.0], [])[0] >= -11
    # Few successes are no outliers.
    assert compare.bounds([0.0] * 99 + [1.0], []) == (0, 1)

  def test_an_offset_does_not_either(self):
    assert compare.bounds([1000.0, 1001.0] * 5, []) == (1000, 1001)
    assert compare.bounds([-1000.0, -1001.0] * 5, []) == (-1001, -1000)
