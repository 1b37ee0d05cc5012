"""Worlds by name: one a family of tasks.

Another package adds one by an entry point, and a user names it, or names the
class itself:

  [project.entry-points.'lore_plugin.worlds']
  maze = 'my_package:Maze'

  --lore.world maze
  --lore.world my_package:Maze
"""

import functools
import importlib
import importlib.metadata

from .. import errors
from .. import retired
from ..advisor import prompts
from .base import World
from .crafter.world import CrafterWorld
from .generic import GenericWorld
from .minigrid.world import MiniGridWorld
from .vision import VisionWorld

GROUP = 'lore_plugin.worlds'
# Worlds of before version 0.2 had no memory, and another interface.
OLD = 'lore_plugin.describers'

_BUILTIN = {
    'crafter': CrafterWorld,
    'generic': GenericWorld,
    'minigrid': MiniGridWorld,
    'vision': VisionWorld,
}


def names() -> list[str]:
  """Returns the names of all worlds, those of other packages too."""
  return sorted({*_BUILTIN, *_plugins(GROUP)})


def choose(name: str, suite: str) -> type[World]:
  """Returns the world of a name; 'auto' is that of the suite, or generic."""
  if name == 'auto':
    name = suite if suite in names() else 'generic'
  return get(name)


def shows_pictures(name: str) -> bool:
  """Returns whether a world of that name asks by pictures."""
  return name != 'auto' and get(name).pictures


def get(name: str) -> type[World]:
  """Returns a world's class, and makes its prompt known in this process.

  Args:
    name: A registered name, or 'package.module:Class'.

  Raises:
    ConfigError: There is none of that name, or it can't be imported, or it is
      none, or its prompt can't be used.
  """
  retired.check('lore.world', name)
  if name in _BUILTIN:
    return _BUILTIN[name]
  if ':' in name:
    found = _load(name, lambda: _import(name))
  elif name in _plugins(GROUP):
    found = _load(name, _plugins(GROUP)[name].load)
  elif name in _plugins(OLD):
    raise errors.ConfigError(
        f'lore.world {name!r} is a describer, which took one observation at '
        f'a time. Make it a lore_plugin.worlds.World (reset, observe) in the '
        f'entry-point group {GROUP}; docs/worlds.md shows how.')
  else:
    raise errors.ConfigError(
        f'Unknown world {name!r} in lore.world. Choose from: '
        f'{", ".join(["auto", *names()])}, or name a class: '
        f'--lore.world package.module:Class')
  if not (isinstance(found, type) and issubclass(found, World)):
    raise errors.ConfigError(
        f'lore.world {name!r} is {found!r}, but must be a subclass of '
        f'lore_plugin.worlds.base.World; docs/worlds.md shows how.')
  prompts.learn(found)
  return found


def _load(name, load):
  try:
    return load()
  except Exception as e:
    way = (
        'Add its folder to PYTHONPATH: PYTHONPATH=FOLDER python -m ...'
        # Python may take a folder of that name, such as a logdir, for it.
        if isinstance(e, (ModuleNotFoundError, AttributeError))
        else 'Repair that')
    raise errors.ConfigError(
        f'lore.world {name!r} cannot be loaded: {type(e).__name__}: {e}. '
        f'{way}, or set --lore.world auto.') from e


def _import(name):
  module, _, attr = name.partition(':')
  return getattr(importlib.import_module(module), attr)


@functools.cache
def _plugins(group):
  return {x.name: x for x in importlib.metadata.entry_points(group=group)}
