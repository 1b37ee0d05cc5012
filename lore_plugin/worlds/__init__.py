"""Environments, with their state in words where an advisor wants it."""

from .. import errors


def make(config, index, fallback, **overrides):
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
    ConfigError: No describer is called lore.describer.
  """
  # Children of the parallel script import this package for other reasons, so
  # the simulators are imported only here.
  from . import registry as describe
  suite, _, task = config.task.partition('_')
  if not task:
    raise errors.EnvError(
        f'The task {config.task!r} does not name a suite and a task, joined '
        f'by _. Type --task minigrid_DoorKey-5x5.')
  enabled = config.lore.enabled
  name = config.lore.describer
  if name == 'auto':
    name = suite if suite in describe.names() else 'generic'
  describer = describe.get(name) if enabled else None
  if suite == 'minigrid':
    from .minigrid import env as minigrid
    kwargs = {
        'seed': config.seed, 'index': index,
        'text_bytes': config.lore.text_bytes if enabled else 0,
        'describer': name, **config.env.minigrid, **overrides}
    return minigrid.MiniGrid(task, **kwargs)
  env = _fall_back(fallback, config, index, overrides)
  if enabled:
    env = describe.Describe(env, describer, config.lore.text_bytes)
  return env


def _fall_back(fallback, config, index, overrides):
  """Makes an environment of upstream's, or says why it can't be made."""
  suite = config.task.split('_', 1)[0]
  try:
    return fallback(config, index, **overrides)
  except KeyError as e:
    if e.args != (suite,):
      raise
    raise errors.EnvError(
        f'No suite is called {suite!r} in the task {config.task!r}. Type '
        f'--task minigrid_DoorKey-5x5, or a task that upstream knows.') from e
  except ModuleNotFoundError as e:
    name = e.name or ''
    way = (
        'This copy of upstream comes without its environments; run from a '
        'checkout of it' if name.startswith('embodied.') else
        f'Install {name.split(".")[0]}')
    raise errors.EnvError(
        f'The task {config.task!r} needs the module {name!r}, which is not '
        f'installed. {way}, or choose another task.') from e
