"""The main job at debug size, as a user runs it: whole processes."""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import helpers
import pytest

from lore_plugin import lines
from lore_plugin import logdir as logdirlib
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
  new = metrics(logdir)[rows:]
  assert lines.RESUMED in new[0], 'it says where it goes on'
  assert new[1]['step'] > 100
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


def test_terminated(env, tmp_path):
  """As a cluster ends a run: it says how it goes on, and can."""
  logdir, said = tmp_path / 'run', tmp_path / 'said'
  folder = checkpoint.folder(logdir)
  with said.open('wb') as f:
    run = subprocess.Popen(
        command(logdir, '--run.steps', 1e6, '--run.debug', 'False',
                '--lore.advisor.provider', 'scripted'),
        env=env, stdout=subprocess.DEVNULL, stderr=f)
  try:
    helpers.until(lambda: run.poll() is not None or (
        (checkpoint.reached(logdir) or 0) > 100), 500)
    run.send_signal(signal.SIGTERM)
    code = run.wait(60)
  finally:
    run.kill()
    run.wait()
  text = said.read_text()
  assert code == 143, text[-4000:]
  # An environment's process may tell of its broken pipe, the run of nothing.
  assert text.count('lore: Terminated.') == 1
  assert 'lore_plugin/launch.py' not in text, text[-4000:]
  assert f'--logdir {logdir}, the run goes on from its last' in text
  assert not (logdir / 'summary.json').exists()
  last = checkpoint.newest(folder)
  checkpoint.check_whole(last)
  assert checkpoint.step(last) > 100 and not logdirlib.used_by(logdir)


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
         'scripted', '--lore.heldout_every', 150)
  return logdir


def test_advised_and_logged(trained):
  rows = metrics(trained)
  last = [x for x in rows if 'train/advisor/calls' in x][-1]
  assert last['train/advisor/calls'] > 0
  assert last['train/advisor/failures'] == 0
  keys = set().union(*rows)
  assert LOGGED | LOGGED_EPISODES <= keys, (LOGGED | LOGGED_EPISODES) - keys


def test_evaluated_while_it_trained(trained):
  rows = logdirlib.read_alone(trained)
  assert [(x['step'], x['episodes']) for x in rows] == [
      (150, 5), (300, 5), (400, 5)]
  follows(rows[0], 'Lines of `alone.jsonl`')
  summary = json.loads((trained / 'summary.json').read_text())
  assert summary['alone'] == {
      k: v for k, v in rows[-1].items() if k != 'step'}


def table(title):
  """Returns names and types of a table of docs/metrics.md."""
  page = (ROOT / 'docs/metrics.md').read_text(encoding='utf-8')
  part = page.partition(f'### {title}')[2].partition('###')[0]
  rows = re.findall(r'^\| (`.+?) \| (.+?) \|', part, re.M)
  return {
      name: kind for names, kinds in rows
      for name, kind in zip(
          re.findall(r'`(\w+)`', names), kinds.split(', '), strict=True)}


KINDS = {
    'integer': lambda x: isinstance(x, int),
    'number': lambda x: isinstance(x, (int, float)),
    'text': lambda x: isinstance(x, str),
    'object': lambda x: isinstance(x, dict),
    'null': lambda x: x is None,
    '1': lambda x: x == 1,
    '0': lambda x: x == 0,
    'list': lambda x: isinstance(x, list),
    'list of integers': lambda x: all(isinstance(y, int) for y in x),
    'list of pairs': lambda x: all(
        [type(z) for z in y] == [str, str] for y in x)}


def follows(row, title):
  """Asserts that an object is as its table says."""
  known = table(title)
  assert row.keys() == known.keys()
  for key, value in row.items():
    assert any(KINDS[x](value) for x in known[key].split(' or ')), (key, value)


def test_files_are_as_documented(trained):
  rows = [
      json.loads(x) for x in
      (trained / 'episodes.jsonl').read_text().splitlines()]
  assert rows
  for row in rows:
    follows(row, 'Lines of `episodes.jsonl`')
    assert row['length'] > 0 and 0 <= row['p'] <= 1
  summary = json.loads((trained / 'summary.json').read_text())
  follows(summary, '`summary.json`')
  page = (ROOT / 'docs/metrics.md').read_text(encoding='utf-8')
  for group in ('advisor', 'trust', 'alone'):
    for name in summary[group]:
      for family in ('asked', 'refused', 'failures'):
        name = name.removeprefix(f'{family}_')
      assert f'`{name}`' in page, (group, name)


def test_what_is_logged_is_documented(trained):
  """Each name of ours in a run's log has a row with its unit."""
  page = (ROOT / 'docs/metrics.md').read_text(encoding='utf-8')
  known = set(re.findall(r'`(?:\w+/)*(\w+)`', page))
  families = ('asked_', 'refused_', 'failures_')
  for name in set().union(*metrics(trained)):
    group, _, last = name.removesuffix('/avg').removesuffix(
        '/max').removesuffix('/sum').rpartition('/')
    if group in ('train/lore', 'train/advisor', 'epstats/log'):
      last = last.removeprefix('lore_')
      for family in families:
        last = last.removeprefix(family)
      assert last in known, name


def test_a_finished_run_is_only_shown(env, trained):
  files = [
      *trained.glob('*.jsonl'), trained / 'summary.json',
      trained / 'config.yaml', *checkpoint.folder(trained).glob('*/*')]
  before = [x.stat().st_mtime_ns for x in files]
  out = finish(
      env, trained, '--run.steps', 400, '--lore.advisor.provider', 'scripted')
  assert 'has taken its 400 steps already' in out
  assert '--run.steps NUMBER' in out and 'Agent alone, 5 layouts' in out
  assert 'Compiling' not in out
  assert [x.stat().st_mtime_ns for x in files] == before


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
