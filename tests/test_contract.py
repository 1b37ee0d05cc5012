"""The table of what is relied on, against upstream as it is and as users
change it."""

import types

import checkouts
import pytest

from lore_plugin import errors
from lore_plugin import upstream
from lore_plugin.upstream import checkpoint
from lore_plugin.upstream import contract
from lore_plugin.upstream import source

CHECK = 'from lore_plugin.upstream import contract; print(contract.check())'
TABLE = 'from lore_plugin.upstream import contract; print(contract.table())'


def test_what_is_there():
  assert upstream.check() == upstream.find()
  text = contract.table()
  assert 'CHANGED' not in text and ' 0 changed.' in text
  for touch in contract.TABLE:
    assert touch.check or touch.test, touch
    assert touch.name in text and touch.relied in text


def test_harmless_changes(tmp_path):
  copy = checkouts.copy(
      tmp_path / 'up', checkouts.HARMLESS, checkouts.HARMLESS_KEYS)
  result = checkouts.python('-c', CHECK, paths=[copy])
  assert result.returncode == 0, result.stderr
  assert str(copy) in result.stdout


HARMFUL = [
    ('dreamerv3/main.py', 'def make_env(config, index, **overrides):',
     'def make_env(config, index, mode, **overrides):',
     'dreamerv3.main:make_env takes (config, index, mode'),
    ('dreamerv3/main.py', 'def wrap_env', 'def wrapped',
     'dreamerv3.main:wrap_env is missing'),
    ('embodied/run/train.py', 'elements.Checkpoint(logdir / ',
     "elements.Checkpoint(logdir / 'other' / ",
     'keeps its checkpoints elsewhere'),
    ('dreamerv3/agent.py', 'policy = self.pol(self.feat2tensor(feat)',
     'policy = self.actor(self.feat2tensor(feat)',
     'dreamerv3.agent:Agent.policy does not use pol'),
    ('embodied/jax/agent.py', "'counters': counters", "'count': counters",
     ''),
    ('dreamerv3/agent.py', 'def loss(self, carry, obs, prevact, training):',
     'def loss(self, carry, obs, prevact, weight, training):',
     'dreamerv3.agent:Agent.loss takes'),
]


def test_harmful_changes(tmp_path):
  copy = checkouts.copy(tmp_path / 'up', [x[:3] for x in HARMFUL])
  result = checkouts.python('-c', TABLE, paths=[copy])
  assert result.returncode == 0, result.stderr
  for *_, match in HARMFUL:
    assert match in result.stdout
  args = ('-m', 'lore_plugin', '--logdir', tmp_path / 'log', '--configs',
          'minigrid', 'lore')
  result = checkouts.python(*args, paths=[copy])
  assert result.returncode == 2, result.stderr
  [line] = result.stderr.splitlines()
  assert 'wrap_env is missing' in line and str(copy) in line
  assert 'leave lore out' in line


def test_what_cannot_be_imported(tmp_path):
  copy = checkouts.copy(tmp_path / 'up', [(
      'dreamerv3/agent.py', 'import re\n', 'import re\nimport no_xyz\n')])
  result = checkouts.python(
      '-m', 'lore_plugin', '--logdir', tmp_path / 'log', '--configs',
      'minigrid', 'lore', paths=[copy])
  assert result.returncode == 2, result.stderr
  [line] = result.stderr.splitlines()
  assert "No module named 'no_xyz'" in line and 'dreamerv3.agent' in line


class Base:
  def policy(self, carry):
    return self.act(carry)

  def act(self, carry):
    return (lambda: self.pol(carry))()


class Agent(Base):
  def policy(self, carry):
    return super().policy(carry)

  def loss(self):
    return self.other


def test_inherited_and_inner_names():
  assert 'pol' in contract.reached(Agent, 'policy')
  assert 'pol' not in contract.reached(Agent, 'loss')
  assert 'other' in contract.reached(Agent, 'loss')


@pytest.mark.parametrize('argv, ours, theirs', [
    (['--configs', 'a', 'b', '--notes', 'x', 'y', '--seed', '1'],
     ['--configs', 'a', 'b', '--seed', '1'], ['--notes', 'x', 'y']),
    (['--notes=x', '--seed', '1'], ['--seed', '1'], ['--notes=x']),
    (['--fast', '--seed', '1'], ['--seed', '1'], ['--fast']),
    (['train', '--fats'], ['train', '--fats'], []),
    (['--task', 'x'], ['--task', 'x'], []),
])
def test_own_flags(tmp_path, argv, ours, theirs):
  (tmp_path / 'main.py').write_text('''
def main(argv):
  fast = '--fast' in argv
  elements.Flags(configs=['defaults'], notes='', task='').parse(argv)
''')
  found = types.SimpleNamespace(folder=tmp_path)
  assert source.split(found, argv, ['seed', 'task']) == (ours, theirs)


def test_upstream_has_no_flags_of_its_own():
  assert source.flags(upstream.find()) == set()


