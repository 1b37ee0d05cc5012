"""States in words: one describer a family of tasks.

Third parties add theirs in another package, in the entry-point group
`lore_plugin.describers`, and test it by `check_describer`.
"""

import functools
import importlib.metadata

from .. import errors
from .base import Describer  # noqa: F401
from .check import check_describer  # noqa: F401
from .generic import GenericDescriber
from .minigrid.describe import MiniGridDescriber
from .wrapper import Describe  # noqa: F401

GROUP = 'lore_plugin.describers'

_BUILTIN = {
    'generic': GenericDescriber,
    'minigrid': MiniGridDescriber,
}


def names():
  """Returns the names of all describers, those of other packages too."""
  return sorted({*_BUILTIN, *_plugins()})


def get(name):
  """Returns a describer class by name.

  Raises:
    ConfigError: No describer has that name, or its package fails to import.
  """
  if name in _BUILTIN:
    return _BUILTIN[name]
  plugins = _plugins()
  if name not in plugins:
    raise errors.ConfigError(
        f'Unknown describer {name!r} in lore.describer. Choose from: '
        f'{", ".join(["auto", *names()])}.')
  try:
    return plugins[name].load()
  except Exception as e:
    raise errors.ConfigError(
        f'The describer {name!r} of {plugins[name].value} cannot be loaded: '
        f'{e}. Repair that package or set --lore.describer auto.') from e


@functools.cache
def _plugins():
  return {x.name: x for x in importlib.metadata.entry_points(group=GROUP)}
