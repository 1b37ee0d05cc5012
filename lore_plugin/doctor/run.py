"""Examines a run, or the installation, and says what to change.

  python -m lore_plugin doctor LOGDIR [--json]
  python -m lore_plugin doctor [--json] [--lore.advisor.provider NAME ...]

Each check gives a verdict with its evidence: `ok`; `warning`, look at it;
`problem`, results will suffer; `unknown`, the logs can't tell, and why. A
check that could not be made is never counted as passed. The exit code is 1 if
there is a problem.

The checks of a run read config.yaml, metrics.jsonl, scores.jsonl,
episodes.jsonl and summary.json of its logdir, whether it has finished or not.
"""

import collections
import dataclasses
import json
import sys

import numpy as np

from .. import curves
from .. import errors
from .. import logdir as logdirlib
from ..upstream import contract

VERDICTS = ('ok', 'warning', 'problem', 'unknown')

# Losses of upstream's agent that are not reconstructions of an observation.
OTHER_LOSSES = ('con', 'dyn', 'policy', 'rep', 'repval', 'rew', 'value')
# Logged intervals without which a trend is not judged.
ENOUGH = 4
EPISODES = 10
# Starts of a task that are enumerated for collisions; tasks of more than so
# many states are left to `play.planner`.
LAYOUTS = 40
LARGEST_TASKS = ('DoorKey-5x5', 'DoorKey-6x6', 'Empty', 'Unlock-v', 'Unlock')


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
  """What a check found.

  Attributes:
    check: Its name.
    verdict: One of `VERDICTS`.
    evidence: What was measured, or why it could not be.
    change: What to do about it; '' if nothing.
  """
  check: str
  verdict: str
  evidence: str
  change: str = ''

  def __post_init__(self):
    assert self.verdict in VERDICTS, self.verdict
    assert self.evidence, self.check


@dataclasses.dataclass
class Log:
  """What a run has left in its logdir.

  Attributes:
    config: Its configuration, keys joined by dots.
    rows: Rows of metrics.jsonl with increasing `step`.
    steps: Steps at which training episodes ended. Shape [E], i64.
    scores: Their returns. Shape [E], f64.
    journal: Rows of episodes.jsonl.
    summary: summary.json, or None.
    broken: Lines that could not be read.
  """
  config: dict
  rows: list
  steps: np.ndarray
  scores: np.ndarray
  journal: list
  summary: dict | None = None
  broken: int = 0

  def series(self, key):
    """Returns steps and finite values of a metric. Each [N], f64."""
    points = [
        (x['step'], x[key]) for x in self.rows
        if isinstance(x.get(key), (int, float)) and np.isfinite(x[key])]
    return np.array(points, np.float64).reshape(-1, 2).T

  def last(self, key):
    """Returns the last value of a metric, or None."""
    _, values = self.series(key)
    return float(values[-1]) if len(values) else None

  @property
  def advised(self):
    return bool(self.config.get('lore.enabled'))

  @property
  def end(self):
    """The last step that anything was logged of."""
    return int(max(
        [x['step'] for x in self.rows[-1:]] + self.steps[-1:].tolist() + [0]))


def main(argv=None):
  """Runs the command.

  Raises:
    LoreError: There is no run to examine.
    SystemExit: With code 1, if there is a problem.
  """
  argv = list(sys.argv[1:] if argv is None else argv)
  if argv[:1] in (['--help'], ['-h'], ['help']):
    print(__doc__)
    return
  if argv == ['--contract']:
    print(contract.table())
    return
  plain = '--json' not in argv
  argv = [x for x in argv if x != '--json']
  if argv and not argv[0].startswith('--'):
    if len(argv) > 1:
      raise errors.ConfigError(
          f'Found {argv[1]!r} after the logdir. Type: python -m lore_plugin '
          'doctor LOGDIR [--json]')
    findings = examine(read(argv[0]))
  else:
    from . import install as doctor_install
    findings = doctor_install.examine(argv)
  if plain:
    print(table(findings))
  else:
    print(json.dumps({
        'verdict': overall(findings),
        'findings': [dataclasses.asdict(x) for x in findings]}, indent=1))
  if overall(findings) == 'problem':
    raise SystemExit(1)


def overall(findings):
  """Returns the worst verdict; what is unknown weighs less than a warning."""
  found = {x.verdict for x in findings}
  return next(
      x for x in ('problem', 'warning', 'unknown', 'ok')
      if x in found or x == 'ok')


