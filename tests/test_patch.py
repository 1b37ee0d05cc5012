import shutil
import subprocess
import sys

import pytest

from lore_plugin import __main__ as program
from lore_plugin import errors
from lore_plugin.upstream import patch
from lore_plugin import upstream

needs_git = pytest.mark.skipif(not shutil.which('git'), reason='needs git')


def git(root, *args):
  return subprocess.run(
      ['git', '-C', str(root), '-c', 'user.name=x', '-c', 'user.email=x@x',
       '-c', 'core.excludesFile=', *args],
      check=True, capture_output=True, text=True).stdout


def contents(root):
  return {
      x.relative_to(root): x.read_bytes()
      for x in sorted(root.rglob('*')) if x.is_file()}


@pytest.fixture
def copy(tmp_path):
  """The installed upstream in a folder of its own, without our file."""
  root = tmp_path / 'clone'
  ignore = shutil.ignore_patterns('__pycache__', '__main__.py')
  folder = upstream.find().folder
  for package in (folder, folder.parent / 'embodied'):
    shutil.copytree(package, root / package.name, ignore=ignore)
  return root


@pytest.fixture
def checkout(copy):
  git(copy, 'init', '-q')
  git(copy, 'add', '.')
  git(copy, 'commit', '-q', '-m', 'upstream')
  return copy


def test_copy_without_git_is_restored(copy):
  before = contents(copy)
  patch.apply(copy / 'dreamerv3')
  after = contents(copy)
  assert after.keys() - before.keys() == {
      (copy / 'dreamerv3/__main__.py').relative_to(copy)}
  assert all(after[k] == v for k, v in before.items())
  patch.revert(copy / 'dreamerv3')
  assert contents(copy) == before


@needs_git
@pytest.mark.parametrize('exclude', [
    None, '', '*.tmp\n', '*.tmp', '# note\n\n/dreamerv3/other\n'])
def test_checkout_is_clean_and_restored(checkout, exclude):
  path = checkout / '.git' / 'info' / 'exclude'
  shutil.rmtree(path.parent, ignore_errors=True)
  if exclude is not None:
    path.parent.mkdir()
    path.write_text(exclude)
  before = contents(checkout / 'dreamerv3')
  done = patch.apply(checkout / 'dreamerv3')
  assert 'Added' in done[0] and str(path) in done[1]
  assert git(checkout, 'status', '--porcelain') == ''
  assert git(checkout, 'diff', 'HEAD') == ''
  (checkout / 'dreamerv3' / '__pycache__').mkdir()
  compiled = checkout / 'dreamerv3/__pycache__/__main__.cpython-311.pyc'
  compiled.write_bytes(b'')
  patch.revert(checkout / 'dreamerv3')
  compiled.parent.rmdir()
  assert contents(checkout / 'dreamerv3') == before
  assert (path.read_text() if path.exists() else None) == exclude


@needs_git
def test_patch_twice_and_unpatch_twice(checkout):
  package = checkout / 'dreamerv3'
  patch.apply(package)
  first = contents(checkout)
  assert 'in place already' in patch.apply(package)[0]
  assert {k: v for k, v in contents(checkout).items() if k in first} == first
  assert 'Removed' in patch.revert(package)[0]
  assert 'There is no' in patch.revert(package)[0]


@needs_git
def test_line_of_the_user_stays(checkout):
  path = checkout / '.git' / 'info' / 'exclude'
  path.parent.mkdir(exist_ok=True)
  path.write_text('/dreamerv3/__main__.py\n')
  patch.apply(checkout / 'dreamerv3')
  patch.revert(checkout / 'dreamerv3')
  assert path.read_text() == '/dreamerv3/__main__.py\n'


@needs_git
def test_worktree(checkout, tmp_path):
  git(checkout, 'worktree', 'add', '-q', str(tmp_path / 'other'))
  patch.apply(tmp_path / 'other' / 'dreamerv3')
  assert git(tmp_path / 'other', 'status', '--porcelain') == ''
  patch.revert(tmp_path / 'other' / 'dreamerv3')
  assert git(tmp_path / 'other', 'status', '--porcelain') == ''


