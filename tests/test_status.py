"""The figures of the table: windows, intervals, and what a kill leaves."""

import json

import elements
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from lore_plugin import config as configlib
from lore_plugin import curves
from lore_plugin import logdir
from lore_plugin import status
from lore_plugin.play import rollout


def write(path, rows):
  path.write_text(''.join(json.dumps(x) + '\n' for x in rows))


def test_windows_by_hand():
  steps = [1, 1000, 1001, 2000, 2500, 3001]
  scores = [0.5, 0.0, 0.9, 0.1, 0.0, 1.0]
  np.testing.assert_array_equal(
      curves.windows(steps, scores, 3999), [0.5, 1.0, 0.0])
  rates = curves.windows(steps[:2], scores[:2], 3000)
  assert rates[0] == 0.5 and np.isnan(rates[1:]).all()


def test_cumulative_by_hand():
  steps, scores = [10, 20, 30, 40], [1.0, 0.0, 0.0, 0.5]
  assert curves.cumulative(steps, scores, 30) == 1 / 3
  assert curves.cumulative(steps, scores, 40) == 0.5
  assert np.isnan(curves.cumulative(steps, scores, 9))


def test_steps_to_goal():
  # One lucky episode; ten with one failure; ten without.
  steps = [500, *range(1001, 1011), *range(2001, 2011)]
  scores = [1.0] + [1.0] * 8 + [0.0] * 2 + [1.0] * 10
  assert curves.steps_to(steps, scores, 4000) == 2000
  assert curves.steps_to(steps, scores, 4000, goal=0.8) == 1000
  assert curves.steps_to(steps, scores, 2999) is None
  assert curves.steps_to([], [], 4000) is None


def test_wilson_by_hand():
  # Wilson 1927 with z = 2: n = 4, p = 1/2 gives 1/2 +- sqrt(1/2) / 2.
  low, high = curves.wilson(2, 4, 2.0)
  np.testing.assert_allclose([low, high], [0.5 - 8 ** -.5, 0.5 + 8 ** -.5])
  assert curves.wilson(0, 100)[0] == 0 and curves.wilson(9, 9)[1] == 1


@hypothesis.given(st.integers(1, 500), st.data())
@hypothesis.settings(max_examples=50, deadline=None)
def test_wilson_contains_the_proportion(count, data):
  wins = data.draw(st.integers(0, count))
  low, high = curves.wilson(wins, count)
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
  steps, scores, wins = logdir.read_outcomes(tmp_path)
  assert wins is None
  np.testing.assert_array_equal(steps, [100, 200, 280, 450])
  np.testing.assert_array_equal(scores, [1, 0, 0, 0])


def test_a_run_without_episodes(tmp_path):
  steps, scores, _ = logdir.read_outcomes(tmp_path)
  assert steps.shape == scores.shape == (0,)
  summary = status.summarise(tmp_path, 6000, {'seconds': 1})
  assert summary['steps_to_goal'] is None and summary['episodes'] == 0
  assert summary['at'] == {'6000': {'window': None, 'cumulative': None}}
  assert json.loads((tmp_path / 'summary.json').read_text()) == summary
  assert '--' in status.table(summary, tmp_path)


def log(path, success):
  """5,000 steps of failures, 7,000 of successes, each worth 0.5."""
  write(path / 'metrics.jsonl', [{
      'step': 50 * x, 'episode/score': 0.5 * (x > 100),
      **({'episode/success': float(x > 100)} if success else {})}
      for x in range(1, 241)])


def test_table(tmp_path):
  log(tmp_path, success=True)
  summary = status.summarise(tmp_path, 12000, {
      'seconds': 75, 'alone': {
          'success': 0.5, 'episodes': 4, 'interval': [0.15, 0.85]},
      'advisor': {
          'provider': 'local', 'calls': 9.0, 'spent_calls': 12, 'money': 0.1,
          'spent_money': 0.25, 'answered': 8, 'failures': 3,
          'refused_budget': 2, 'refused_cooldown': 40, 'hit_rate': 0.5,
          'seconds': 3},
      'verdict': status.verdict(0.31, 0.22, 0.4)})
  assert summary['measure'] == 'success'
  assert summary['at']['6000'] == {'window': 1.0, 'cumulative': 20 / 120}
  assert summary['steps_to_goal'] == 5000
  text = status.table(summary, tmp_path)
  for part in ('at  6,000 steps', '1.00    0.17', 'begins at 5,000',
               '0.50 [0.15, 0.85]',
               # What the ledger says, not what this process remembers.
               '12 calls (8 answered, 3 failed, 2 refused), $0.2500',
               '50.0%', '1 min 15 s',
               'Advice, by comparison: helps: +0.31 [+0.22, +0.40]',
               str(tmp_path)):
    assert part in text, (part, text)


