"""The files of a run."""

import contextlib
import errno
import fcntl
import os
import pathlib
import subprocess
import sys
import tempfile

import hypothesis
import hypothesis.strategies as st
import pytest

from lore_plugin import errors
from lore_plugin import logdir


def test_paths_are_expanded_once(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  assert logdir.expand('~/x') == logdir.expand('x') == tmp_path / 'x'
  assert logdir.expand('~') == tmp_path
  # As the shell and the system read them.
  assert logdir.expand('./~') == tmp_path / '~'
  assert logdir.expand('a/~/b') == tmp_path / 'a' / '~' / 'b'
  assert logdir.expand('$HOME') == tmp_path / '$HOME'
  assert logdir.expand(tmp_path / 'a b') == tmp_path / 'a b'


@pytest.mark.parametrize('text, match', [
    ('', 'is no path'), ('a\0b', 'is no path'),
    ('~nobody-of-this-name/x', 'no home folder ~nobody-of-this-name'),
    ('gs://bucket/x', 'not on this machine'), ('\ud800', 'no UTF-8')])
def test_what_is_no_path_is_said(text, match):
  with pytest.raises(errors.ConfigError, match=match):
    logdir.expand(text)


@hypothesis.given(
    st.text(st.characters(
        exclude_characters='\0~:', exclude_categories=['Cs']), min_size=1))
@hypothesis.settings(deadline=None)
def test_expanding_again_changes_nothing(text):
  path = logdir.expand(text)
  assert path.is_absolute() and logdir.expand(path) == path
  assert path == pathlib.Path.cwd() / text


def test_the_name_of_a_run(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert logdir.fill('~/logs/{timestamp}').startswith(f'{tmp_path}/logs/20')
  assert logdir.fill('gs://bucket/x') == 'gs://bucket/x'
  for name in ('{step}', '{', '{{x}}', '{0}', 'a[1]', 'a*', 'a?'):
    with pytest.raises(errors.ConfigError, match='logdir'):
      logdir.fill(name)


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
  with logdir.claim(f'{tmp_path}/a-{{timestamp}}/x') as one:
    with logdir.claim(f'{tmp_path}/a-{{timestamp}}/x') as two:
      assert one != two and pathlib.Path(two).is_dir()
  # Nothing came of them, so nothing is left.
  assert not list(tmp_path.glob('a-*/x'))


def test_one_run_at_a_time(tmp_path):
  with logdir.claim(str(tmp_path / 'run')) as path:
    assert path == str(tmp_path / 'run')
    assert logdir.used_by(tmp_path / 'run').startswith('process ')
    with pytest.raises(errors.ConfigError, match='Another run is using'):
      with logdir.claim(str(tmp_path / 'run')):
        pass
    # Another process of one and the same run.
    with logdir.claim(str(tmp_path / 'run'), replica=1):
      pass
    (tmp_path / 'run' / logdir.CONFIG).touch()
  assert logdir.used_by(tmp_path / 'run') == ''
  with logdir.claim(str(tmp_path / 'run')):
    pass
  # What was there before is not removed.
  assert (tmp_path / 'run' / logdir.CONFIG).is_file()


HOLDER = '''
import pathlib, sys, time
from lore_plugin import logdir
with logdir.hold(pathlib.Path(sys.argv[1])):
  print('held', flush=True)
  time.sleep(600)
'''
# A network disk without locks of the system.
WITHOUT = '''
import errno, fcntl
from lore_plugin import logdir
def flock(*args):
  raise OSError(errno.EOPNOTSUPP, 'not supported')
fcntl.flock = flock
logdir.LEASE = 3.0
'''


@pytest.mark.process
@pytest.mark.parametrize('start', ['', WITHOUT], ids=['system', 'without'])
def test_a_killed_run_leaves_no_lock(tmp_path, start, monkeypatch):
  proc = subprocess.Popen(
      [sys.executable, '-c', start + HOLDER, tmp_path],
      stdout=subprocess.PIPE, text=True)
  if start:
    monkeypatch.setattr(logdir, 'LEASE', 3.0)
    monkeypatch.setattr(fcntl, 'flock', unknown)
  try:
    assert proc.stdout.readline() == 'held\n'
    assert str(proc.pid) in logdir.used_by(tmp_path)
  finally:
    proc.kill()
    proc.wait()
  assert logdir.used_by(tmp_path) == ''
  with logdir.hold(tmp_path):
    pass


def unknown(*args):
  raise OSError(errno.EOPNOTSUPP, 'not supported')


@pytest.mark.parametrize('name, match', [
    ('file', 'is a file'), ('file/x', 'Not a directory'),
    ('x' * 300, 'File name too long'), ('x/' * 2040, 'File name too long')])
def test_folders_that_no_run_can_have(tmp_path, name, match):
  (tmp_path / 'file').touch()
  with pytest.raises(errors.ConfigError, match=match):
    with logdir.claim(str(tmp_path / name)):
      pass


@contextlib.contextmanager
def somebody():
  """A folder of a user who may not write everywhere, as root may."""
  root = os.geteuid() == 0
  with tempfile.TemporaryDirectory() as folder:
    if root:
      os.chown(folder, 65534, 65534)
      os.seteuid(65534)
    try:
      yield pathlib.Path(folder)
    finally:
      if root:
        os.seteuid(0)


def test_folders_without_permission():
  with somebody() as folder:
    run = folder / 'run'
    run.mkdir()
    (run / logdir.METRICS).touch(0o400)
    with pytest.raises(errors.ConfigError, match='permission'):
      with logdir.claim(str(run)):
        pass
    (run / logdir.METRICS).unlink()
    run.chmod(0o500)
    for name in ('run', 'run/inside'):
      with pytest.raises(errors.ConfigError, match='ermission'):
        with logdir.claim(str(folder / name)):
          pass
    run.chmod(0o700)
