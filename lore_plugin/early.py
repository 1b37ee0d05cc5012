"""What would end a run once its agent is built, found before jax is imported.

An environment and a provider are made as the run makes them later, and closed:
a typo in a task or a key that is missing shows in seconds. Where a user's own
main.py could make the task, nothing is said before that was imported.
"""

from typing import Any

from . import errors
from . import worlds
from .upstream import source
from .upstream.find import Upstream


def check(config: Any, found: Upstream) -> list[str]:
  """Tries the parts of a run that need neither jax nor upstream.

  Args:
    config: The whole configuration.
    found: The copy of upstream.

  Returns:
    What will be missed, though it ends no run.

  Raises:
    LoreError: What the run would raise later.
  """
  _check_task(config, found)
  suite = config.task.partition('_')[0]
  own = suite in worlds.SUITES and not source.makes(found, suite)
  if config.lore.heldout_every and not worlds.has_heldout_as(
      own, config.task):
    raise errors.ConfigError(
        f'lore.heldout_every is {config.lore.heldout_every}, but of '
        f'{config.task} no seeds are kept from training. Type '
        '--lore.heldout_every 0.')
  if config.lore.enabled and not config.random_agent:
    from .advisor import build
    return build.rehearse(config)
  return []


def _check_task(config, found):
  suite, task = worlds.split(config.task)
  if suite == 'crafter':
    worlds.check_crafter(task)
  if config.lore.enabled:
    from .worlds import registry
    registry.choose(config.lore.world, suite)
  if suite not in worlds.SUITES or source.makes(found, suite):
    return
  try:
    worlds.make_as(True, config, 0, None).close()
  except errors.LoreError:
    # A main.py may find its suites in ways that only Python can follow.
    if found.published or worlds.is_ours(config.task):
      raise
