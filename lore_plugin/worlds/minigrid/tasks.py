"""Finds and makes the gymnasium environment of a task."""

import difflib
import importlib
import warnings
from typing import Any

from ... import errors

# A task that always works, for errors about tasks that don't.
EXAMPLE = '--task minigrid_DoorKey-5x5'


def make_gym(task: str) -> Any:
  """Makes the gymnasium environment of a task.

  Args:
    task: A registered id, a MiniGrid id without 'MiniGrid-' and '-v0', or
      'module:id' as Gymnasium has it: the module is imported first.

  Raises:
    EnvError: The task does not exist, is no MiniGrid task or has no single
      discrete action.
  """
  try:
    import gymnasium
    import minigrid.minigrid_env
  except ImportError as e:
    raise errors.EnvError(
        f'The task {task!r} needs the package minigrid, which cannot be '
        f'imported ({e}). Type: pip install minigrid') from e
  name = find(task)
  try:
    # A task whose id has a newer version is as good as any other.
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      env = gymnasium.make(name, disable_env_checker=True)
  except Exception as e:
    raise errors.EnvError(
        f'The task {name!r} cannot be made: {e}. Repair that, or choose '
        f'another task: {EXAMPLE}') from e
  if not isinstance(env.unwrapped, minigrid.minigrid_env.MiniGridEnv):
    raise errors.EnvError(
        f'The task {name!r} is no MiniGrid task. Choose one that is: '
        f'{EXAMPLE}')
  if not isinstance(env.action_space, gymnasium.spaces.Discrete):
    raise errors.EnvError(
        f'The actions of {name!r} are {env.action_space}. LoRe advises tasks '
        f'with a single discrete action, such as {EXAMPLE}')
  return env


def find(task: str) -> str:
  """Returns the registered id that a task means.

  Raises:
    EnvError: There is none, or its module can't be imported.
  """
  import gymnasium
  registry = gymnasium.registry
  module, colon, short = task.rpartition(':')
  if colon:
    try:
      importlib.import_module(module)
    except Exception as e:
      raise errors.EnvError(
          f'The task {task!r} is made by the module {module!r}, which cannot '
          f'be imported: {type(e).__name__}: {e}. Install it or add its '
          f'folder to PYTHONPATH, or choose another task: {EXAMPLE}') from e
  forms = (short, f'{short}-v0', f'MiniGrid-{short}', f'MiniGrid-{short}-v0')
  name = next((x for x in forms if x in registry), None)
  if name is not None:
    return name
  known = [x for x in registry if x.startswith(('MiniGrid-', 'BabyAI-'))]
  names = {x.removeprefix('MiniGrid-').removesuffix('-v0'): x for x in known}
  pool = list(registry) if colon else [*names, *known]
  close = difflib.get_close_matches(short, pool, 5, 0.4)
  where = f' after {module!r} was imported' if colon else ''
  raise errors.EnvError(
      f'No MiniGrid task is called {short!r}{where}. Close to it: '
      f'{", ".join(close) or "none"}. Known are {len(known)} tasks, of '
      f'which minigrid_DoorKey-5x5 is the usual one.')


def sizes() -> tuple[int, ...]:
  """Returns how many objects, colours and states MiniGrid's tables name.

  Packages may add to the tables, so they are read when a task was made.
  """
  from minigrid.core import constants
  tables = (
      constants.OBJECT_TO_IDX, constants.COLOR_TO_IDX, constants.STATE_TO_IDX)
  return tuple(max(x.values()) + 1 for x in tables)


def mission_varies(env: Any) -> bool:
  """Tells whether a MiniGrid environment's mission differs by episode."""
  space = env.observation_space['mission']
  # BabyAI's mission space claims to hold only 'go'.
  return bool(getattr(space, 'ordered_placeholders', True)) or (
      'BabyAI' in type(space).__name__)
