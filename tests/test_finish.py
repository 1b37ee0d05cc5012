"""How runs end: on object stores, and where the last evaluation fails."""

import time

import pytest

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import finish
from lore_plugin import logdir
from lore_plugin.agent import advised
from lore_plugin.play import alone
from lore_plugin.upstream import checkpoint

CARTPOLE = ('--task', 'gymnasium_CartPole-v1')


def resolve(*argv):
  return configlib.resolve(
      ['--logdir', 'run', '--run.steps', '100', *argv], configlib.load())


@pytest.fixture
def place(tmp_path, monkeypatch):
  """An empty folder to work in, in which nothing is saved."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(checkpoint, 'save', lambda logdir, **parts: None)
  (tmp_path / 'run').mkdir()
  return tmp_path


def end(config, agent=None):
  return finish.finish(config, {'agent': agent}, None, time.time())


def test_a_run_on_an_object_store_leaves_nothing_here(place, monkeypatch):
  monkeypatch.setattr(alone, 'evaluate', lambda *_: pytest.fail('evaluated'))
  monkeypatch.setattr(
      checkpoint, 'save', lambda *_, **__: pytest.fail('saved'))
  config = resolve(*CARTPOLE, '--logdir', 'gs://bucket/run')
  closed = []
  agent = object.__new__(advised.AdvisedAgent)
  monkeypatch.setattr(
      advised.AdvisedAgent, 'close', lambda self: closed.append(self))
  assert end(config) is None and end(config, agent) is None
  assert closed == [agent]
  # Somebody's earlier files in a folder of that name are no reason.
  local = place / 'gs:' / 'bucket' / 'run'
  local.mkdir(parents=True)
  (local / 'scores.jsonl').write_text('{"step": 5, "episode/score": 1.0}\n')
  assert finish.stop(config, agent, time.time()) is None
  assert closed == [agent, agent]
  assert [x.name for x in local.iterdir()] == ['scores.jsonl']


@pytest.mark.parametrize('error', [errors.EnvError, OSError])
def test_an_evaluation_that_fails_fails_no_run(
    place, monkeypatch, capsys, error):
  def failing(*_):
    raise error('The environment failed in\nstep 3 of an episode.')
  monkeypatch.setattr(alone, 'evaluate', failing)
  summary = end(resolve(*CARTPOLE))
  assert 'alone' not in summary and summary['task'] == CARTPOLE[1]
  assert logdir.read_summary(place / 'run') == summary
  line, = [x for x in capsys.readouterr().out.splitlines()
           if 'was not evaluated' in x]
  assert 'failed in step 3 of an episode. ' in line
  assert '--lore.heldout 0' in line


@pytest.mark.parametrize('task, words', [
    ('gymnasium_CartPole-v1', ('7 episodes of new seeds', '30,000 actions')),
    ('crafter_symbolic', ('7 episodes of new seeds', '30,000 actions')),
    ('minigrid_DoorKey-5x5', (
        '7 layouts of new seeds (--lore.heldout); a weak agent takes a minute '
        '...',))])
def test_what_is_said_before_the_evaluation(
    place, monkeypatch, capsys, task, words):
  monkeypatch.setattr(alone, 'evaluate', lambda *_: {
      'success': None, 'score': 1.0, 'episodes': 7})
  end(resolve('--task', task, '--lore.heldout', '7'))
  line, = [x for x in capsys.readouterr().out.splitlines()
           if 'Evaluating without advice' in x]
  for x in words:
    assert x in line
  assert ('layouts' in line) == task.startswith('minigrid')
