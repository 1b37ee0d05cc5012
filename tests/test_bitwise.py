"""Without `lore` among the configs, a run is bit for bit upstream's."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from comparing import compare

from lore_plugin import config as configlib
from lore_plugin import upstream
from lore_plugin.upstream import checkpoint

PROGRAMS = pathlib.Path(__file__).parent / 'programs'
ROOT = PROGRAMS.parent.parent
FLAGS = [
    '--configs', 'debug', '--task', 'dummy_line', '--seed', '3',
    '--logger.outputs', 'jsonl', '--run.envs', '2', '--run.steps', '160',
    '--run.train_ratio', '64', '--run.log_every', '-1', '--run.report_every',
    '0', '--run.save_every', '-1', '--agent.report', 'False']


def run(program, args, paths):
  # A checkout, if any, goes before the installed copy.
  env = {
      **os.environ,
      'PYTHONPATH': os.pathsep.join([*map(str, paths), str(ROOT)])}
  process = subprocess.run(
      [sys.executable, str(PROGRAMS / program), *map(str, args)], env=env,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
      timeout=600, check=False)
  assert process.returncode == 0, process.stdout[-4000:]
  return process.stdout


def run_both(tmp_path, configs, paths=()):
  run('run_upstream.py',
      [configs, *FLAGS, '--logdir', tmp_path / 'two'], paths)
  return run(
      'run_lore.py', [*FLAGS, '--logdir', tmp_path / 'one'], paths)


@pytest.mark.slow
def test_installed(tmp_path):
  found = upstream.find()
  configs = tmp_path / 'configs'
  configs.mkdir()
  shutil.copy(
      found.configs or configlib.folder('patches') / 'dreamerv3.yaml',
      configs / 'configs.yaml')
  run_both(tmp_path, configs)
  name = checkpoint.folder('', found.version).name
  compare(tmp_path / 'one', tmp_path / 'two', name)


@pytest.mark.slow
@pytest.mark.needs(
    'LORE_UPSTREAM_CHECKOUT', 'make test-upstream CHECKOUT=PATH')
def test_checkout(tmp_path):
  source = os.environ['LORE_UPSTREAM_CHECKOUT']
  root = tmp_path / 'dreamerv3'
  subprocess.run(['git', 'clone', '-q', source, root], check=True)
  text = run_both(tmp_path, root / 'dreamerv3', [root])
  assert f'dreamerv3 main in {root}' in text
  compare(tmp_path / 'one', tmp_path / 'two', 'ckpt')