@pytest.mark.parametrize('text', ['print(1)\n', '', patch.MARK + '\n'])
def test_foreign_file_is_left_alone(copy, text):
  path = copy / 'dreamerv3' / '__main__.py'
  path.write_text(text)
  for fn in (patch.apply, patch.revert):
    with pytest.raises(errors.UpstreamError, match='not written by LoRe'):
      fn(copy / 'dreamerv3')
  assert path.read_text() == text


def test_a_file_that_upstream_brought_since_is_its_own(checkout):
  path = checkout / 'dreamerv3' / '__main__.py'
  exclude = checkout / '.git' / 'info' / 'exclude'
  before = exclude.read_text()
  patch.apply(checkout / 'dreamerv3')
  path.write_text('print(1)\n')
  git(checkout, 'add', '-f', 'dreamerv3/__main__.py')
  git(checkout, 'commit', '-q', '-m', 'their own')
  assert 'own, and stays' in patch.revert(checkout / 'dreamerv3')[0]
  assert path.read_text() == 'print(1)\n'
  assert exclude.read_text() == before


def test_edited_file_is_left_alone(copy):
  patch.apply(copy / 'dreamerv3')
  path = copy / 'dreamerv3' / '__main__.py'
  path.write_text(path.read_text() + '# mine\n')
  with pytest.raises(errors.UpstreamError, match='changed since'):
    patch.revert(copy / 'dreamerv3')
  assert path.exists()


def test_file_of_another_version_is_renewed(copy, monkeypatch):
  path = copy / 'dreamerv3' / '__main__.py'
  with monkeypatch.context() as m:
    m.setattr(patch, 'MAIN', 'pass\n')
    patch.apply(copy / 'dreamerv3')
  assert 'Renewed' in patch.apply(copy / 'dreamerv3')[0]
  assert path.read_text() == patch._content()
  patch.revert(copy / 'dreamerv3')
  assert not path.exists()


def test_root_and_package_are_both_accepted(copy, capsys):
  assert program.main(['patch', str(copy)]) == 0
  assert 'Added' in capsys.readouterr().out
  assert program.main(['patch', str(copy / 'dreamerv3')]) == 0
  assert 'already' in capsys.readouterr().out
  assert program.main(['unpatch', str(copy)]) == 0
  assert 'Removed' in capsys.readouterr().out


@pytest.mark.parametrize('argv, match', [
    (['patch', 'nowhere'], 'not a copy of DreamerV3'),
    (['unpatch', 'nowhere'], 'not a copy of DreamerV3'),
    (['pach'],
     "Unknown command 'pach'. Did you mean patch? Choose from: ablate, "),
])
def test_bad_commands(argv, match, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert program.main(argv) == 2
  captured = capsys.readouterr()
  assert match in captured.err
  assert captured.out == ''


@pytest.mark.parametrize('argv, code', [
    (['patch', '--help'], 0), (['unpatch', '-h'], 0), (['help', 'patch'], 0),
    (['patch', 'a', 'b'], 2), (['patch', '--nothing'], 2)])
def test_usage(argv, code, capsys):
  with pytest.raises(SystemExit) as e:
    program.main(argv)
  assert e.value.code == code
  out, err = capsys.readouterr()
  assert 'usage: python -m lore_plugin' in (err if code else out)


def test_patched_copy_runs(copy):
  patch.apply(copy / 'dreamerv3')
  result = subprocess.run(
      [sys.executable, '-m', 'dreamerv3', '--configs', 'nothing'], cwd=copy,
      env={'PYTHONPATH': str(upstream_root()), 'PATH': ''},
      capture_output=True, text=True, timeout=300)
  assert result.returncode == 2, result.stderr
  assert f'in {copy}' in result.stdout
  assert "Unknown configuration block 'nothing'" in result.stderr
  assert 'Traceback' not in result.stderr


def upstream_root():
  import lore_plugin
  import pathlib
  return pathlib.Path(lore_plugin.__file__).parent.parent
