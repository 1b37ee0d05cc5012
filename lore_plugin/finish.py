"""What happens after upstream's training loop has returned."""

import time
from collections.abc import Callable
from typing import Any

import elements

from . import logdir
from . import status
from .advisor import build
from .advisor import counts
from . import worlds
from .agent import advised
from .play import alone
from .play import rollout
from .upstream import checkpoint
from .worlds import seeds


def finish(
    config: elements.Config, parts: dict[str, Any],
    make_env: Callable[..., Any], started: float) -> dict[str, Any] | None:
  """Saves, evaluates and summarises a run on our environments.

  Args:
    config: The whole configuration.
    parts: What the training loop worked with: `agent`, `logger`, and one or
      two replays.
    make_env: Makes an environment: make_env(config, index, **overrides).
    started: Wall time of the start in seconds since the epoch.

  Returns:
    The summary, or None for runs that are not ours to comment.
  """
  agent = parts['agent']
  if not ours(config):
    if isinstance(agent, advised.AdvisedAgent):
      agent.close()
    return None
  checkpoint.save(config.logdir, **parts)
  extra: dict[str, Any] = {'task': config.task, 'seed': int(config.seed)}
  if config.lore.heldout and worlds.has_heldout(config.task):
    found = evaluate(config, agent, make_env)
    if found:
      extra['alone'] = found
  if isinstance(agent, advised.AdvisedAgent):
    extra.update(account(config, agent))
    agent.close()
  return conclude(config, int(config.run.steps), extra, started)


def ours(config: elements.Config) -> bool:
  """Whether a run is ours to save and comment: no object store has our files.
  """
  return status.watched(config) and not logdir.is_remote(config.logdir)


def evaluate(
    config: elements.Config, agent: Any,
    make_env: Callable[..., Any]) -> dict[str, Any] | None:
  """Evaluates the agent alone; None, and a line, where that fails.

  The run has taken its steps by then, and is not to fail with it.
  """
  count = config.lore.heldout
  elements.print(
      f'Evaluating without advice on {count} {seeds.drawn(config.task)} of '
      'new seeds (--lore.heldout)' + (
          '; a weak agent takes a minute ...'
          if config.task.startswith('minigrid_') else
          f', each of up to {rollout.LONGEST:,} actions ...'),
      color='yellow', flush=True)
  try:
    return alone.evaluate(agent, config, make_env, int(config.run.steps))
  except Exception as e:
    elements.print(
        f'{alone.failure(e)} Without this evaluation: --lore.heldout 0',
        color='red', flush=True)
    return None


def stop(
    config: elements.Config, agent: Any,
    started: float) -> dict[str, Any] | None:
  """Summarises a run of script `parallel`, which goes on until interrupted.

  What its other processes worked with is gone, and saved by their clocks.

  Args:
    config: The whole configuration.
    agent: The agent, if it is in this process, else None.
    started: Wall time of the start in seconds since the epoch.

  Returns:
    The summary, or None for runs that are not ours to comment.
  """
  try:
    steps = logdir.last_step(config.logdir) if ours(config) else None
    if not steps:
      return None
    extra = {'task': config.task, 'seed': int(config.seed)}
    if isinstance(agent, advised.AdvisedAgent):
      extra.update(account(config, agent))
    return conclude(config, steps, extra, started)
  finally:
    if isinstance(agent, advised.AdvisedAgent):
      agent.close()


def conclude(
    config: elements.Config, steps: int, extra: dict[str, Any],
    started: float) -> dict[str, Any]:
  """Writes a run's summary, and shows it. Returns it."""
  extra['seconds'] = time.time() - started
  summary = status.summarise(config.logdir, steps, extra)
  status.show(summary, config.logdir)
  return summary


def answering(section: Any, advisor: Any) -> str:
  """Returns the names of who answers, the preferred one first.

  Args:
    section: The section `lore.advisor`.
    advisor: The advisor.
  """
  if section.address or section.replay != 'none':
    # What this run's own configuration names has answered nothing.
    return ','.join(dict.fromkeys(
        x.identity.provider for x in advisor.sources))
  return build.resolve_provider(section.provider)


def account(
    config: elements.Config, agent: advised.AdvisedAgent) -> dict[str, Any]:
  """Returns what the summary says of an advisor."""
  stats = agent.stats()
  out: dict[str, Any] = {
      'advisor': {
          'provider': answering(config.lore.advisor, agent.advisor),
          **stats},
      'trust': agent.trust.stats()}
  if config.lore.trust.enabled:
    # Without advice it says nothing, whatever the episodes came to.
    out['verdict'] = agent.trust.describe() if counts.led(stats) else (
        'none, as no answer has come')
  if not stats['answered'] and (why := agent.advisor.counts.first()):
    out['advisor']['failure'] = why
  return out
