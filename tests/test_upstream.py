import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import elements
import embodied
import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from lore_plugin import errors
from lore_plugin import upstream
from lore_plugin.upstream import checkpoint

ROOT = pathlib.Path(__file__).parent.parent


def python(*args, paths=(), cwd=None):
  env = {**os.environ, 'PYTHONPATH': os.pathsep.join(
      [*map(str, paths), str(ROOT)])}
  return subprocess.run(
      [sys.executable, *args], env=env, cwd=cwd, capture_output=True,
      text=True, timeout=300, check=False)


@pytest.fixture
def copy(tmp_path):
  folder = upstream.find().folder
  ignore = shutil.ignore_patterns('__pycache__', '__main__.py')
  for package in (folder, folder.parent / 'embodied'):
    shutil.copytree(package, tmp_path / 'up' / package.name, ignore=ignore)
  return tmp_path / 'up'


def test_find():
  found = upstream.find()
  assert (found.folder / 'agent.py').exists()
  assert found.version in ('3.3.1', 'main')
  assert found.configs is None or found.configs.exists()
  assert str(found.folder.parent) in str(found)
  assert checkpoint.folder('logs', '3.3.1').as_posix() == (
      'logs/checkpoint.pkl')
  assert checkpoint.folder('logs', 'main').as_posix() == 'logs/ckpt'
  assert checkpoint.folder('logs') == checkpoint.folder(
      'logs', found.version)


def test_check_accepts_what_is_installed():
  before = list(sys.path)
  assert upstream.check() == upstream.find()
  assert sys.path == before


def test_missing():
  # Without site there are no installed packages.
  result = python('-S', '-m', 'lore_plugin', '--configs', 'minigrid')
  assert result.returncode == 2
  assert 'DreamerV3 is not installed' in result.stderr
  assert 'make setup' in result.stderr and 'clone' in result.stderr
  assert 'Traceback' not in result.stderr


def test_clone_seen_from_its_parent(tmp_path):
  (tmp_path / 'dreamerv3' / 'dreamerv3').mkdir(parents=True)
  result = python('-S', '-m', 'lore_plugin', '--seed', '0', cwd=tmp_path)
  assert result.returncode == 2
  assert f'Run from inside {tmp_path / "dreamerv3"}' in result.stderr


def test_halves_of_two_copies(copy, tmp_path):
  (tmp_path / 'two').mkdir()
  shutil.move(copy / 'dreamerv3', tmp_path / 'two' / 'dreamerv3')
  result = python(
      '-S', '-m', 'lore_plugin', '--seed', '0',
      paths=[tmp_path / 'two', copy])
  assert result.returncode == 2
  assert 'must be of one copy' in result.stderr


def test_install_twice():
  upstream.install()
  before = jax.jit, elements.Agg.add, embodied.Driver._env_server
  upstream.install()
  assert before == (jax.jit, elements.Agg.add, embodied.Driver._env_server)


def test_jit_takes_positions():
  upstream.install()
  double = lambda x, n: x * n
  # An agent of the same process may have forbidden silent transfers.
  with jax.transfer_guard('allow'):
    assert jax.jit(double, None, None, (1,))(3, 2) == 6
    assert jax.jit(double, static_argnums=1)(3, 2) == 6
    assert jax.jit(lambda x: x + 1)(1) == 2


def test_agg_takes_tuples():
  upstream.install()
  agg = elements.Agg()
  for value in (1.0, 3.0, 5.0):
    agg.add('x', value, agg=('avg', 'max', 'sum'))
    agg.add({'y': value}, agg=('min',), prefix='p')
    agg.add('z', value, agg='sum')
  assert agg.result() == {
      'x/avg': 3, 'x/max': 5, 'x/sum': 9, 'p/y/min': 1, 'z': 9}


@hypothesis.given(st.lists(
    st.floats(width=32) | st.integers(-9, 9) | st.booleans(), min_size=1))
def test_agg_of_scalars_is_that_of_arrays(values):
  """The quick way changes no bit, whatever is missing or overflows."""
  upstream.install()
  names = ('avg', 'max', 'min', 'sum')
  quick, slow = elements.Agg(), elements.Agg()
  with np.errstate(all='ignore'):
    for value in values:
      quick.add('x', np.float32(value), agg=names, prefix='p')
      for name in names:
        slow.add(f'p/x/{name}', np.float32(value), agg=name)
    quick, slow = quick.result(), slow.result()
  assert quick.keys() == slow.keys()
  for key in slow:
    np.testing.assert_array_equal(quick[key], slow[key])
    assert quick[key].dtype == slow[key].dtype


def test_agg_takes_arrays_and_words():
  upstream.install()
  agg = elements.Agg()
  for value in (1.0, 3.0):
    agg.add('x', np.full(2, value), agg=('avg', 'sum'))
    agg.add('y', value, agg=('stack', 'avg'))
    agg.add('z', 'word', agg=('last',))
  found = agg.result()
  assert found['x/avg'].tolist() == [2, 2]
  assert found['x/sum'].tolist() == [4, 4]
  assert found['y/stack'].tolist() == [1, 3] and found['y/avg'] == 2
  assert found['z/last'] == 'word'