def test_without_a_notion_of_success_returns_are_shown(tmp_path):
  log(tmp_path, success=False)
  summary = status.summarise(tmp_path, 12000, {
      'seconds': 75, 'alone': {
          'success': None, 'interval': None, 'episodes': 4, 'score': 0.4}})
  assert summary['measure'] == 'return' and summary['steps_to_goal'] is None
  assert summary['at']['6000'] == {'window': 0.5, 'cumulative': 0.5 * 20 / 120}
  text = status.table(summary, tmp_path)
  assert 'Mean return while training' in text and 'uccess' not in text
  assert 'return 0.40\n' in text
  summary['alone'].update(crafter_score=5.44, unlocked={'collect_wood': 0.5})
  assert 'were cut' not in status.table(summary, tmp_path)
  assert '\n  3 of 20 episodes were cut, as they went on for too long\n' in (
      status.table({**summary, 'alone': {
          **summary['alone'], 'episodes': 20, 'cut': 3}}, tmp_path))
  assert 'return 0.40, Crafter score 5.4 %\n' in status.table(
      summary, tmp_path)


@pytest.mark.parametrize('task, words', [
    ('minigrid_BabyAI-GoToObj', 'Agent alone, 4 layouts of new seeds: '),
    (None, 'Agent alone, 4 layouts of new seeds: '),
    ('crafter_symbolic', 'Agent alone, 4 episodes of new seeds: '),
    ('gymnasium_CartPole-v1', 'Agent alone, 4 episodes of new seeds: ')])
@pytest.mark.parametrize('success', [None, 0.5])
def test_what_new_seeds_draw_has_its_name(tmp_path, task, words, success):
  log(tmp_path, success=success is not None)
  text = status.table(status.summarise(tmp_path, 12000, {
      'seconds': 75, **({'task': task} if task else {}), 'alone': {
          'success': success, 'interval': success and [0.15, 0.85],
          'episodes': 4, 'score': 0.4}}), tmp_path)
  assert words in text
  assert ('layouts' in text) == ('layouts' in words)


def test_minigrid_logged_no_success_once(tmp_path):
  """A run that goes on from an earlier version shows one measure."""
  log(tmp_path, success=False)
  (tmp_path / 'config.yaml').write_text('seed: 0\ntask: minigrid_Empty-5x5\n')
  summary = status.summarise(tmp_path, 12000, {'seconds': 75})
  assert summary['measure'] == 'success'
  assert summary['at']['6000'] == {'window': 1.0, 'cumulative': 20 / 120}
  (tmp_path / 'config.yaml').write_text('task: gymnasium_minigrid_x\n')
  assert status.summarise(
      tmp_path, 12000, {'seconds': 75})['measure'] == 'return'


def test_an_evaluation_is_no_episode_of_training(tmp_path):
  """Script train_eval begins with one, at step 0, under the same names."""
  write(tmp_path / 'metrics.jsonl', [
      {'step': 0, 'episode/score': 1.0, 'episode/success': 1.0,
       'episode/evaluation': 1.0},
      {'step': 80, 'episode/score': 0.0, 'episode/success': 0.0}])
  summary = status.summarise(tmp_path, 200, {'seconds': 75})
  assert summary['episodes'] == 1 and summary['return'] == 0.0
  shown = status.Status(elements.Counter(80), 200)
  shown([(0, 'episode/score', 1.0), (0, 'episode/success', 1.0),
         (0, 'episode/evaluation', 1.0), (80, 'episode/success', 0.0)])
  assert shown.wins == [(80, 0.0)] and shown.scores == []


def test_a_success_is_what_the_environment_says():
  told = []
  see = rollout.Successes(told.append)
  step = lambda first, last, win: {
      'is_first': first, 'is_last': last, 'log/success': np.float32(win)}
  for worker in (0, 1):
    see(step(True, False, 0), worker)
  see(step(False, False, 1), 1)
  see(step(False, True, 0), 0)
  see(step(False, True, 0), 1)
  assert told == [0.0, 1.0]
  # An episode that was broken off leaves nothing to the next.
  see(step(True, False, 1))
  see(step(True, False, 0))
  see(step(False, True, 0))
  see({'is_first': True, 'is_last': True})
  assert told == [0.0, 1.0, 0.0]


def made(now, **kwargs):
  return status.Status(
      elements.Counter(), 1000, clock=lambda: now[0], **kwargs)


LINE = {
    'epstats/log/lore_beta/avg': 1.5, 'train/advisor/calls': 7.0,
    'train/advisor/answered': 5.0, 'train/lore/uplift': -0.5,
    'train/lore/uplift_low': -0.7, 'train/lore/uplift_high': -0.3,
    'train/lore/uplift_shown': -1.0, 'train/lore/advised_episodes': 9.0,
    'train/lore/control_episodes': 3.0}


def feed(output, step, **values):
  output([(step, k, np.asarray(v)) for k, v in {**LINE, **values}.items()])


