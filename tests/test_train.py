"""The main job at debug size, as a user runs it: whole processes."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lore_plugin.upstream import checkpoint
from lore_plugin.advisor import store as storelib

ROOT = pathlib.Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def command(logdir, *args):
  return [
      sys.executable, '-m', 'lore_plugin', '--configs', 'minigrid', 'debug',
      'lore', '--logdir', str(logdir), '--run.log_every', '-1',
      '--run.save_every', '1', '--logger.outputs', 'jsonl',
      '--lore.heldout', '5',
      *map(str, args)]


def finish(env, logdir, *args):
  result = subprocess.run(
      command(logdir, *args), env=env, capture_output=True, text=True,
      timeout=400, check=False)
  assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
  return result.stdout


def metrics(logdir):
  text = (logdir / 'metrics.jsonl').read_text()
  return [json.loads(x) for x in text.splitlines()]


def test_killed_and_started_again(env, tmp_path):
  """The embedded model advises, SIGKILL strikes, and the run goes on."""
  logdir = tmp_path / 'run'
  first = subprocess.Popen(
      command(logdir, '--run.steps', 1e6), env=env,
      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  try:
    folder = checkpoint.folder(logdir)
    deadline = time.time() + 500
    # Until something was learnt, asked and saved; the first save is of step 0.
    while time.time() < deadline and first.poll() is None:
      saves = list(folder.glob('*T*')) if folder.exists() else []
      if saves and (logdir / 'metrics.jsonl').exists() and any(
          x['step'] > 300 and 'train/advisor/calls' in x
          for x in metrics(logdir)):
        break
      time.sleep(0.2)
    assert first.poll() is None and time.time() < deadline
  finally:
    first.send_signal(signal.SIGKILL)
    first.wait()
  store = storelib.Store(logdir / 'advice.sqlite')
  (before,), = store.query('select count(*) from replies')
  store.close()
  assert before > 0
  reached = max(x['step'] for x in metrics(logdir))
  total = reached + 400
  rows = len(metrics(logdir))
  out = finish(env, logdir, '--run.steps', total)
  assert 'Loaded checkpoint' in out
  # A status line comes once a minute, which is longer than this may take.
  assert metrics(logdir)[rows]['step'] > 100
  summary = json.loads((logdir / 'summary.json').read_text())
  assert summary['alone']['episodes'] == 5
  assert summary['advisor']['calls'] <= 98
  assert 'Agent alone, 5 layouts of new seeds' in out
  # Nothing that was asked before the kill was asked again.
  store = storelib.Store(logdir / 'advice.sqlite')
  (replies, keys), = store.query(
      'select count(*), count(distinct key) from replies')
  store.close()
  assert replies == keys >= before


LOGGED = {
    'train/lore/kl', 'train/lore/lambda', 'train/lore/temperature',
    'train/lore/u_entropy', 'train/advisor/calls', 'train/advisor/hit_rate',
    'train/advisor/refused_cooldown'}
# Of episodes, so only where one ended.
LOGGED_EPISODES = {
    f'epstats/log/{x}' for x in (
        'lore_src_wm/sum', 'lore_src_llm/sum', 'lore_src_rand/sum',
        'lore_prob_max/avg', 'lore_entropy_mix/avg', 'lore_entropy_wm/avg',
        'lore_kl/avg', 'lore_beta/max', 'lore_beta/avg', 'lore_ceiling/avg',
        'lore_u/avg', 'success/max', 'steps/max', 'key_taken/sum',
        'door_opened/sum', 'invalid_action/sum')}


@pytest.fixture(scope='module')
def trained(env, tmp_path_factory):
  """A run that rules advise."""
  logdir = tmp_path_factory.mktemp('trained') / 'run'
  finish(env, logdir, '--run.steps', 400, '--lore.advisor.provider',
         'scripted')
  return logdir


def test_advised_and_logged(trained):
  rows = metrics(trained)
  last = [x for x in rows if 'train/advisor/calls' in x][-1]
  assert last['train/advisor/calls'] > 0
  assert last['train/advisor/failures'] == 0
  keys = set().union(*rows)
  assert LOGGED | LOGGED_EPISODES <= keys, (LOGGED | LOGGED_EPISODES) - keys


def test_goes_on_with_other_options(env, trained, tmp_path):
  logdir = tmp_path / 'run'
  shutil.copytree(trained, logdir)
  rows = len(metrics(logdir))
  out = finish(
      env, logdir, '--run.steps', 550, '--lore.advisor.provider', 'scripted',
      '--lore.gate.value', 0.5, '--lore.heldout', 0)
  assert 'New in this run: lore_moments_value.' in out
  keys = set().union(*metrics(logdir)[rows:])
  assert 'train/lore/u_value' in keys


def test_images_processes_and_bad_advice(env, tmp_path):
  """Another observation, task and advisor, environments of their own."""
  finish(env, tmp_path, '--run.steps', 200, '--task', 'minigrid_Unlock',
         '--env.minigrid.obs', 'image', '--run.debug', 'False',
         '--lore.advisor.provider', 'adversarial', '--lore.heldout', 2)
  summary = json.loads((tmp_path / 'summary.json').read_text())
  assert summary['advisor']['calls'] > 0
  assert summary['advisor']['failures'] == 0
