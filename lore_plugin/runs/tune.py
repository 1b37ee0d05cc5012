"""Chooses weights of the method by Bayesian optimisation over short runs.

  python -m lore_plugin tune --out tuning --trials 30 --steps 4000 --seeds 2

Each trial is a configuration, run once a seed as `ablate` runs it; the first
is that of the blocks as they are, so that the search has something to beat.
The study is a SQLite file in OUT: started again after whatever ended it, the
command goes on, and runs that had finished are not repeated. The best
configuration is written to OUT/tuned.yaml as a block, for

  python -m lore_plugin --configs minigrid lore tuning/tuned.yaml --seed 2

The objective, to be maximised, is the mean over seeds of

  (mean success rate of all windows of 1,000 steps + success rate alone) / 2

so that advice has to help at once and to have been learnt from. Runs of fewer
than 1,000 steps have no window: theirs is the success rate alone. What the
study saw is no evidence: measure the result on seeds that it did not use.

Source: Akiba et al. 2019, Optuna; its tree-structured Parzen estimator.
"""

import argparse
import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import config as configlib
from .. import curves
from .. import errors
from .. import logdir as logdirlib
from .. import upstream
from .. import worlds
from . import ablate
from . import plan
from . import results

# Low, high, and whether the scale is logarithmic.
SPACE = {
    'lore.gate.entropy': (0.0, 2.0, False),
    'lore.gate.value': (0.0, 2.0, False),
    'lore.gate.disagreement': (0.0, 2.0, False),
    'lore.gate.tau': (-1.0, 1.0, False),
    'lore.gate.beta_max': (0.5, 6.0, True),
    'lore.kl.target': (0.03, 3.0, True),
}
NAME = 'lore'
# Under which number of a trial its runs are, where it was asked for again.
FOLDER = 'folder'


def main(
    argv: Sequence[str] | None = None,
    program: Sequence[str] = ablate.PROGRAM) -> None:
  """Runs the command.

  Raises:
    LoreError: Optuna or upstream is missing, a flag can't be, or a run failed
      twice.
  """
  args = parse(argv)
  optuna = load()
  args.out.mkdir(parents=True, exist_ok=True)
  study = optuna.create_study(
      study_name=NAME, direction='maximize', load_if_exists=True,
      storage=storage(args.out / 'study.sqlite'))
  # A sampler begins its draws anew with each command.
  study.sampler = optuna.samplers.TPESampler(
      seed=args.seed + len(study.get_trials(deepcopy=False)))
  states = optuna.trial.TrialState
  check(study, args)
  first = usual(args)
  print(f'Objective: {objective(args.steps)}.', flush=True)
  if not study.get_trials(deepcopy=False):
    study.enqueue_trial(first)
  # What was under way when the command ended is asked for once more; the runs
  # of it that had finished are found by their configuration.
  for trial in study.get_trials(states=(states.RUNNING,)):
    study.tell(trial.number, state=states.FAIL)
    study.enqueue_trial(trial.params, user_attrs={
        FOLDER: trial.user_attrs.get(FOLDER, trial.number)})
  while len(study.get_trials(states=(states.COMPLETE,))) < args.trials:
    trial = study.ask()
    # Rounded, so that the block that is written is the one that was run.
    params = {
        key: round(trial.suggest_float(key, low, high, log=log), 6)
        for key, (low, high, log) in SPACE.items()}
    number = trial.user_attrs.get(FOLDER, trial.number)
    value = measure(args, number, params, program)
    study.tell(trial, value)
    print(f'Trial {trial.number}: {value:.3f} by {params}', flush=True)
    write(study, args)
  best = study.best_trial
  block = args.out / 'tuned.yaml'
  known = [
      x.value for x in study.get_trials(states=(states.COMPLETE,))
      if x.params == first]
  beside = f'; the blocks as they are: {known[0]:.3f}' if known else ''
  if best.params == first:
    beside = ', which is the blocks as they are: nothing better was found'
  print(
      f'Best of {args.trials}: trial {best.number}, {best.value:.3f}{beside}. '
      f'Its block is in {block}.\nNext, on a seed that the search has not '
      f'seen: python -m lore_plugin --configs {shlex.join(args.configs)} '
      f'{shlex.quote(str(block))} --task {args.task} '
      f'--lore.advisor.provider {args.provider} --seed {args.seeds}')


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin tune', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add('--out', type=pathlib.Path, required=True, help='folder of the study')
  add('--trials', type=int, default=30, help='configurations to try (30)')
  add('--steps', type=lambda x: int(float(x)), default=4000,
      help='environment steps of a run (4000)')
  add('--seeds', type=int, default=2, help='runs of a configuration (2)')
  add('--seed', type=int, default=0, help='of the search (0)')
  add('--task', default='minigrid_DoorKey-5x5', help='DoorKey-5x5')
  add('--configs', nargs='+', default=['minigrid', 'lore'],
      help='blocks (minigrid lore)')
  add('--provider', default='local', help='lore.advisor.provider (local)')
  add('--jobs', type=int, default=0, help='runs at a time (one a core)')
  args = parser.parse_args(argv)
  args.out = logdirlib.plain(logdirlib.expand(args.out), 'out')
  for key in ('trials', 'steps', 'seeds'):
    if getattr(args, key) < 1:
      raise errors.ConfigError(
          f'--{key} is {getattr(args, key)}, but must be at least 1.')
  args.jobs = args.jobs or plan.cores()
  return args