def test_status_line(capsys):
  now = [0.0]
  output = made(now)
  assert 'ETA --' in output.line()
  output([(0, 'text', 'no number'), (0, 'video', np.zeros((2, 4, 4, 3)))])
  now[0], output.step.value = 10.0, 250
  feed(output, 240, **{'episode/score': 7.0, 'episode/success': 0.0})
  line = output.line()
  for part in ('250/1,000', 'ETA 30 s', 'success 0.00', 'beta 1.50',
               '7 calls (5 answered)', 'advice harmful: -0.50 [-0.70, -0.30] '
               '(9 advised, 3 control episodes)'):
    assert part in line, line
  feed(output, 250, **{'train/lore/uplift_shown': 0.0})
  assert 'advice may do harm: -0.50 [-0.70, -0.30]' in output.line()
  # Nothing is said of advice before an episode of each kind has ended.
  feed(output, 250, **{'train/lore/control_episodes': 0.0})
  assert 'advice not compared yet' in output.line()
  # Nor where nobody ever advised.
  feed(output, 250, **{'train/advisor/answered': 0.0})
  assert 'no advice yet: no answer has come' in output.line()
  assert 'harm' not in output.line()
  # One choice alone is advice without an answer.
  feed(output, 250, **{
      'train/advisor/answered': 0.0, 'train/advisor/sole': 9.0})
  assert 'advice harmful' in output.line()


def test_returns_in_the_status_line():
  output = made([0.0])
  output([(1, 'episode/score', np.asarray(7.0))])
  assert 'return 7.00 (last' in output.line()


def test_a_line_a_minute_in_a_file(capsys):
  now = [0.0]
  output = made(now)
  for now[0] in range(0, 150, 10):
    feed(output, 0)
  assert capsys.readouterr().out.count('[LoRe]') == 3


def test_what_is_remembered_does_not_grow():
  output = made([0.0])
  for step in range(0, 50_000, 10):
    output.step.value = step
    feed(output, step, **{'episode/score': 0.0, 'episode/success': 0.0})
  assert len(output.scores) <= 101 and len(output.wins) <= 101


@pytest.mark.parametrize('seconds, text', [
    (0.4, '0 s'), (75, '1 min 15 s'), (3600, '1 h 0 min'),
    (7384, '2 h 3 min')])
def test_duration(seconds, text):
  assert status.duration(seconds) == text


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
  played = rollout.play(Two(), make, episodes=6, envs=3)
  scores = played['scores']
  # Long episodes count as often as short ones.
  np.testing.assert_array_equal(np.sort(scores), [0, 1, 1, 2, 2, 3])
  assert all(x.closed for x in worlds)
  assert played['wins'] is None
  result = rollout.proportion(played)
  assert result['success'] is None and result['score'] == 1.5


def test_how_long_the_start_took_is_remembered(
    tmp_path, monkeypatch, capsys, blocks):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  config = configlib.resolve(['--configs', 'minigrid', 'debug'], blocks)
  start = lambda config: [
      status.building(config).__enter__(), capsys.readouterr().out][1]
  with status.building(config):
    pass
  assert 'half a minute' in capsys.readouterr().out
  assert 'took 0 s last time' in start(config)
  assert 'half a minute' in start(config.update(batch_size=9))
  # Where nothing can be written, nothing is remembered.
  monkeypatch.setenv('XDG_CACHE_HOME', '/proc/none')
  with status.building(config):
    pass


@pytest.fixture(scope='module')
def blocks():
  return configlib.load()


SILENT = {
    'provider': 'openai', 'calls': 3.0, 'answered': 0.0, 'failures': 3.0,
    'failures_failed': 3.0, 'refused_cooldown': 7.0}


def test_a_run_that_nobody_advised_says_so():
  words = status.silence({'advisor': SILENT})
  for part in ('NO ANSWER CAME', 'openai', '3 calls (3 failed)',
               'failures: 3 failed', 'not asked: 7 cooldown'):
    assert part in words, words
  assert 'First failure: gone' in status.silence(
      {'advisor': {**SILENT, 'failure': 'gone.'}})
  sole = status.silence({'advisor': {**SILENT, 'sole': 1234.0}})
  assert 'In 1,234 steps there was one choice alone' in sole
  assert 'one choice' not in words
  # What is set aside and given back leaves a rest of either sign.
  assert '$' not in status.calls({**SILENT, 'spent_money': -1e-19})
  quiet = dict.fromkeys(SILENT, 0.0)
  assert 'nothing was asked at all' in status.silence(
      {'advisor': {**quiet, 'provider': 'local'}})
  # Where there is nothing to choose nobody is asked, and that is no fault.
  assert status.silence({'advisor': {
      **quiet, 'provider': 'local', 'sole': 1234.0}}) == (
          'Nobody was asked: in 1,234 steps there was one choice alone, and '
          'the world\'s way to it was followed.')
  # One call that was refused, and there was something to choose.
  assert 'not asked: 1 budget' in status.silence({'advisor': {
      **quiet, 'provider': 'local', 'sole': 1234.0, 'refused_budget': 1.0}})
  # Replies of another run, in a file that they share, are advice as well.
  assert not status.silence({'advisor': {**quiet, 'answered': 2.0}})
  assert not status.silence({})