def table(findings):
  """Formats findings for the terminal."""
  lines = []
  for x in findings:
    lines.append(f'{x.verdict:<8} {x.check}: {x.evidence}')
    if x.change:
      lines.append(f'{"":<8} -> {x.change}')
  count = collections.Counter(x.verdict for x in findings)
  lines.append(', '.join(f'{count[x]} {x}' for x in VERDICTS))
  return '\n'.join(lines)


def read(logdir):
  """Reads what a run has left, also if it is under way or was killed.

  Raises:
    ConfigError: There is nothing to examine.
  """
  logdir = logdirlib.expand(logdir)
  if not logdir.is_dir():
    raise errors.ConfigError(
        f'{str(logdir)!r} is not a folder. Give the --logdir of a run, or '
        'nothing to examine the installation.')
  names = {x.name for x in logdir.iterdir()}
  if 'config.yaml' not in names:
    inner = sorted(x.parent for x in logdir.glob('*/config.yaml'))
    hint = f' Runs are inside of it, such as {inner[0]}.' if inner else ''
    raise errors.ConfigError(
        f'{logdir} has no config.yaml, so no run has begun there'
        + (': it is empty.' if not names else '.') + hint)
  config = _config(logdir / 'config.yaml')
  if not names & {'metrics.jsonl', 'scores.jsonl'}:
    raise errors.ConfigError(
        f'{logdir} has neither metrics.jsonl nor scores.jsonl: the run has '
        'logged nothing yet, or its logger.outputs lack jsonl.')
  steps, scores, _ = logdirlib.read_outcomes(logdir)
  return Log(
      config, logdirlib.read_metrics(logdir), steps, scores,
      logdirlib.read_journal(logdir), logdirlib.read_summary(logdir), sum(
          _broken(logdir / x) for x in names if x.endswith('.jsonl')))


def _config(path):
  import elements
  import ruamel.yaml
  try:
    data = ruamel.yaml.YAML(typ='safe').load(path.read_text())
    return dict(elements.Config(data).flat)
  except Exception as e:
    raise errors.ConfigError(
        f'Can\'t read {path}: {type(e).__name__}. It may be half written; '
        'start the run again with the same --logdir.') from e


def _broken(path):
  """Counts lines that are no JSON."""
  count = 0
  text = path.read_text(encoding='utf-8', errors='replace')
  for line in text.splitlines():
    try:
      json.loads(line)
    except ValueError:
      count += 1
  return count


def examine(log):
  """Makes all checks of a run. Returns a list of `Finding`."""
  return [check(log) for check in CHECKS]


# --- The log itself ---------------------------------------------------------


def check_log(log):
  """Whether the run finished, and whether its logs are whole."""
  name = 'log'
  total = log.config.get('run.steps', 0)
  evidence = (
      f'{log.end:,} of {total:,.0f} steps logged, {len(log.steps):,} episodes')
  if log.broken > 1:
    return Finding(
        name, 'warning', f'{evidence}, {log.broken} lines that can\'t be read',
        'A full disk or several runs in one logdir do that. Give each run a '
        'logdir of its own.')
  if log.summary is None:
    return Finding(
        name, 'warning', f'{evidence}; no summary.json: the run is under way '
        'or was stopped', 'Started again with the same --logdir, it goes on.')
  if not len(log.steps):
    return Finding(
        name, 'warning', f'{evidence}', 'No episode has ended. Train longer.')
  return Finding(name, 'ok', evidence)


# --- The publication's first checks -----------------------------------------


def check_reconstruction(log):
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


def check_values(log):
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


def check_gate(log):
  """Whether beta is stuck at its ceiling or at zero."""
  name = 'gate'
  if not log.advised:
    return _plain(name)
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


def check_kl(log):
  """Whether the divergence stays above its target."""
  name = 'KL'
  if not log.advised:
    return _plain(name)
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


# --- What experience adds ---------------------------------------------------


def check_uplift(log):
  """Whether advised episodes do worse than the control group's."""
  name = 'advice'
  if not log.advised:
    return _plain(name)
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
  evidence = (
      f'advice adds {estimate:+.2f} [{low:+.2f}, {high:+.2f}] to the score '
      f'({treated:.0f} advised and {control:.0f} other episodes); trust is '
      f'{trust:.2f}')
  sure = log.last('train/lore/uplift_sure')
  if high < 0 and sure is not None and sure < 0.5:
    return Finding(
        name, 'warning', f'{evidence}: it may do harm',
        'Train longer: of many looks at an interval of 95 % some are wrong.')
  if high < 0:
    return Finding(
        name, 'problem' if trust > 0.1 else 'warning',
        f'{evidence}: it does harm',
        'Try another --lore.advisor.provider, .model or .mode; python -m '
        'lore_plugin.play.accuracy measures them. Training goes on best '
        'without this advice.')
  if low > 0:
    return Finding(name, 'ok', f'{evidence}: it helps')
  if min(control, treated) < EPISODES:
    return Finding(
        name, 'unknown', f'{evidence}: too few episodes', 'Train longer.')
  if trust < 0.1:
    return Finding(
        name, 'warning', f'{evidence}: no effect shown, and trust has gone',
        'Advice is hardly followed any more. Try another model or mode.')
  return Finding(name, 'ok', f'{evidence}: no effect shown')


