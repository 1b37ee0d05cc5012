"""The agent alone, evaluated while it trains."""

import json

import elements
import pytest

from lore_plugin import config as configlib
from lore_plugin import early
from lore_plugin import errors
from lore_plugin import logdir as logdirlib
from lore_plugin import upstream
from lore_plugin import worlds
from lore_plugin.play import alone


class Counting:
  """Draws once for each action, as upstream's agent."""

  def __init__(self):
    self.n_actions = elements.Counter(7)
    self.pending_sync = {'new': 1}


def evaluated(monkeypatch, every, end, steps):
  """Returns the steps for which a run that takes `steps` is evaluated."""
  config = elements.Config(
      {'lore': {'heldout_every': every}, 'run': {'steps': end}})
  seen = []
  monkeypatch.setattr(
      alone, 'evaluate', lambda agent, config, make, step: seen.append(step))
  each = alone.Regularly(config, lambda: None, lambda: None)
  for step in steps:
    each(step)
  return seen


@pytest.mark.parametrize('first, want', [
    # From its start; what a run that goes on had behind it; its last step.
    (1, [200, 400]), (200, [200, 400]), (201, [400]), (450, [])])
def test_at_multiples_before_the_end(monkeypatch, first, want):
  steps = [x for x in range(first, 601) for _ in range(2)]
  assert evaluated(monkeypatch, 200, 600.0, steps) == want


def test_late_steps_count_for_their_multiple(monkeypatch):
  """Four environments take four steps at a time."""
  assert evaluated(monkeypatch, 10, 100.0, (4, 8, 12, 16, 20)) == [10, 20]


def failing(monkeypatch, *causes):
  """Returns steps that were tried, where each evaluation raises the next."""
  causes, tried = list(causes), []
  def evaluate(agent, config, make, step):
    tried.append(step)
    raise causes.pop(0)
  monkeypatch.setattr(alone, 'evaluate', evaluate)
  config = elements.Config({
      'lore': {'heldout_every': 100}, 'run': {'steps': 1000}})
  each = alone.Regularly(config, lambda: None, lambda: None)
  for step in range(1, 401):
    each(step)
  return tried


def test_one_that_fails_ends_no_run(monkeypatch, capsys):
  """Neither by an error of ours nor of an environment's own; said once."""
  tried = failing(
      monkeypatch, errors.EnvError('It failed in\nstep 3.'),
      RuntimeError('no'), OSError('full'), errors.EnvError('again'))
  assert tried == [100, 200, 300, 400]
  line, = capsys.readouterr().out.splitlines()
  assert 'not evaluated: It failed in step 3. That was at step 100;' in line
  assert '--lore.heldout_every 0' in line


def test_an_interruption_ends_it_also_as_an_error_of_the_environment(
    monkeypatch):
  wrapped = RuntimeError('pipe closed')
  wrapped.__context__ = KeyboardInterrupt()
  for cause in (KeyboardInterrupt(), SystemExit(3), wrapped):
    with pytest.raises((KeyboardInterrupt, SystemExit)):
      failing(monkeypatch, RuntimeError('before'), cause)


@pytest.mark.parametrize('wrap', [False, True])
def test_draws_go_on_where_they_were(wrap):
  agent = inner = Counting()
  if wrap:
    agent = type('Advised', (), {'agent': inner})()
  with alone.undisturbed(agent):
    assert inner.pending_sync is None
    inner.n_actions.increment()
  assert int(inner.n_actions) == 7 and inner.pending_sync == {'new': 1}
  with alone.undisturbed(object()):
    pass


def test_what_was_repeated_counts_once(tmp_path):
  row = {'success': 0.5, 'score': 0.4, 'episodes': 10}
  steps = (100, 200, 300, 200, 200, 300)
  (tmp_path / 'alone.jsonl').write_text(''.join(
      json.dumps({'step': x, **row, 'score': i}) + '\n'
      for i, x in enumerate(steps)) + '{"step": 400, "succ')
  assert [(x['step'], x['score']) for x in logdirlib.read_alone(tmp_path)] == [
      (100, 0), (200, 4), (300, 5)]
  assert logdirlib.read_alone(tmp_path / 'none') == []


def test_scripts_that_can():
  argv = ['--configs', 'minigrid', '--lore.heldout_every', '100', '--script']
  for script in ('train', 'train_eval'):
    configlib.resolve([*argv, script], configlib.load())
  with pytest.raises(errors.ConfigError, match='heldout_every 0'):
    configlib.resolve([*argv, 'parallel'], configlib.load())
  with pytest.raises(errors.ConfigError, match='Type --lore.heldout 100'):
    configlib.resolve(
        [*argv, 'train', '--lore.heldout', '0'], configlib.load())


@pytest.mark.parametrize('task, ok', [
    ('minigrid_DoorKey-5x5', True), ('gymnasium_CartPole-v1', True),
    ('crafter_symbolic', True), ('crafter_reward', False),
    ('dummy_disc', False)])
def test_which_tasks_keep_seeds_from_training(task, ok):
  found = upstream.find()
  config = configlib.resolve([
      '--configs', 'minigrid', '--task', task, '--lore.heldout_every', '100'],
      configlib.load(found.configs))
  assert worlds.has_heldout(task) == ok
  if ok:
    early.check(config, found)
  else:
    with pytest.raises(errors.ConfigError, match='no seeds are kept'):
      early.check(config, found)
