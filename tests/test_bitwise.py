"""Without `lore` among the configs, a run is bit for bit upstream's."""

import json
import math
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lore_plugin import config as configlib
from lore_plugin import upstream
from lore_plugin.upstream import checkpoint

PROGRAMS = pathlib.Path(__file__).parent / 'programs'
ROOT = PROGRAMS.parent.parent
# Values that tell how long something took, or how busy the machine is.
TIMED = ('fps/', 'usage/', 'timer', 'replay/ram_gb')
FLAGS = [
    '--configs', 'debug', '--task', 'dummy_line', '--seed', '3',
    '--logger.outputs', 'jsonl', '--run.envs', '2', '--run.steps', '160',
    '--run.train_ratio', '64', '--run.log_every', '-1', '--run.report_every',
    '0', '--run.save_every', '-1', '--agent.report', 'False']


def run(program, args, paths, cache):
  # A checkout, if any, goes before the installed copy. Compiled programs are
  # kept, as compiling them takes most of the time.
  env = {
      **os.environ,
      'PYTHONPATH': os.pathsep.join([*map(str, paths), str(ROOT)]),
      'JAX_COMPILATION_CACHE_DIR': str(cache),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}
  process = subprocess.run(
      [sys.executable, str(PROGRAMS / program), *map(str, args)], env=env,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
      timeout=600, check=False)
  assert process.returncode == 0, process.stdout[-4000:]
  return process.stdout


def metrics(logdir):
  rows = [json.loads(x) for x in
          (logdir / 'metrics.jsonl').read_text().splitlines()]
  # NaN is unequal to itself.
  clean = lambda v: (
      'nan' if isinstance(v, float) and math.isnan(v) else v)
  return [{k: clean(v) for k, v in row.items() if not k.startswith(TIMED)}
          for row in rows]


def agent(logdir, name):
  folder = logdir / name / (logdir / name / 'latest').read_text().strip()
  return pickle.loads((folder / 'agent.pkl').read_bytes())


def steps(logdir):
  """All that replay holds: chunks in the order of time, as their names say."""
  chunks = [dict(np.load(x)) for x in sorted((logdir / 'replay').glob('*'))]
  return [x for x in chunks if len(x['action'])]


def compare(one, two, name):
  ours, theirs = metrics(one), metrics(two)
  assert len(theirs) > 10
  assert ours == theirs
  losses = [x['train/loss/policy'] for x in theirs if 'train/loss/policy' in x]
  assert len(set(losses)) > 5, 'the runs must have trained'
  ours, theirs = agent(one, name), agent(two, name)
  assert ours['counters'] == theirs['counters']
  assert ours['counters']['updates'] > 20
  assert ours['params'].keys() == theirs['params'].keys()
  for key, value in theirs['params'].items():
    assert ours['params'][key].dtype == value.dtype, key
    assert ours['params'][key].tobytes() == value.tobytes(), key
  compare_steps(one, two)


def compare_steps(one, two):
  """All that replay holds."""
  ours, theirs = steps(one), steps(two)
  assert len(ours) == len(theirs) >= 2
  # stepid holds random identifiers of this process.
  for x, y in zip(ours, theirs, strict=True):
    assert x.keys() == y.keys()
    for key in x.keys() - {'stepid'}:
      assert x[key].tobytes() == y[key].tobytes(), key


def run_both(tmp_path, configs, cache, paths=()):
  run('run_upstream.py',
      [configs, *FLAGS, '--logdir', tmp_path / 'two'], paths, cache)
  return run(
      'run_lore.py', [*FLAGS, '--logdir', tmp_path / 'one'], paths, cache)


@pytest.fixture
def cache(pytestconfig):
  return pytestconfig.cache.mkdir('jax')


@pytest.mark.slow
def test_installed(tmp_path, cache):
  found = upstream.find()
  configs = tmp_path / 'configs'
  configs.mkdir()
  shutil.copy(
      found.configs or configlib.folder('patches') / 'dreamerv3.yaml',
      configs / 'configs.yaml')
  run_both(tmp_path, configs, cache)
  name = checkpoint.folder('', found.version).name
  compare(tmp_path / 'one', tmp_path / 'two', name)


@pytest.mark.slow
@pytest.mark.needs(
    'LORE_UPSTREAM_CHECKOUT', 'make test-upstream CHECKOUT=PATH')
def test_checkout(tmp_path, cache):
  source = os.environ['LORE_UPSTREAM_CHECKOUT']
  root = tmp_path / 'dreamerv3'
  subprocess.run(['git', 'clone', '-q', source, root], check=True)
  text = run_both(tmp_path, root / 'dreamerv3', cache, [root])
  assert f'dreamerv3 main in {root}' in text
  compare(tmp_path / 'one', tmp_path / 'two', 'ckpt')
