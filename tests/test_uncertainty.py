"""The judge of uncertainty, by hand and against the planner."""

import math

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.worlds.minigrid import env as minigrid
from lore_plugin.play import planner
from lore_plugin.play import uncertainty


def test_ranks_share_ties():
  np.testing.assert_array_equal(
      uncertainty.ranks(np.array([3., 1., 3., 9.])), [2.5, 1, 2.5, 4])


def test_spearman_by_hand():
  x = np.array([1., 2., 3., 4.])
  assert uncertainty.spearman(x, np.exp(x)) == pytest.approx(1)
  assert uncertainty.spearman(x, -x) == pytest.approx(-1)
  # 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15).
  assert uncertainty.spearman(x, x[[0, 2, 1, 3]]) == pytest.approx(0.8)
  assert math.isnan(uncertainty.spearman(x, 0 * x))


def test_auroc_by_hand():
  x = np.array([1., 2., 3., 4.])
  label = np.array([False, True, False, True])
  # Of four pairs one is the wrong way round.
  assert uncertainty.auroc(x, label) == 0.75
  assert uncertainty.auroc(0 * x, label) == 0.5
  assert math.isnan(uncertainty.auroc(x, label | True))


def test_gain_by_hand():
  dists = np.array([4., 6., 5.])
  even, prior = np.zeros(3), np.array([9., 0., 0.])
  assert uncertainty.gain(even, prior, dists) == pytest.approx(1)
  assert uncertainty.gain(even, -prior, dists) == pytest.approx(5 - 5.5)
  # An actor that is sure gains nothing from the same action.
  sure = np.array([50., 0., 0.])
  assert uncertainty.gain(sure, prior, dists) == pytest.approx(0, abs=1e-6)


def test_distances_are_the_planners():
  env = minigrid.MiniGrid('DoorKey-5x5', seed=3)
  env.step({'action': 0, 'reset': True})
  for action in (0, 2, 1, 3, 2, 6):
    dists = uncertainty.distances(env)
    optimal, steps = planner.optimal_actions(env)
    assert dists.shape == (7,) and dists.min() == steps
    assert set(np.flatnonzero(dists == steps)) == optimal
    # To do nothing, or to turn away, costs a step or two.
    assert dists[6] == steps + 1 and dists[:2].max() <= steps + 2
    env.step({'action': action, 'reset': False})
  env.close()


def test_summary_finds_the_part_that_predicts():
  rng = np.random.default_rng(0)
  rows = [{
      'step': i * 10, 'episode': str(i // 20), 'gain': gain,
      'entropy': gain + rng.normal(), 'value': rng.normal(),
      'disagreement': -gain, 'u': gain, 'beta': 0.0}
      for i, gain in enumerate(rng.normal(size=200))]
  first, second, empty = uncertainty.summarise(rows, [1000, 2000, 3000], 50)
  assert first['states'] == second['states'] == 100
  assert first['episodes'] == 5
  assert first['u']['spearman'] == pytest.approx(1)
  assert first['u']['auroc'] == 1
  assert first['disagreement']['auroc'] == 0
  low, high = first['entropy']['auroc_interval']
  assert 0.5 < low < first['entropy']['auroc'] < high
  assert 0.3 < first['value']['auroc'] < 0.7
  assert empty == {'from': 2000, 'to': 3000, 'states': 0}
  text = uncertainty.table([first, second, empty])
  assert 'steps 1,000 to 2,000: 100 states' in text


def test_stages_must_rise(tmp_path):
  with pytest.raises(errors.ConfigError, match='must rise'):
    uncertainty.main([str(tmp_path), '--stages', '20', '10'])