@pytest.mark.parametrize('text, found', [
    ("SUITES = {'mine': 1}\ndef make_env(config, index):\n  pass", True),
    ("def make_env(c, i):\n  return {'mine': 1}[c.task]", True),
    ("def make_env(c, i):\n  if c.task.startswith('mine_'):\n    pass", True),
    ("def make_logger(c):\n  return 'mine'", False),
    ('def make_env(c, i):\n  ', False),
    ('not python', False),
])
def test_own_suites(tmp_path, text, found):
  (tmp_path / 'main.py').write_text(text)
  assert source.makes(
      types.SimpleNamespace(folder=tmp_path), 'mine') is found


def test_what_make_env_reads_of_a_users_module(tmp_path):
  found = types.SimpleNamespace(folder=tmp_path)
  body = 'def make_env(config, index):\n  return {}[config.task]'
  for imports, name, expected in [
      ('from tables import SUITES', 'SUITES', {'SUITES'}),
      ('from . import tables', 'tables.SUITES', {'tables'}),
      ('import mine.tables as t', 't.SUITES', {'t'}),
      ('import numpy as np\nimport importlib', 'np.importlib', set()),
      ('from tables import SUITES', 'OTHERS', set())]:
    source.parse.cache_clear()
    (tmp_path / 'main.py').write_text(f'{imports}\n{body.format(name)}')
    assert source.imported(found, 'make_env') == expected


OWN_SUITE = '''
from lore_plugin import config, launch, upstream, worlds
blocks = config.load(upstream.find().configs, ['minigrid'])
made = config.resolve(['--configs', *NAMES, '--logdir', 'x'], blocks)
env = launch.make_env(made, 0, mode='train')
print(sorted(env.obs_space), made.task, dict(made.env.minigrid))
print(worlds.has_heldout(made.task))
'''


def test_a_suite_that_is_called_as_ours(tmp_path):
  copy = checkouts.copy(tmp_path / 'up', [
      *checkouts.SUITE, checkouts.HARMLESS[1],
      ('dreamerv3/main.py', '  kwargs.update(overrides)',
       "  assert mode == 'train'\n  kwargs.update(overrides)")],
      checkouts.SUITE_KEYS, checkouts.SUITE_BLOCKS)
  code = OWN_SUITE.replace('*NAMES', "'debug', 'minigrid'")
  result = checkouts.python('-c', code, paths=[copy])
  assert result.returncode == 0, result.stderr
  first, second = result.stdout.splitlines()[-2:]
  assert "'vector'" in first and 'minigrid_mine' in first
  assert "{'obs': 'rgb', 'speed': 3}" in first
  assert second == 'False'


@pytest.mark.slow
def test_a_checkout_with_changes_trains(tmp_path):
  copy = checkouts.copy(
      tmp_path / 'up', checkouts.HARMLESS, checkouts.HARMLESS_KEYS)
  args = (
      '-m', 'lore_plugin', '--configs', 'minigrid', 'debug', 'lore',
      '--logdir', tmp_path / 'log', '--run.steps', 200, '--lore.heldout', 2,
      '--logger.outputs', 'jsonl', '--lore.advisor.provider', 'scripted',
      '--agent.auxhead.units', 8, '--notes', 'hello')
  result = checkouts.python(*args, paths=[copy])
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'Notes: hello True' in result.stdout
  assert (tmp_path / 'log' / 'summary.json').exists()
  saved = checkpoint.read(checkpoint.resolve(tmp_path / 'log'))
  parts = {x.split('/')[0] for x in saved['params']}
  assert {'aux', 'lore_dual'} <= parts and saved['counters']['updates'] > 0


@pytest.mark.slow
def test_another_agent_is_said_at_start(tmp_path):
  copy = checkouts.copy(tmp_path / 'up', [(
      'dreamerv3/main.py', 'def make_logger(config):', '''
def make_logger(config):
  return make_logger2(config)

class Other(__import__('embodied').jax.Agent):
  pass

def make_logger2(config):'''), (
      'dreamerv3/main.py', '  return Agent(obs_space,',
      '  Agent = Other if Agent else 0\n  return Agent(obs_space,')])
  result = checkouts.python(
      '-m', 'lore_plugin', '--configs', 'minigrid', 'debug', 'lore',
      '--logdir', tmp_path / 'log', '--lore.advisor.provider', 'scripted',
      paths=[copy])
  assert result.returncode == 2, result.stderr[-2000:]
  [line] = result.stderr.splitlines()
  assert 'builds dreamerv3.main.Other' in line
  assert 'Compiling' not in result.stdout


def test_find_reports_what_is_unknown(monkeypatch):
  found = upstream.Upstream(upstream.find().folder, 'unknown', None)
  monkeypatch.setattr(contract, 'find', lambda: found)
  with pytest.raises(errors.UpstreamError, match='checkpoints elsewhere'):
    contract.check()
