"""The main job at debug size, as a user runs it: whole processes."""

import json
import pathlib
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
      '--lore.heldout', '20',
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
  assert summary['alone']['episodes'] == 20
  assert summary['advisor']['calls'] <= 98
  assert 'Agent alone, 20 layouts of new seeds' in out
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


@pytest.mark.parametrize('provider', [
    'scripted', 'random', 'shuffled', 'adversarial'])
def test_controls_train(env, tmp_path, provider):
  finish(env, tmp_path, '--run.steps', 400,
         '--lore.advisor.provider', provider)
  rows = metrics(tmp_path)
  last = [x for x in rows if 'train/advisor/calls' in x][-1]
  assert last['train/advisor/calls'] > 0
  assert last['train/advisor/failures'] == 0
  keys = set().union(*rows)
  assert LOGGED <= keys, LOGGED - keys
  if provider == 'scripted':
    assert LOGGED_EPISODES <= keys, LOGGED_EPISODES - keys


def test_images_and_processes(env, tmp_path):
  """Another observation, another task, environments of their own."""
  finish(env, tmp_path, '--run.steps', 200, '--task', 'minigrid_Unlock',
         '--env.minigrid.obs', 'image', '--run.debug', 'False',
         '--lore.advisor.provider', 'scripted')
  assert json.loads(
      (tmp_path / 'summary.json').read_text())['advisor']['calls'] > 0


def test_goes_on_with_other_options(env, tmp_path):
  logdir = tmp_path / 'run'
  flags = ['--lore.advisor.provider', 'scripted']
  finish(env, logdir, *flags, '--run.steps', 20)
  out = finish(env, logdir, *flags, '--run.steps', 200,
               '--lore.gate.value', 0.5)
  assert 'New in this run: lore_moments_value.' in out
  keys = set().union(*metrics(logdir))
  assert 'train/lore/u_value' in keys
