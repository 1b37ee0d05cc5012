"""The figures of the table: windows, intervals, and what a kill leaves."""

import json

import elements
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from lore_plugin import status as progress
from lore_plugin.play import evaluate


def write(path, rows):
  path.write_text(''.join(json.dumps(x) + '\n' for x in rows))


def test_windows_by_hand():
  steps = [1, 1000, 1001, 2000, 2500, 3001]
  scores = [0.5, 0.0, 0.9, 0.1, 0.0, 1.0]
  np.testing.assert_array_equal(
      progress.windows(steps, scores, 3999), [0.5, 1.0, 0.0])
  rates = progress.windows(steps[:2], scores[:2], 3000)
  assert rates[0] == 0.5 and np.isnan(rates[1:]).all()


def test_cumulative_by_hand():
  steps, scores = [10, 20, 30, 40], [1.0, 0.0, 0.0, 0.5]
  assert progress.cumulative(steps, scores, 30) == 1 / 3
  assert progress.cumulative(steps, scores, 40) == 0.5
  assert np.isnan(progress.cumulative(steps, scores, 9))


def test_steps_to_goal():
  # One lucky episode; ten with one failure; ten without.
  steps = [500, *range(1001, 1011), *range(2001, 2011)]
  scores = [1.0] + [1.0] * 8 + [0.0] * 2 + [1.0] * 10
  assert progress.steps_to(steps, scores, 4000) == 2000
  assert progress.steps_to(steps, scores, 4000, goal=0.8) == 1000
  assert progress.steps_to(steps, scores, 2999) is None
  assert progress.steps_to([], [], 4000) is None


def test_wilson_by_hand():
  # Wilson 1927 with z = 2: n = 4, p = 1/2 gives 1/2 +- sqrt(1/2) / 2.
  low, high = progress.wilson(2, 4, 2.0)
  np.testing.assert_allclose([low, high], [0.5 - 8 ** -.5, 0.5 + 8 ** -.5])
  assert progress.wilson(0, 100)[0] == 0 and progress.wilson(9, 9)[1] == 1


@hypothesis.given(st.integers(1, 500), st.data())
@hypothesis.settings(max_examples=50, deadline=None)
def test_wilson_contains_the_proportion(count, data):
  wins = data.draw(st.integers(0, count))
  low, high = progress.wilson(wins, count)
  assert 0 <= low <= wins / count + 1e-9 and wins / count <= high + 1e-9
  assert high <= 1


def test_a_killed_run_does_not_count_steps_twice(tmp_path):
  # The process died at step 500; its last checkpoint was of step 250.
  write(tmp_path / 'scores.jsonl', [
      {'step': x, 'episode/score': y}
      for x, y in ((100, 1), (200, 0), (300, 1), (500, 1), (280, 0), (450, 0))
  ])
  with (tmp_path / 'scores.jsonl').open('a') as f:
    f.write('{"step": 460, "episode/sc')
  steps, scores = progress.read_episodes(tmp_path)
  np.testing.assert_array_equal(steps, [100, 200, 280, 450])
  np.testing.assert_array_equal(scores, [1, 0, 0, 0])


def test_a_run_without_episodes(tmp_path):
  steps, scores = progress.read_episodes(tmp_path)
  assert steps.shape == scores.shape == (0,)
  summary = progress.summarise(tmp_path, 6000, {'seconds': 1})
  assert summary['steps_to_goal'] is None and summary['episodes'] == 0
  assert summary['at'] == {'6000': {'window': None, 'cumulative': None}}
  assert json.loads((tmp_path / 'summary.json').read_text()) == summary
  assert '--' in progress.table(summary, tmp_path)


