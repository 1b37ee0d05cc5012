"""What advice does in a run: its gate, its divergence, its effect."""

import functools
from collections.abc import Callable

from .finding import Finding
from .learning import ENOUGH
from .learning import EPISODES
from .log import Log
from ..agent import trust as trustlib


def of_advised(name: str) -> Callable:
  """A check that has nothing to say of a run without an advisor.

  Args:
    name: What is checked; the first argument of the function.
  """
  def decorate(check: Callable[[str, Log], Finding]):
    @functools.wraps(check)
    def run(log: Log) -> Finding:
      return check(name, log) if log.advised else Finding(
          name, 'unknown', 'the run had no advisor (lore.enabled False)')
    return run
  return decorate


@of_advised('gate')
def check_gate(name: str, log: Log) -> Finding:
  """Whether beta is stuck at its ceiling or at zero."""
  ceiling = log.series('epstats/log/lore_ceiling/avg')[1]
  beta = log.series('epstats/log/lore_beta/avg')[1]
  most = log.config.get('lore.gate.beta_max', 0)
  if not most:
    return Finding(
        name, 'ok', 'lore.gate.beta_max is 0: advice is never mixed in')
  if len(ceiling) < ENOUGH:
    return Finding(
        name, 'unknown', f'{len(ceiling)} values of beta; it takes {ENOUGH}',
        'Train longer.')
  half = len(ceiling) // 2
  share, mean = ceiling[half:].mean(), beta[half:].mean()
  proof = log.last('train/lore/uplift_low')
  evidence = (
      f'in the second half beta was {mean:.2f} of at most {most:g} on '
      f'average, and at its ceiling in {share:.0%} of the steps')
  if share > 0.5 and proof is not None and proof > 0:
    return Finding(
        name, 'ok', f'{evidence}; held open, as advice is shown to add at '
        f'least {proof:.2f} to the score')
  hopes = log.series('train/lore/hope')[1]
  if share > 0.5 and len(hopes) and (hopes[len(hopes) // 2:] > 0).mean() > 0.5:
    return Finding(
        name, 'ok', f'{evidence}; held open, as advice was mostly more likely '
        f'than {trustlib.CLEAR:g} to help')
  change = (
      'The gate no longer tells states apart: raise --lore.gate.tau or lower '
      '--lore.gate.kappa.')
  if share > 0.9:
    return Finding(name, 'problem', f'{evidence}: saturated', change)
  if share > 0.5:
    return Finding(name, 'warning', evidence, change)
  if mean < 0.01 * most:
    trust = log.last('train/lore/trust')
    if trust is not None and trust < 0.1:
      return Finding(
          name, 'ok', f'{evidence}; closed, as trust is {trust:.2f}')
    return Finding(
        name, 'warning', f'{evidence}: as good as closed',
        'Advice has no influence: lower --lore.gate.tau, if that is not '
        'because the agent has learned.')
  return Finding(name, 'ok', evidence)


@of_advised('KL')
def check_kl(name: str, log: Log) -> Finding:
  """Whether the divergence stays above its target."""
  _, kl = log.series('train/lore/kl')
  target = log.config.get('lore.kl.target')
  if len(kl) < ENOUGH or target is None:
    return Finding(
        name, 'unknown', f'{len(kl)} values of the divergence; it takes '
        f'{ENOUGH}', 'Train longer.')
  half = kl[len(kl) // 2:]
  scheduled = log.config.get('lore.kl.schedule.mode', 'none') != 'none'
  if scheduled:
    # Runs of version 0.1 could begin elsewhere.
    factors = [
        log.config.get('lore.kl.schedule.start', 1.0),
        log.config['lore.kl.schedule.end']]
    tight, target = min(factors) * target, max(factors) * target
    if (half > target).mean() <= 0.5 < (half > tight).mean():
      return Finding(
          name, 'unknown', f'in the second half KL was {half.mean():.3g} nats '
          f'on average; where the schedule was between {target:g} and '
          f'{tight:g} at each step is not logged',
          'Compare the figure of KL over time with the schedule.')
  above = (half > target).mean()
  dual = log.last('train/lore/lambda')
  evidence = (
      f'in the second half KL was {half.mean():.3g} nats on average, above '
      f'the target of {target:g} in {above:.0%} of {len(half)} values')
  if dual is not None:
    evidence += f'; lambda is {dual:.3g} at the end'
  if not log.config.get('lore.kl.penalty', True):
    evidence += '; the penalty is off'
  change = (
      'The penalty does not hold: raise --lore.kl.lr or --lore.kl.target, or '
      'lower --lore.gate.beta_max.')
  if above > 0.9:
    return Finding(name, 'problem', f'{evidence}: permanently', change)
  if above > 0.5:
    return Finding(name, 'warning', evidence, change)
  return Finding(name, 'ok', evidence)


@of_advised('advice')
def check_uplift(name: str, log: Log) -> Finding:
  """Whether advised episodes do worse than the control group's."""
  estimate, low, high, trust = (
      log.last(f'train/lore/{x}')
      for x in ('uplift', 'uplift_low', 'uplift_high', 'trust'))
  control, treated = (
      log.last(f'train/lore/{x}_episodes') for x in ('control', 'advised'))
  if estimate is None or not control or not treated:
    if not log.config.get('lore.trust.enabled', True):
      return Finding(
          name, 'unknown', 'the comparison is off',
          'Turn the comparison on: --lore.trust.enabled True.')
    return Finding(
        name, 'unknown', 'no comparison of advised episodes with a control '
        'group was logged yet', 'Train longer.')
  # Logged together.
  assert low is not None and high is not None and trust is not None
  evidence = (
      f'advice adds {estimate:+.2f} [{low:+.2f}, {high:+.2f}] to the score '
      f'({treated:.0f} advised and {control:.0f} other episodes); trust is '
      f'{trust:.2f}')
  shown = log.last('train/lore/uplift_shown')
  if shown is None:  # Of a run of 0.1.0.
    shown = int(low > 0) - int(high < 0)
  shown = round(shown)
  if high < 0 and not shown:
    return Finding(
        name, 'warning', f'{evidence}: it may do harm',
        'Train longer: of many looks at an interval of 95 % some are wrong.')
  if shown < 0:
    return Finding(
        name, 'problem' if trust > 0.1 else 'warning',
        f'{evidence}: it does harm',
        'Try another --lore.advisor.provider, .model or .mode; python -m '
        'lore_plugin judge compares them. Training goes on best without '
        'this advice.')
  if shown > 0:
    return Finding(name, 'ok', f'{evidence}: it helps')
  if low > 0:
    return Finding(name, 'ok', f'{evidence}: it may help')
  if min(control, treated) < EPISODES:
    return Finding(
        name, 'unknown', f'{evidence}: too few episodes', 'Train longer.')
  if trust < 0.1:
    return Finding(
        name, 'warning', f'{evidence}: no effect shown, and trust has gone',
        'Advice is hardly followed any more. Try another model or mode.')
  return Finding(name, 'ok', f'{evidence}: no effect shown')
