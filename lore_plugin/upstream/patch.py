"""Adds to a copy of upstream the one file that `python -m dreamerv3` needs.

Only a new file is written, `dreamerv3/__main__.py`, and in a git checkout a
line in `.git/info/exclude` that hides it from `git status`. Both carry marks
by which they are recognised, so that undoing takes away what was written here
and nothing else.
"""

import argparse
import hashlib
import pathlib
import shutil
import subprocess
from collections.abc import Sequence

from .. import errors
from .. import logdir as logdirlib
from .. import upstream

MARK = '# Written by `python -m lore_plugin patch`'
MAIN = '''\
"""Runs DreamerV3 with LoRe's parts: python -m dreamerv3 --configs ..."""

import sys

if __name__ == '__main__':
  try:
    from lore_plugin import __main__ as lore
  except ImportError as e:
    sys.exit(
        f'Can\\'t import lore_plugin ({e}). Install LoRe into this Python, or '
        'delete this file: ' + __file__)
  sys.exit(lore.train())
'''
# The first line of our block in .git/info/exclude tells what to restore.
EXCLUDE_ADDED = '# lore_plugin patch: the next line is ours\n'
EXCLUDE_MADE = '# lore_plugin patch: this file and the next line are ours\n'


def main(argv: Sequence[str]) -> None:
  """python -m lore_plugin patch [PATH]"""
  for line in apply(_target(argv, 'patch')):
    print(line)


def undo(argv: Sequence[str]) -> None:
  """python -m lore_plugin unpatch [PATH]"""
  for line in revert(_target(argv, 'unpatch')):
    print(line)


def apply(package: pathlib.Path) -> list[str]:
  """Adds what is missing.

  Args:
    package: Folder of upstream's package `dreamerv3`.

  Returns:
    What was done, a list of sentences.

  Raises:
    UpstreamError: If there is such a file already that is not ours.
  """
  path = package / '__main__.py'
  state = _state(path)
  if state == 'foreign':
    raise errors.UpstreamError(
        f'{path} exists and was not written by LoRe, or was changed since. '
        'Nothing was done. Use `python -m lore_plugin` in its place, or move '
        'that file away.')
  done = []
  if state == 'current':
    done.append(f'{path} is in place already.')
  else:
    _write(path, _content())
    verb = 'Added' if state == 'absent' else 'Renewed'
    done.append(f'{verb} {path}.')
  done += _hide(path)
  done.append(
      f'Run `python -m dreamerv3 --configs minigrid lore` in '
      f'{package.parent}. Undo: python -m lore_plugin unpatch '
      f'{package.parent}')
  return done


def revert(package: pathlib.Path) -> list[str]:
  """Takes away what `apply` added; returns what was done, sentences.

  Raises:
    UpstreamError: If the file is there but is not as we wrote it.
  """
  path = package / '__main__.py'
  state = _state(path)
  if state == 'foreign':
    if not _git(package, 'ls-files', '--error-unmatch', path.name).returncode:
      # As after a pull that brought it, in the place of ours.
      return [f'{path} is the checkout\'s own, and stays.', *_unhide(path)]
    raise errors.UpstreamError(
        f'{path} was not written by LoRe, or was changed since. It stays. '
        'Delete it yourself if it is of no use.')
  done = []
  if state == 'absent':
    done.append(f'There is no {path}.')
  else:
    path.unlink()
    # Python's compiled form of that file; there was no other source for it.
    for cached in package.glob('__pycache__/__main__.*.pyc'):
      cached.unlink()
    done.append(f'Removed {path}.')
  return done + _unhide(path)


def _target(argv, command):
  parser = argparse.ArgumentParser(
      prog=f'python -m lore_plugin {command}',
      description='Adds `python -m dreamerv3` to a copy of DreamerV3.'
      if command == 'patch' else 'Removes what patch added.')
  parser.add_argument(
      'path', metavar='PATH', nargs='?',
      help='root of a checkout of dreamerv3 (the copy that Python imports)')
  path = parser.parse_args(argv).path
  if path is None:
    return upstream.find().folder
  root = logdirlib.expand(path).resolve()
  for package in (root / 'dreamerv3', root):
    if (package / 'agent.py').is_file() and (package / 'main.py').is_file():
      return package
  raise errors.UpstreamError(
      f'{root} is not a copy of DreamerV3: there is no dreamerv3/main.py. '
      'Give the root of a clone of github.com/danijar/dreamerv3.')


def _content():
  return f'{MARK}, digest {_digest(MAIN)}.\n{MAIN}'


def _digest(text):
  return hashlib.sha256(text.encode('utf-8')).hexdigest()[:16]


def _state(path):
  """Returns 'absent', 'current', 'old' (by another LoRe), or 'foreign'."""
  if not path.exists():
    return 'absent'
  text = path.read_text(encoding='utf-8', errors='replace')
  head, _, body = text.partition('\n')
  if head != f'{MARK}, digest {_digest(body)}.':
    return 'foreign'
  return 'current' if text == _content() else 'old'


def _write(path, text):
  try:
    path.write_text(text, encoding='utf-8')
  except OSError as e:
    raise errors.UpstreamError(
        f'Can\'t write {path}: {e.strerror}. Use `python -m lore_plugin` in '
        'its place, which needs no patch.') from e


def _hide(path):
  """Keeps `git status` of a checkout clean."""
  exclude, line = _exclude(path)
  if not exclude:
    return []
  made = not exclude.exists()
  text = '' if made else exclude.read_text(encoding='utf-8')
  if line in text.splitlines():
    return []
  mark = EXCLUDE_MADE if made else EXCLUDE_ADDED
  exclude.parent.mkdir(parents=True, exist_ok=True)
  # In front, so that taking it away leaves a file without a newline at its
  # end as it was.
  _write(exclude, f'{mark}{line}\n{text}')
  return [f'Added {line} to {exclude}, to keep `git status` clean.']


def _unhide(path):
  exclude, line = _exclude(path)
  if not exclude or not exclude.exists():
    return []
  text = exclude.read_text(encoding='utf-8')
  for mark in (EXCLUDE_MADE, EXCLUDE_ADDED):
    block = f'{mark}{line}\n'
    if block in text:
      text = text.replace(block, '', 1)
      if mark == EXCLUDE_MADE and not text:
        exclude.unlink()
      else:
        _write(exclude, text)
      return [f'Removed {line} from {exclude}.']
  return []


def _exclude(path):
  """Returns git's exclude file and our line for it; (None, '') without git."""
  folder = path.parent
  top = _git(folder, 'rev-parse', '--show-toplevel')
  # A copy installed within some other project's folder is not a checkout.
  tracked = _git(folder, 'ls-files', '--error-unmatch', 'main.py')
  if top.returncode or tracked.returncode:
    return None, ''
  place = _git(
      folder, 'rev-parse', '--git-path', 'info/exclude').stdout.strip()
  line = path.relative_to(pathlib.Path(top.stdout.strip()).resolve())
  return (folder / place).resolve(), f'/{line.as_posix()}'


def _git(folder, *args):
  """Runs git in a folder; fails where there is none."""
  if not shutil.which('git'):
    return subprocess.CompletedProcess(args, 1, '', '')
  return subprocess.run(
      ['git', '-C', str(folder), *args], capture_output=True, text=True,
      check=False)
