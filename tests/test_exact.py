"""On, too, the same seed and the same file of advice give the same run."""

import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import comparing
import pytest

from lore_plugin.upstream import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.long]

FLAGS = [
    # Of this seed both environments begin with advice, so that it asks.
    '--configs', 'minigrid', 'debug', 'lore', '--seed', '4',
    '--lore.deterministic', 'True', '--lore.heldout', '0',
    '--run.report_every', '0',
    '--logger.outputs', 'jsonl', '--run.envs', '2', '--run.train_ratio', '64',
    '--run.log_every', '-1', '--run.save_every', '1e9',
    '--lore.gate.disagreement', '1', '--lore.advisor.provider', 'scripted']
REPLAY = ['--lore.advisor.replay', 'strict']
# What the checkpoint has to hold beside the parameters of the method.
METHOD = ('lore_dual', 'lore_temp', 'lore_moments')


def start(env, logdir, steps, *args):
  return subprocess.Popen(
      [sys.executable, '-m', 'lore_plugin', *FLAGS, '--logdir', str(logdir),
       '--run.steps', str(steps), *map(str, args)],
      env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
  out, _ = process.communicate(timeout=600)
  assert process.returncode == 0, out[-4000:]
  return out


def state(logdir):
  return comparing.agent(logdir, checkpoint.folder(logdir).name)


def without(rows, prefix):
  return [
      {k: v for k, v in x.items() if not k.startswith(prefix)} for x in rows]


def same(one, two, counts=True):
  """Metrics, parameters, trust and everything that replay holds."""
  # The clock tells when a report is made.
  rows = [without(comparing.metrics(x), 'report/') for x in (one, two)]
  if not counts:
    rows = [without(x, 'train/advisor/') for x in rows]
  assert rows[0] == rows[1]
  assert any(x.get('train/lore/advised', 0) > 0 for x in rows[0])
  a, b = state(one), state(two)
  assert a['params'].keys() == b['params'].keys()
  for key in a['params']:
    assert a['params'][key].tobytes() == b['params'][key].tobytes(), key
  assert a['trust'] == b['trust']
  comparing.compare_steps(one, two)


@pytest.fixture(scope='module')
def asked(env, tmp_path_factory):
  """A run that asks and stores what it is told."""
  logdir = tmp_path_factory.mktemp('asked') / 'run'
  finish(start(env, logdir, 240))
  return logdir


def test_repeated_from_the_file_with_reports_and_evaluations(
    env, asked, tmp_path):
  """Replies may come from a file; what is looked at changes nothing."""
  logdir = tmp_path / 'run'
  # Batches are drawn for reports even where agent.report is off.
  finish(start(
      env, logdir, 240, *REPLAY, '--run.report_every', '-1',
      '--lore.advisor.store', asked / 'advice.sqlite',
      '--lore.heldout', 3, '--lore.heldout_every', 100))
  same(asked, logdir, counts=False)
  # Nor do evaluations.
  rows = (logdir / 'alone.jsonl').read_text().splitlines()
  assert [json.loads(x)['step'] for x in rows] == [100, 200, 240]
  summary = json.loads((logdir / 'summary.json').read_text())
  assert summary['advisor']['money'] == 0


def test_goes_on_alike_after_a_kill(env, asked, tmp_path):
  first = tmp_path / 'first'
  shutil.copytree(asked, first)
  before = state(first)
  replay = [*REPLAY[:1], 'lenient', '--lore.advisor.store',
            asked / 'advice.sqlite', '--run.save_every', '-1']
  process = start(env, first, 10 ** 6, *replay)
  folder = checkpoint.folder(first)
  name = (folder / 'latest').read_text()
  deadline = time.time() + 300
  while process.poll() is None and time.time() < deadline and (
      folder / 'latest').read_text() in (name, ''):
    time.sleep(0.05)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  torn = [x.name for x in (first / 'replay').glob('*')
          if not zipfile.is_zipfile(x)]
  second = tmp_path / 'second'
  shutil.copytree(first, second)
  outs = [
      finish(start(env, x, 400, *replay, '--run.save_every', '1e9'))
      for x in (first, second)]
  assert all('Loaded checkpoint' in x for x in outs)
  # Chunks that the kill cut short; both runs have passed over them.
  for name in torn:
    for logdir in (first, second):
      (logdir / 'replay' / name).unlink()
  same(first, second)
  after = state(first)
  assert after['trust']['taken'] >= 400 > before['trust']['taken'] >= 240
  for key, value in before['params'].items():
    if key.startswith(METHOD) and key.endswith('seen'):
      # Counted on, not from the start.
      assert after['params'][key] > value, key


def test_loads_what_it_saved(env, asked, tmp_path):
  logdir = tmp_path / 'run'
  shutil.copytree(asked, logdir)
  before = state(logdir)
  # Nothing is left to be done: it loads, and saves again.
  finish(start(env, logdir, 240))
  after = state(logdir)
  names = [x for x in before['params'] if x.startswith('lore_')]
  assert {x.split('/')[0] for x in names} >= {'lore_dual', 'lore_temp'}
  for key in before['params']:
    assert before['params'][key].tobytes() == (
        after['params'][key].tobytes()), key
  assert before['trust'] == after['trust']
  assert before['advisor'] == after['advisor']
