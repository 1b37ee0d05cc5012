"""Upstream's own flags, checked before anything large is imported.

Upstream has assertions for most of this, some of which fail minutes later in
another thread. What a user's own main.py makes of a flag is the user's: texts
that it names are allowed.
"""

import importlib.util
import math
from typing import Any

from .. import errors
from . import device
from . import source
from .find import Upstream

SCRIPTS = (
    'train', 'train_eval', 'eval_only', 'parallel', 'parallel_env',
    'parallel_envs', 'parallel_replay')
# Outputs of make_logger, with the class that writes each and the module that
# elements imports for it.
OUTPUTS = {
    'jsonl': ('JSONLOutput', ''),
    'scope': ('ScopeOutput', 'scope'),
    'tensorboard': ('TensorBoardOutput', 'tensorflow'),
    'wandb': ('WandBOutput', 'wandb'),
    'expa': ('ExpaOutput', '')}
DTYPES = ('bfloat16', 'float16', 'float32')
# Lowest values, by key. At -1 seconds it is always time, at 0 never.
LEAST = {
    'batch_size': 1, 'batch_length': 2, 'report_length': 1, 'consec_train': 1,
    'consec_report': 1, 'replay_context': 0, 'replicas': 1, 'replica': 0,
    'replay.size': 1, 'replay.chunksize': 1, 'run.envs': 1, 'run.steps': 0,
    'run.train_ratio': 0, 'run.log_every': -1, 'run.save_every': -1,
    'run.report_every': -1, 'agent.imag_length': 1, 'agent.horizon': 1}
SEEDS = 2 ** 32


def check(config: Any, found: Upstream) -> None:
  """Checks the values of upstream's keys, and how they go together.

  Args:
    config: The whole configuration.
    found: The copy of upstream.

  Raises:
    ConfigError: With the key, the value and what is allowed.
  """
  flat = config.flat
  for key, least in LEAST.items():
    # Written so that NaN is refused as well.
    if key in flat and not flat[key] >= least:
      raise errors.ConfigError(
          f'{key} is {flat[key]}, but must be at least {least}.')
    if key in flat and not math.isfinite(flat[key]):
      raise errors.ConfigError(
          f'{key} is {flat[key]}, but must be finite. Type a large number, '
          'such as 1e9.')
  if config.report_length < 2 and config.agent.report:
    raise errors.ConfigError(
        'report_length is 1, but reports compare a step with the next. Type '
        '--report_length 2, or --agent.report False.')
  if not 0 <= config.seed < SEEDS:
    raise errors.ConfigError(
        f'seed is {config.seed}, but must be at least 0 and less than '
        f'{SEEDS}, which is what jax\'s generator takes.')
  own = source.compared(found, 'main')
  if config.script not in own:
    errors.choose(config.script, SCRIPTS, 'value of script')
  if config.script == 'eval_only' and not config.run.from_checkpoint:
    raise errors.ConfigError(
        'script eval_only plays with a trained agent. Type '
        '--run.from_checkpoint LOGDIR, the --logdir of its training.')
  if not config.random_agent:
    errors.choose(
        config.jax.compute_dtype, DTYPES, 'value of jax.compute_dtype')
  _check_environments(config)
  _check_outputs(config, found)
  _check_lengths(config)
  device.check(config)


def _check_environments(config):
  run = config.run
  if config.script == 'train_eval' and run.eval_envs < 1:
    raise errors.ConfigError(
        f'run.eval_envs is {run.eval_envs}, but script train_eval plays in '
        'at least 1.')
  if config.script == 'parallel' and run.actor_batch > run.envs:
    raise errors.ConfigError(
        f'run.actor_batch is {run.actor_batch}, but there are only run.envs '
        f'{run.envs} environments to fill it. Type --run.actor_batch -1.')


def _check_outputs(config, found):
  """Where a module is missing upstream ends in the middle of its start."""
  own = source.compared(found, 'make_logger')
  used = source.names(found, 'make_logger')
  for name in config.logger.outputs:
    if name not in own:
      errors.choose(name, OUTPUTS, 'output in logger.outputs')
    writer, needed = OUTPUTS.get(name, ('', ''))
    if writer not in used:
      continue
    others = [x for x in config.logger.outputs if x != name] or ['jsonl']
    without = f'--logger.outputs {" ".join(others)}'
    if needed and not importlib.util.find_spec(needed):
      raise errors.ConfigError(
          f'logger.outputs has {name}, for which the official code imports '
          f'{needed}, and that is not installed. Type pip install {needed}, '
          f'or {without}.')
    if name == 'expa':
      import elements
      if not hasattr(elements.logger, writer):
        raise errors.ConfigError(
            'logger.outputs has expa, which the installed elements lacks. '
            f'Type {without}.')


def _check_lengths(config):
  """Streams cut what replay holds: batches for training, and for reports."""
  if config.script in ('eval_only', 'parallel_env', 'parallel_envs'):
    return  # Without a replay.
  context = config.replay_context
  train = config.consec_train * config.batch_length
  report = config.consec_report * config.report_length
  if report > train:
    longest = train // config.consec_report
    hint = (
        f'Type --report_length {longest}, or --batch_length '
        f'{-(-report // config.consec_train)}.')
    raise errors.ConfigError(
        f'report_length {config.report_length} * consec_report '
        f'{config.consec_report} is longer than batch_length '
        f'{config.batch_length} * consec_train {config.consec_train}, of '
        f'which reports are cut. {hint}')
  sizes = [('replay.size', train, config.replay.size)]
  if config.script in ('train_eval', 'parallel', 'parallel_replay'):
    sizes.append((
        'a tenth of replay.size, for evaluation,', report,
        config.replay.size / 10))
  for what, length, size in sizes:
    need = config.batch_size * (length + context)
    if need > size:
      least = need if what == 'replay.size' else 10 * need
      raise errors.ConfigError(
          f'{what} is {size:g}, but one batch is of batch_size '
          f'{config.batch_size} sequences of {length + context} steps. Type '
          f'--replay.size {least} or more, or a smaller --batch_size.')