def check_cache(log):
  """Whether stored replies are ever used."""
  name = 'cache'
  if not log.advised:
    return _plain(name)
  stats = _advisor(log)
  if stats is None:
    return _no_stats(name)
  hits, misses = stats['hits'], stats['misses']
  lookups = hits + misses
  if not log.config.get('lore.advisor.cache', True):
    return Finding(
        name, 'warning', 'lore.advisor.cache is False: each of '
        f'{lookups:.0f} look-ups may cost a call',
        'Leave --lore.advisor.cache out, unless this is what you study.')
  evidence = (
      f'{hits:.0f} of {lookups:.0f} look-ups were answered from memory; '
      f'{stats.get("states", 0):.0f} distinct states')
  if lookups < 200:
    return Finding(name, 'unknown', f'{evidence}: too few', 'Train longer.')
  change = (
      'The describer gives a new text for nearly every state: leave out '
      'numbers that always change, or round them (--lore.describer).')
  if not hits:
    return Finding(name, 'problem', f'{evidence}: it is never hit', change)
  share = hits / lookups
  new = stats.get('states', 0) / lookups
  if share < 0.5 and new > 0.25:
    return Finding(name, 'warning', evidence, change)
  if share < 0.5:
    return Finding(
        name, 'warning', f'{evidence}: most states were met again, but have '
        'no reply', 'Allow more calls: --lore.advisor.calls, '
        '--lore.advisor.cooldown, --lore.advisor.min_u; see also the budget.')
  return Finding(name, 'ok', evidence)


def check_budget(log):
  """Whether calls, tokens or money were used up early."""
  name = 'budget'
  if not log.advised:
    return _plain(name)
  stats = _advisor(log)
  if stats is None:
    return _no_stats(name)
  caps = {
      x: log.config.get(f'lore.advisor.{x}', -1)
      for x in ('calls', 'tokens', 'money')}
  capped = ', '.join(f'{k} {v:g}' for k, v in caps.items() if v >= 0)
  refused = stats.get('refused_budget', 0)
  evidence = (
      f'{stats["calls"]:.0f} calls made, caps: {capped or "none"}, '
      f'{refused:.0f} questions refused for the budget')
  if not refused:
    return Finding(name, 'ok', evidence)
  steps, values = log.series('train/advisor/refused_budget')
  total = max(log.end, 1)
  gone = steps[values > 0]
  at = float(gone[0]) if len(gone) else total
  evidence += f', first by step {at:,.0f} of {total:,}'
  change = (
      'Raise --lore.advisor.calls (or tokens, money), or spread them: '
      '--lore.advisor.cooldown, --lore.advisor.policy.macro True.')
  if caps['calls'] == 0:
    return Finding(name, 'warning', f'{evidence}: no call is allowed', change)
  early = at < 0.5 * total and refused > 0.05 * (
      stats['hits'] + stats['misses'])
  return Finding(name, 'problem' if early else 'warning', evidence, change)


def check_failures(log):
  """Whether calls to the provider failed."""
  name = 'calls'
  if not log.advised:
    return _plain(name)
  stats = _advisor(log)
  if stats is None:
    return _no_stats(name)
  failures, calls = stats.get('failures', 0), stats['calls']
  kinds = ', '.join(
      f'{k.removeprefix("failures_")} {v:.0f}' for k, v in sorted(
          stats.items()) if k.startswith('failures_') and v)
  evidence = f'{calls:.0f} calls, {failures:.0f} failures' + (
      f' ({kinds})' if kinds else '')
  if not calls and not failures:
    if not stats.get('answered'):
      return Finding(
          name, 'problem', f'{evidence}, no stored reply: nobody was asked',
          'See --lore.advisor.calls, .min_u and .policy.')
    return Finding(name, 'ok', f'{evidence}; replies came from the store')
  if not failures:
    return Finding(name, 'ok', evidence)
  return Finding(
      name, 'problem' if failures > calls / 2 else 'warning', evidence,
      'The first failure of each kind is in the run\'s output. `python -m '
      'lore_plugin doctor` makes one call.')


