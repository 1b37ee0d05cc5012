"""Each mistake of a user ends before the first step, with what to do."""

import pathlib
import sys
import types

import elements
import embodied
import numpy as np
import pytest

from lore_plugin import launch

BASE = ('--configs', 'minigrid', 'lore', 'debug')


def blocked(capsys, tmp_path, *args):
  """Runs the program, which must refuse. Returns its one line."""
  code = launch.main([*BASE, '--logdir', str(tmp_path / 'log'), *args])
  captured = capsys.readouterr()
  assert code == 2, captured
  assert 'Start training loop' not in captured.out
  lines = [x for x in captured.err.splitlines() if x.startswith('lore: ')]
  assert len(lines) == 1, captured.err
  return lines[0]


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
  for name in ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY'):
    monkeypatch.delenv(name, raising=False)


def test_unknown_key(capsys, tmp_path):
  line = blocked(capsys, tmp_path, '--lore.gate.beta', '1.0')
  assert 'lore.gate.beta' in line and 'beta_max' in line


def test_unknown_provider(capsys, tmp_path):
  line = blocked(capsys, tmp_path, '--lore.advisor.provider', 'antropic')
  assert "'antropic'" in line and 'anthropic, ' in line


def test_unknown_task(capsys, tmp_path):
  line = blocked(capsys, tmp_path, '--task', 'minigrid_DoorKey-5x4')
  assert 'DoorKey-5x4' in line and 'DoorKey-5x5' in line


def test_missing_key(capsys, tmp_path):
  line = blocked(capsys, tmp_path, '--lore.advisor.provider', 'anthropic')
  assert 'export ANTHROPIC_API_KEY' in line


def test_missing_model_file(capsys, tmp_path):
  name = str(tmp_path / 'none.gguf')
  line = blocked(
      capsys, tmp_path, '--lore.advisor.provider', 'local',
      '--lore.advisor.model', name)
  assert name in line


def test_corrupt_model_file(capsys, tmp_path):
  path = tmp_path / 'broken.gguf'
  path.write_bytes(b'GGUF' + bytes(1000))
  line = blocked(
      capsys, tmp_path, '--lore.advisor.provider', 'local',
      '--lore.advisor.model', str(path))
  assert 'broken.gguf' in line


def test_store_that_is_no_store(capsys, tmp_path):
  path = tmp_path / 'advice.sqlite'
  path.write_text('Dear diary, ' * 1000)
  line = blocked(
      capsys, tmp_path, '--lore.advisor.provider', 'scripted',
      '--lore.advisor.store', str(path))
  assert 'advice.sqlite' in line
  assert path.read_text().startswith('Dear diary'), 'nothing may be lost'


def test_store_that_cannot_be_made(capsys, tmp_path):
  (tmp_path / 'file').write_text('')
  line = blocked(
      capsys, tmp_path, '--lore.advisor.provider', 'scripted',
      '--lore.advisor.store', str(tmp_path / 'file' / 'advice.sqlite'))
  assert 'advice.sqlite' in line


def test_actions_that_cannot_be_advised(capsys, tmp_path, monkeypatch):
  module = types.ModuleType('embodied.envs.dummy')
  module.Dummy = Continuous
  monkeypatch.setitem(sys.modules, module.__name__, module)
  line = blocked(
      capsys, tmp_path, '--task', 'dummy_cont',
      '--lore.advisor.provider', 'scripted')
  assert 'discrete' in line and 'float32' in line


class Continuous(embodied.Env):
  """What upstream's dummy task with a continuous action looks like."""

  def __init__(self, task):
    pass

  @property
  def obs_space(self):
    flags = ('is_first', 'is_last', 'is_terminal')
    return {
        'vector': elements.Space(np.float32, 3),
        'reward': elements.Space(np.float32),
        **{k: elements.Space(bool) for k in flags}}

  @property
  def act_space(self):
    return {
        'action': elements.Space(np.float32, 2, -1, 1),
        'reset': elements.Space(bool)}


def test_nothing_was_written_by_the_first_mistakes(capsys, tmp_path):
  blocked(capsys, tmp_path, '--lore.gate.kappa', '-1.0')
  assert not pathlib.Path(tmp_path / 'log').exists()
