"""Environments, with their state in words where an advisor wants it."""

import traceback
from collections.abc import Callable
from typing import Any

from .. import errors
from .. import upstream

# Ours, unless upstream's make_env makes a suite of that name.
SUITES = ('minigrid', 'gymnasium')
# Of a suite that upstream has as well, the task that is ours alone.
SYMBOLIC = 'crafter_symbolic'
# What to install for upstream's suites, by what can't be imported.
PACKAGES = {
    'ale_py': 'ale-py', 'bsuite': 'bsuite', 'dm_control': 'dm-control',
    'procgen': 'procgen'}


def split(task: str) -> tuple[str, str]:
  """Returns the suite and its task that a task names.

  Raises:
    EnvError: It names no suite.
  """
  suite, _, name = task.partition('_')
  if not name:
    raise errors.EnvError(
        f'The task {task!r} does not name a suite and a task, joined by _. '
        'Type --task minigrid_DoorKey-5x5.')
  return suite, name


def is_ours(task: str) -> bool:
  """Whether a task is of one of our suites, not of a user's of that name."""
  suite = task.partition('_')[0]
  return suite in SUITES and not upstream.makes(suite)


def has_heldout(task: str) -> bool:
  """Whether a task has seeds that are kept from training."""
  return has_heldout_as(is_ours(task), task)


def has_heldout_as(own: bool, task: str) -> bool:
  """As `has_heldout`, where it is known whether such a suite is ours."""
  return own or task == SYMBOLIC


def make(
    config: Any, index: int, fallback: Callable[..., Any],
    **overrides: Any) -> Any:
  """Makes one environment of a run.

  Args:
    config: The whole configuration; reads task, seed, env.minigrid and lore.
    index: Which of the run's environments, at least 0.
    fallback: Makes the environments of other suites:
      fallback(config, index, **overrides).
    **overrides: Arguments of the environment that replace configured ones,
      such as `heldout=True` or `seed=7`.

  Returns:
    An `embodied.Env`; with lore.enabled it emits `lore/state`.

  Raises:
    EnvError: The task does not exist or can't be advised.
    ConfigError: There is no world lore.world.
  """
  own = is_ours(config.task)
  return make_as(own, config, index, fallback, **overrides)


def make_as(
    own: bool, config: Any, index: int, fallback: Callable[..., Any],
    **overrides: Any) -> Any:
  """As `make`, where it is known whether a suite of that name is ours.

  To find that out may take upstream, and with it jax.
  """
  # Children of the parallel script import this package for other reasons, so
  # the simulators are imported only here.
  from . import registry
  from . import wrapper
  suite, task = split(config.task)
  enabled = config.lore.enabled
  ours = suite if own else ''
  # An advisor that is off needs no world.
  world = enabled and registry.choose(
      config.lore.world, suite if suite == 'crafter' else ours)
  steps = enabled and config.lore.advisor.mode == 'action'
  sight = bool(world) and world.pictures
  env: Any
  if ours == 'minigrid' and not sight:
    from .minigrid import env as minigrid
    if enabled and config.lore.actions:
      raise errors.ConfigError(
          f'lore.actions is {config.lore.actions!r}, but the worlds of '
          'MiniGrid have words of their own. Leave it out.')
    kwargs = {
        'seed': config.seed, 'index': index,
        'text_bytes': config.lore.text_bytes if enabled else 0,
        'world': world, 'steps': steps, **config.env.minigrid, **overrides}
    return minigrid.MiniGrid(task, **kwargs)
  if ours == 'minigrid':
    from .minigrid import env as minigrid
    env = minigrid.MiniGrid(task, **{
        'seed': config.seed, 'index': index, **config.env.minigrid,
        **overrides})
  elif ours == 'gymnasium':
    from .gymnasium import env as gymnasium
    env = gymnasium.Gymnasium(task, **{
        'seed': config.seed, 'index': index, **config.env.gymnasium,
        **overrides})
  elif suite == 'crafter':
    env = _crafter(task, fallback, config, index, overrides)
  else:
    env = _fall_back(fallback, config, index, overrides)
  if enabled:
    wrapper.check_actions(env.act_space)
    if world is registry.GenericWorld:
      _check_words(config, env)
    env = _describe(env, world, task, config, steps)
  return env


