"""The folder of a run: where its files are."""

import os
import pathlib

from . import errors


def expand(text: str | os.PathLike) -> pathlib.Path:
  """Returns the absolute path of what a user typed.

  Called once, where a path comes in: all else reads the result. `~` is the
  home folder; links stay as they are.

  Raises:
    ConfigError: The text is no path of this machine.
  """
  text = os.fspath(text)
  if is_remote(text):
    raise errors.ConfigError(
        f'{text!r} is not on this machine. Give a folder of this machine.')
  path = os.path.expanduser(text)
  if path.startswith('~'):
    name = path.split(os.sep)[0]
    raise errors.ConfigError(
        f'{text!r} has no place: this machine knows no home folder {name}. '
        f'Give the whole path, or ./{text} for a folder of that name.')
  if not text or '\0' in text:
    raise errors.ConfigError(
        f'{text!r} is no path. Give one such as ~/logdir/name.')
  return pathlib.Path(path).absolute()


def is_remote(text: str | os.PathLike) -> bool:
  """Whether a path names a place that only upstream reads, such as gs://."""
  return '://' in os.fspath(text)