def load() -> Any:
  """Imports Optuna.

  Raises:
    LoreError: It is not installed.
  """
  try:
    import optuna
  except ImportError as e:
    raise errors.LoreError(
        'Tuning needs Optuna. Type: pip install \'lore-dreamerv3[tune]\''
    ) from e
  optuna.logging.set_verbosity(optuna.logging.WARNING)
  return optuna


def storage(path: pathlib.Path) -> Any:
  """Returns Optuna's storage in a file, whatever its name is.

  As a part of a URL a question mark or a percent sign would mean something.
  """
  optuna = load()
  import sqlalchemy  # Optuna's own.
  url = sqlalchemy.URL.create('sqlite', database=str(path))
  return optuna.storages.RDBStorage(url.render_as_string())


def usual(args: argparse.Namespace) -> dict[str, float]:
  """Returns what is searched for as the blocks have it, within the space."""
  found = upstream.find()
  upstream.install()
  config = configlib.resolve(
      ['--configs', *args.configs, '--task', args.task],
      configlib.load(found.configs))
  if not config.lore.heldout:
    raise errors.ConfigError(
        f'lore.heldout is 0 in --configs {" ".join(args.configs)}, but how '
        'well the agent does alone is half of what is searched for. Leave it '
        'out of the blocks; it is 100 then.')
  if not (worlds.has_heldout(args.task) and args.task.startswith('minigrid_')):
    raise errors.ConfigError(
        f'In how many episodes of new seeds the agent succeeds alone is half '
        f'of what is searched for, which {args.task!r} does not tell. Take a '
        'task of MiniGrid or BabyAI: --task minigrid_DoorKey-5x5')
  return {
      key: float(np.clip(config.flat[key], low, high))
      for key, (low, high, _) in SPACE.items()}


def check(study: Any, args: argparse.Namespace) -> None:
  """Refuses to mix trials of different runs in one study.

  Raises:
    ConfigError: The folder holds a study of another task, length, advisor or
      search space.
  """
  now = {
      'task': args.task, 'configs': list(args.configs), 'steps': args.steps,
      'seeds': args.seeds, 'provider': args.provider,
      'space': {k: list(v) for k, v in SPACE.items()}}
  before = study.user_attrs.get('runs')
  if before is None:
    study.set_user_attr('runs', now)
  elif before != now:
    differ = ', '.join(
        f'{k} {before.get(k, "unknown")} there and {v} here'
        for k, v in now.items() if before.get(k) != v)
    raise errors.ConfigError(
        f'{args.out} holds a study of other runs: {differ}. Choose another '
        '--out, or the same flags.')


def measure(
    args: argparse.Namespace, number: int, params: Mapping[str, float],
    program: Sequence[str]) -> float:
  """Runs a configuration on all seeds. Returns the objective, in [0, 1]."""
  name = f'trial-{number:04d}'
  path = args.out / f'{name}.yaml'
  # JSON is YAML.
  path.write_text(json.dumps({
      'name': name, 'about': 'A trial of the tuning.', 'steps': args.steps,
      'seeds': args.seeds, 'tasks': [args.task],
      'configs': list(args.configs), 'share': 'file',
      'overrides': {'lore.advisor.provider': args.provider},
      'arms': {'trial': {'overrides': params}}}, indent=1), encoding='utf-8')
  ablate.main(
      [str(path), '--out', str(args.out / 'runs'), '--jobs', str(args.jobs)],
      program)
  runs = results.read_records(args.out / 'runs' / 'results' / name)
  summaries = [x.summary for x in runs if x.summary]
  if len(summaries) < len(runs):
    raise errors.LoreError(
        f'Somebody ended a run of trial {number}. Started again, the command '
        'goes on with it.')
  if not all(x.get('alone') for x in summaries):
    raise errors.LoreError(
        f'The agent alone could not be evaluated at the end of a run of trial '
        f'{number}, as its output in {args.out} says. Remove the folder of '
        'that run once it can be, and type the command again.')
  return float(np.mean([score(x) for x in summaries]))


def objective(steps: int) -> str:
  """Says what is searched for, in runs of so many steps."""
  alone = 'the success rate of the agent alone at the end'
  if steps < curves.WINDOW:
    return (
        f'{alone}, as runs of {steps:,} steps have no whole window of '
        f'{curves.WINDOW:,}')
  return (
      f'the mean of {alone} and the success rate while training, over '
      f'{steps // curves.WINDOW} windows of {curves.WINDOW:,} steps')


def score(summary: Any) -> float:
  """The objective of one run, from its summary. In [0, 1].

  A window in which no episode ended counts as 0: had one succeeded, it would
  have ended.
  """
  if not summary['windows']:
    return summary['alone']['success']
  windows = [x or 0.0 for x in summary['windows']]
  return (float(np.mean(windows)) + summary['alone']['success']) / 2


def write(study: Any, args: argparse.Namespace) -> None:
  """Writes the best configuration so far as a block of settings."""
  best = study.best_trial
  lines = [
      f'# Trial {best.number} of {len(study.trials)}: {best.value:.3f} on '
      f'{args.task}, {args.steps} steps, {args.seeds} seeds, advisor '
      f'{args.provider}.', 'tuned:']
  lines += [f'  {k}: {round(v, 6)}' for k, v in best.params.items()]
  (args.out / 'tuned.yaml').write_text('\n'.join(lines) + '\n')