def _describe(env, world, task, config, steps):
  """Lets a world say what an environment shows."""
  from . import naming
  from . import wrapper
  made = world(env, task)
  if made.pictures and not steps:
    raise errors.EnvError(
        f'The world {config.lore.world} shows pictures, in which LoRe knows '
        'no subgoals, but lore.advisor.mode is subgoal. Type '
        '--lore.advisor.mode action.')
  if made.pictures or config.lore.actions:
    made.actions = naming.choose(env, config.lore.actions, made.actions)
  size = max(config.lore.text_bytes, made.room)
  return wrapper.Describe(env, made, size, steps)


def check_crafter(task: str) -> None:
  """Raises a ConfigError for a task that is none of Crafter's.

  Upstream's own asserts it without a word.
  """
  from .crafter import env as crafter
  errors.choose(task, (*crafter.TASKS, 'symbolic'), 'Crafter task')


def _crafter(task, fallback, config, index, overrides):
  """Makes upstream's Crafter where there is one, and else ours.

  `crafter_symbolic` is ours alone.
  """
  from .crafter import env as crafter
  symbolic = task == 'symbolic'
  check_crafter(task)
  if not symbolic:
    try:
      return fallback(config, index, **overrides)
    except ImportError as e:
      if not (e.name or '').startswith('embodied.'):
        return _fall_back(fallback, config, index, overrides)
  return crafter.Crafter(
      'reward' if symbolic else task, 'symbolic' if symbolic else 'image', **{
          'size': config.env.crafter.size, 'seed': config.seed,
          'index': index, **overrides})


def _check_words(config, env):
  """Says before training that a task has no words to be advised by.

  Raises:
    EnvError: Nothing but pictures, or numbers without subgoals.
  """
  from .generic import MAX_VALUES, readable, too_large
  leave = 'Leave out the lore block (--lore.enabled False)'
  if not readable(env.obs_space):
    raise errors.EnvError(
        f'The task {config.task!r} shows {sorted(env.obs_space)}, which LoRe '
        f'has no words for, so that no model could be asked. Type '
        f'--lore.world vision to show its pictures to a model that sees, add '
        f'words for it (docs/worlds.md), or: {leave}.')
  if large := too_large(env.obs_space):
    raise errors.EnvError(
        f'The task {config.task!r} shows too many numbers for words: '
        f'{", ".join(large)}. More than {MAX_VALUES} at a time say nothing to '
        f'a language model. Write a world that says what matters '
        f'(docs/worlds.md), or: {leave}.')
  if config.lore.advisor.mode == 'subgoal':
    raise errors.EnvError(
        f'The task {config.task!r} is described by numbers alone, in which '
        f'LoRe knows no subgoals, but lore.advisor.mode is subgoal. Type '
        f'--lore.advisor.mode action to ask for actions, or: {leave}.')


def _fall_back(fallback, config, index, overrides):
  """Makes an environment of upstream's, or says why it can't be made."""
  suite = config.task.split('_', 1)[0]
  try:
    return fallback(config, index, **overrides)
  except KeyError as e:
    if e.args != (suite,):
      raise
    raise errors.EnvError(
        f'No suite is called {suite!r} in the task {config.task!r}. Choose a '
        f'task that upstream knows, or --task minigrid_DoorKey-5x5.') from e
  except ImportError as e:
    name = getattr(e, 'name', None) or ''
    way = (
        'This copy of upstream comes without it; run from a checkout of it '
        'that has it' if name.startswith('embodied.') else
        f'Type: pip install {PACKAGES[name]}' if name in PACKAGES else
        'Upstream makes such tasks with that package; install it as its own '
        'pages tell')
    raise errors.EnvError(
        f'The task {config.task!r} cannot be made here: {e}. {way}, or '
        f'choose a task that works: --task minigrid_DoorKey-5x5') from e
  except errors.LoreError:
    raise
  except Exception as e:
    if not config.lore.enabled:
      raise
    at = traceback.extract_tb(e.__traceback__)[-1]
    text = ' '.join(f'{type(e).__name__}: {e}'.split())[:300]
    raise errors.EnvError(
        f'Upstream can\'t make the task {config.task!r}: {text} '
        f'({at.filename}, line {at.lineno}). It is the same without lore. Try '
        'the version of the package that upstream names in its files.') from e