def test_swapped():
  class Owner:
    @staticmethod
    def fn():
      return 1
  with pytest.raises(RuntimeError), upstream.swapped(Owner, fn=len):
    assert Owner.fn('ab') == 2
    raise RuntimeError
  assert Owner.fn() == Owner().fn() == 1


def test_agent_class():
  import dreamerv3.agent
  plain, new = dreamerv3.agent.Agent, embodied.jax.Agent.__new__
  with upstream.agent_class(lambda *args: args):
    assert dreamerv3.agent.Agent(1, 2, 3) == (1, 2, 3)
    assert dreamerv3.agent.Agent(1, config=3, act_space=2) == (1, 2, 3)
  assert dreamerv3.agent.Agent is plain
  assert embodied.jax.Agent.__new__ is new


def test_an_agent_that_main_imports_by_name(monkeypatch):
  main = upstream.original().module
  import dreamerv3.agent
  plain = dreamerv3.agent.Agent
  monkeypatch.setattr(main, 'Agent', plain, raising=False)
  with upstream.agent_class(lambda *args: args):
    assert main.Agent(1, 2, 3) == (1, 2, 3)
  assert main.Agent is plain


def test_another_agent_class():
  class Mine(embodied.jax.Agent):
    pass
  with upstream.agent_class(dict):
    with pytest.raises(errors.UpstreamError, match='Mine, which LoRe knows'):
      Mine(1, 2, 3)


def test_original_is_not_ours():
  up = upstream.original()
  with upstream.swapped(up.module, make_env=len):
    assert upstream.original().make_env is up.make_env
    assert up.make_env.__module__ == 'dreamerv3.main'


class Saved:
  def save(self):
    return {'params': {'a': np.arange(3)}, 'counters': {'updates': 4}}

  def load(self, data):
    raise AssertionError


def test_checkpoints(tmp_path):
  cp = elements.Checkpoint(tmp_path / 'ckpt')
  cp.agent = Saved()
  cp.save()
  folder = checkpoint.resolve(tmp_path / 'ckpt')
  assert folder.parent == tmp_path / 'ckpt' and (folder / 'done').exists()
  assert checkpoint.resolve(folder) == folder
  # As 3.3.1 reads it.
  file = checkpoint.legacy(folder, tmp_path / 'agent.pkl')
  data = pickle.loads(file.read_bytes())['model']
  assert data['counters'] == {'updates': 4}
  assert data['params']['a'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('name', ['none', 'empty', 'half'])
def test_bad_checkpoints(name, tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'half').mkdir()
  (tmp_path / 'half' / 'latest').write_text('123')
  with pytest.raises(errors.ConfigError, match='not a finished checkpoint'):
    checkpoint.resolve(tmp_path / name)


def test_interrupted_saves_are_mended(tmp_path):
  version = upstream.find().version
  folder = checkpoint.folder(tmp_path, version)
  latest = folder / 'latest'
  mend = lambda: checkpoint.point(folder)
  assert mend() == '' and not folder.exists()
  folder.mkdir()
  latest.write_text('')
  assert mend() == '' and not latest.exists()  # Nothing to go on from.
  for name, whole in (('1T1', True), ('1T2', True), ('1T3', False)):
    (folder / name).mkdir()
    if whole:
      (folder / name / 'done').write_bytes(b'')
  # Killed before, while, and after it wrote `latest`; or in the next save.
  for text in (None, '', '1T'):
    latest.unlink(missing_ok=True)
    if text is not None:
      latest.write_text(text)
    assert mend() == '1T2' and latest.read_text() == '1T2'
  assert mend() == ''
  latest.write_text('1T1')
  assert mend() == '' and latest.read_text() == '1T1'
  assert [x.name for x in tmp_path.iterdir()] == [folder.name]


ORPHAN = '''
import multiprocessing, sys, time
from lore_plugin.upstream import adapt

def child():
  adapt.end_with_parent()
  adapt.end_with_parent()
  print(multiprocessing.current_process().pid, flush=True)
  time.sleep(600)

if __name__ == '__main__':
  process = multiprocessing.get_context('spawn').Process(target=child)
  process.start()
  process.join()
'''


def test_no_process_outlives_a_parent_that_is_killed(env, tmp_path):
  (tmp_path / 'orphan.py').write_text(ORPHAN)
  with subprocess.Popen(
      [sys.executable, tmp_path / 'orphan.py'], env=env, text=True,
      stdout=subprocess.PIPE) as parent:
    assert int(parent.stdout.readline()) != parent.pid
    parent.kill()
    # The child has the other end, which closes when it is gone.
    assert parent.stdout.read() == ''