def test_table(tmp_path):
  write(tmp_path / 'scores.jsonl', [
      {'step': 50 * x, 'episode/score': float(x > 100)}
      for x in range(1, 241)])
  summary = progress.summarise(tmp_path, 12000, {
      'seconds': 75, 'alone': {
          'success': 0.5, 'episodes': 4, 'interval': [0.15, 0.85]},
      'advisor': {
          'provider': 'local', 'calls': 9.0, 'hit_rate': 0.5, 'seconds': 3},
      'verdict': progress.verdict(0.31, 0.22, 0.4)})
  assert summary['at']['6000'] == {'window': 1.0, 'cumulative': 20 / 120}
  assert summary['steps_to_goal'] == 5000
  text = progress.table(summary, tmp_path)
  for part in ('at  6,000 steps', '1.00    0.17', 'begins at 5,000',
               '0.50 [0.15, 0.85]', '9 calls', '50.0%', '1 min 15 s',
               'Advice, by comparison: helps: +0.31 [+0.22, +0.40]',
               str(tmp_path)):
    assert part in text, (part, text)


def test_status_line():
  now = [0.0]
  step = elements.Counter()
  status = progress.StatusOutput(step, 1000, lambda: now[0])
  assert 'ETA --' in status.line()
  now[0], step.value = 10.0, 250
  value = lambda x: np.asarray(x)
  status([
      (200, 'episode/score', value(1.0)), (240, 'episode/score', value(0.0)),
      (240, 'epstats/log/lore_beta/avg', value(1.5)),
      (240, 'train/advisor/calls', value(7.0)),
      (240, 'train/lore/uplift', value(-0.5)),
      (240, 'train/lore/uplift_low', value(-0.7)),
      (240, 'train/lore/uplift_high', value(-0.3)),
      (240, 'train/lore/uplift_sure', value(1.0)),
      (240, 'text', 'no number'), (240, 'video', np.zeros((2, 4, 4, 3)))])
  line = status.line()
  for part in ('250/1,000', 'ETA 30 s', 'success 0.50', 'beta 1.50',
               'calls 7', 'advice harmful: -0.50 [-0.70, -0.30]'):
    assert part in line, line
  status([(250, 'train/lore/uplift_sure', value(0.0))])
  assert 'advice may do harm: -0.50 [-0.70, -0.30]' in status.line()


@pytest.mark.parametrize('seconds, text', [
    (0.4, '0 s'), (75, '1 min 15 s'), (3600, '1 h 0 min'),
    (7384, '2 h 3 min')])
def test_duration(seconds, text):
  assert progress.duration(seconds) == text


class World:
  """Environment i pays i + its episode's number, after i + 1 steps."""

  act_space = {
      'action': elements.Space(np.int32, (), 0, 3),
      'reset': elements.Space(bool)}

  def __init__(self, index):
    self.index, self.episode, self.left, self.closed = index, -1, 0, False

  def step(self, action):
    first = bool(action['reset'])
    if first:
      self.episode, self.left = self.episode + 1, self.index + 1
    else:
      assert self.left > 0, 'stepped after the end'
      assert action['action'] == 2
      self.left -= 1
    last = self.left == 0
    return {
        'obs': np.float32(self.left), 'log/x': np.float32(0),
        'reward': np.float32(last * (self.index + self.episode)),
        'is_first': first, 'is_last': last, 'is_terminal': last}

  def close(self):
    self.closed = True


class Two:
  """Always takes action 2."""

  def init_policy(self, batch_size):
    return 0

  def policy(self, carry, obs, mode):
    assert mode == 'eval' and not any(k.startswith('log/') for k in obs)
    return carry + 1, {'action': np.full(len(obs['obs']), 2)}, {}


def test_rollout_gives_each_environment_its_share():
  worlds = []
  def make(i):
    worlds.append(World(i))
    return worlds[-1]
  scores = evaluate.rollout(Two(), make, episodes=6, envs=3)
  # Long episodes count as often as short ones.
  np.testing.assert_array_equal(np.sort(scores), [0, 1, 1, 2, 2, 3])
  assert all(x.closed for x in worlds)
  result = evaluate.proportion(scores)
  assert result['success'] == 5 / 6 and result['score'] == 1.5