def check_collisions(log):
  """Whether states that need different actions have the same text."""
  name = 'describer'
  task = str(log.config.get('task', ''))
  describer = log.config.get('lore.describer', 'auto')
  suite, _, level = task.partition('_')
  judge = 'Judge it by python -m lore_plugin.play.planner.'
  if suite != 'minigrid' or describer not in ('auto', 'minigrid'):
    return Finding(
        name, 'unknown', f'no planner knows the best actions of {task} as '
        f'described by {describer}')
  if not level.startswith(LARGEST_TASKS):
    return Finding(
        name, 'unknown', f'{level} has too many states to try them all', judge)
  view = log.config.get('env.minigrid.view', 7)
  if view != 7:
    return Finding(
        name, 'unknown', f'the planner knows a view of 7, not {view}')
  from ..play import planner
  try:
    cases = planner.enumerate_states(level, range(LAYOUTS))
  except errors.EnvError as e:
    return Finding(name, 'unknown', str(e))
  return judge_cases(
      [(x.description, x.actions) for x in cases if x.actions], level)


def judge_cases(cases, level):
  """Judges texts by the best that any advice for them could do.

  Args:
    cases: Pairs of a description and the set of optimal actions.
    level: Name of the task.
  """
  groups = collections.defaultdict(list)
  for description, actions in cases:
    # What a provider is told; events are not part of it.
    names = tuple(x.name for x in description.options)
    groups[description.text, description.mission, names].append(actions)
  collide = {
      k: v for k, v in groups.items() if not frozenset.intersection(*v)}
  best = sum(
      max(sum(a in x for x in v) for a in set().union(*v))
      for v in groups.values())
  states = sum(len(v) for v in groups.values())
  wrong = 1 - best / states
  evidence = (
      f'in {level}, {len(collide)} of {len(groups)} texts stand for states '
      f'without a common best action; the best advice for them misses in '
      f'{wrong:.1%} of {states} states')
  if collide:
    worst = max(collide, key=lambda k: len(collide[k]))
    evidence += f'; most often: {worst[0]!r}'
  change = (
      'Advice can\'t be better than the text: let the describer say more.')
  if wrong > 0.3:
    return Finding('describer', 'problem', evidence, change)
  if wrong > 0.1:
    return Finding('describer', 'warning', evidence, change)
  return Finding('describer', 'ok', evidence)


def check_alone(log):
  """Whether the agent learns to do without advice."""
  name = 'agent alone'
  if len(log.scores) < EPISODES:
    return Finding(
        name, 'unknown', f'{len(log.scores)} episodes; it takes {EPISODES}',
        'Train longer.')
  if log.summary and log.summary.get('alone'):
    alone = log.summary['alone']
    wins, count = round(
        alone['success'] * alone['episodes']), alone['episodes']
    where = 'held-out layouts without advice'
  else:
    scores = [x['score'] for x in log.journal if not x['advised']]
    scores = scores[-max(EPISODES, len(scores) // 3):]
    wins, count = sum(x > 0 for x in scores), len(scores)
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
    scores = [x['score'] for x in log.journal if x['advised']]
    recent = np.array(scores[-max(EPISODES, len(scores) // 4):] or recent)
  rate = (recent > 0).mean()
  evidence = (
      f'success {wins / count:.2f} [{low:.2f}, {high:.2f}] in {count} '
      f'{where}, {rate:.2f} in its last {len(recent)} '
      + ('advised episodes' if log.advised else 'training episodes'))
  change = (
      'It leans on advice instead of learning: raise --lore.trust.control or '
      '--lore.kl.distil, or lower --lore.gate.beta_max; or train longer.')
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


def _plain(name):
  return Finding(
      name, 'unknown', 'the run had no advisor (lore.enabled False)')


def _no_stats(name):
  return Finding(
      name, 'unknown', 'the advisor\'s counters were not logged yet',
      'Train until the first train/advisor lines.')


def _advisor(log):
  """Returns the advisor's counters at the end, or None."""
  if log.summary and 'advisor' in log.summary:
    return log.summary['advisor']
  found = {}
  for row in log.rows:
    found.update({
        k.split('/')[-1]: v for k, v in row.items()
        if k.startswith('train/advisor/')})
  return found if {'calls', 'hits', 'misses'} <= found.keys() else None


CHECKS = (
    check_log, check_reconstruction, check_values, check_gate, check_kl,
    check_uplift, check_cache, check_budget, check_failures, check_collisions,
    check_alone)
