"""Whether the agent learns: world model, critic, what it can do alone."""

import numpy as np

from .. import curves
from .. import logdir as logdirlib
from ..worlds import seeds
from .finding import Finding
from .log import Log

# Losses of upstream's agent that are not reconstructions of an observation.
OTHER_LOSSES = ('con', 'dyn', 'policy', 'rep', 'repval', 'rew', 'value')
# Logged intervals without which a trend is not judged.
ENOUGH = 4
EPISODES = 10


def check_reconstruction(log: Log) -> Finding:
  """Whether the world model learns to reconstruct what the agent sees."""
  name = 'world model'
  keys = sorted({
      k for row in log.rows for k in row if k.startswith('train/loss/')
      and k.split('/')[-1] not in OTHER_LOSSES})
  if not keys:
    return Finding(
        name, 'unknown', 'no reconstruction loss was logged yet',
        'Train until the first train/loss lines, or log more often: '
        '--run.log_every.')
  rows = [x for x in log.rows if all(k in x for k in keys)]
  total = np.array([sum(x[k] for k in keys) for x in rows])
  label = ' + '.join(x.split('/')[-1] for x in keys)
  if not np.isfinite(total).all():
    return Finding(
        name, 'problem', f'the loss of {label} is not finite',
        'Lower --agent.opt.lr, and start from an earlier checkpoint.')
  if len(total) < ENOUGH:
    return Finding(
        name, 'unknown', f'{len(total)} values of the loss of {label}; a '
        f'trend takes {ENOUGH}', 'Train longer.')
  part = max(1, len(total) // 4)
  first, last = total[:part].mean(), total[-part:].mean()
  evidence = (
      f'the loss of {label} went from {first:.3g} to {last:.3g} (first and '
      f'last quarter of {len(total)} values)')
  change = (
      'Raise --agent.opt.lr or --run.train_ratio, or the model\'s size; see '
      'whether observations are in the range that the encoder expects.')
  if last < 0.8 * first:
    return Finding(name, 'ok', evidence)
  if last < first:
    return Finding(name, 'warning', f'{evidence}: hardly falling', change)
  return Finding(name, 'problem', f'{evidence}: not falling', change)


def check_values(log: Log) -> Finding:
  """Whether the critic expects more than episodes earn."""
  name = 'values'
  _, values = log.series('train/val')
  if len(values) < ENOUGH or len(log.scores) < EPISODES:
    return Finding(
        name, 'unknown', f'{len(values)} logged values and {len(log.scores)} '
        f'episodes; the comparison takes {ENOUGH} and {EPISODES}',
        'Train longer.')
  part = max(1, len(values) // 4)
  value = values[-part:].mean()
  count = max(EPISODES, len(log.scores) // 4)
  score = log.scores[-count:].mean()
  scale = max(log.scores.max() - log.scores.min(), np.abs(log.scores).max())
  evidence = (
      f'the critic expects {value:.3g} in imagination, the last {count} '
      f'episodes earned {score:.3g}')
  change = (
      'Imagination promises what the environment does not keep: train the '
      'world model more (--run.train_ratio), shorten --agent.imag_length, or '
      'lower --agent.imag_loss.lam.')
  excess = (value - score) / scale if scale else value / 0.1
  # Of the range of returns. With discounting and failures in the replay, a
  # sound critic lies below what episodes earn.
  if not scale and value > 0.1:
    return Finding(
        name, 'problem', f'{evidence}; no episode ever earned anything',
        change)
  if excess > 0.3:
    return Finding(name, 'problem', evidence, change)
  if excess > 0.1:
    return Finding(name, 'warning', evidence, change)
  return Finding(name, 'ok', evidence)


def without_advice(log: Log) -> tuple[int, int]:
  """Returns successes and number of the control group's latest episodes."""
  won = [logdirlib.won(x) or 0 for x in log.journal if x['advised'] < 1]
  won = won[-max(EPISODES, len(won) // 3):]
  return int(sum(won)), len(won)


def mean_returns(log: Log) -> str:
  """Says what episodes came to where nobody says what a success is.

  Returns '' where the environment does.
  """
  alone = (log.summary or {}).get('alone')
  if any(x['success'] is None for x in log.journal):
    means = [
        np.mean([x['score'] for x in log.journal if x['advised'] == arm] or [
            float('nan')]) for arm in (1, 0)]
    return f'{means[0]:.3g} with advice, {means[1]:.3g} without'
  if alone and alone['success'] is None:
    return (
        f'{alone["score"]:.3g} in {alone["episodes"]} '
        f'{seeds.drawn(str(log.config["task"]))} of new seeds')
  return ''


def check_alone(log: Log) -> Finding:
  """Whether the agent learns to do without advice."""
  name = 'agent alone'
  if len(log.scores) < EPISODES:
    return Finding(
        name, 'unknown', f'{len(log.scores)} episodes; it takes {EPISODES}',
        'Train longer.')
  if (returns := mean_returns(log)):
    return Finding(
        name, 'unknown', 'the environment does not say what a success is; '
        f'mean return {returns}',
        'Let it return log/success, 1 where an episode is one.')
  alone = (log.summary or {}).get('alone')
  if alone:
    wins, count = round(
        alone['success'] * alone['episodes']), alone['episodes']
    drawn = seeds.drawn(str(log.config['task']))
    where = f'{drawn} of new seeds without advice'
  else:
    wins, count = without_advice(log)
    where = 'latest episodes of the control group'
    if not log.advised:
      return Finding(
          name, 'unknown', 'the run has not been evaluated at its end',
          'See python -m lore_plugin evaluate LOGDIR.')
    if count < EPISODES:
      return Finding(
          name, 'unknown', f'{count} episodes without advice so far',
          'Train on, or see python -m lore_plugin evaluate LOGDIR.')
  low, high = curves.wilson(wins, count)
  recent = log.scores[-max(EPISODES, len(log.scores) // 4):]
  if log.journal:
    won = [x['success'] for x in log.journal if x['advised'] == 1]
    recent = np.array(won[-max(EPISODES, len(won) // 4):] or recent)
  rate = (recent > 0).mean()
  evidence = (
      f'success {wins / count:.2f} [{low:.2f}, {high:.2f}] in {count} '
      f'{where}, {rate:.2f} in its last {len(recent)} '
      + ('advised episodes' if log.advised else 'training episodes'))
  change = (
      'Train longer. If that does not help, it leans on advice instead of '
      'learning: raise --lore.trust.control or --lore.kl.distil, or lower '
      '--lore.gate.beta_max.')
  if not log.advised:
    change = 'Train longer, or raise --run.train_ratio.'
  if rate == 0 and wins == 0:
    return Finding(name, 'problem', f'{evidence}: nothing is learned', change)
  if high < 0.5 * rate:
    return Finding(name, 'problem', evidence, change)
  if high < curves.wilson(int((recent > 0).sum()), len(recent))[0]:
    return Finding(name, 'warning', evidence, change)
  if wins < count / 2:
    return Finding(
        name, 'warning', f'{evidence}: it fails more often than not', change)
  return Finding(name, 'ok', evidence)
