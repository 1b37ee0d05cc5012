"""What happens after upstream's training loop has returned."""

import time

import elements

from .agent import advised
from . import status as progress
from .upstream import checkpoint
from .advisor import providers
from .play import evaluate
from . import worlds


def finish(config, parts, make_env, started):
  """Saves, evaluates and summarises a run on our environments.

  Args:
    config: The whole configuration.
    parts: What the training loop worked with: `agent`, `replay`, `logger`.
    make_env: Makes an environment: make_env(config, index, **overrides).
    started: Wall time of the start in seconds since the epoch.

  Returns:
    The summary, or None for runs that are not ours to comment.
  """
  if config.script != 'train' or not progress.watched(config):
    return None
  checkpoint.save(config.logdir, **parts)
  extra = {'task': config.task, 'seed': int(config.seed)}
  agent = parts['agent']
  layouts = config.lore.heldout
  if layouts and worlds.has_heldout(config.task):
    elements.print(
        f'Evaluating without advice on {layouts} held-out layouts...',
        color='yellow', flush=True)
    extra['alone'] = evaluate.proportion(evaluate.rollout(
        agent, lambda i: make_env(config, i, heldout=True), layouts))
  if isinstance(agent, advised.AdvisedAgent):
    extra['advisor'] = {
        'provider': providers.resolve(config.lore.advisor.provider),
        **agent.stats()}
    extra['trust'] = agent.trust.stats()
    if config.lore.trust.enabled:
      extra['verdict'] = agent.trust.describe()
    agent.close()
  extra['seconds'] = time.time() - started
  summary = progress.summarise(config.logdir, int(config.run.steps), extra)
  print(progress.table(summary, config.logdir), flush=True)
  return summary
