"""Reads folders of results as runs, and refuses to mix what does not belong.

A run has two times. The first window at 0.9 tells how soon the agent succeeds
with whatever helps it; the first evaluation without advice at 0.9 how soon it
can do alone, or, where none were made, ten episodes without advice in a row,
all successes. Windows hold the episodes that *begin* in them: those
that end first are the short ones, that is successes, and in the first window
of an advised run no control episode has ended yet. For the same reason nothing
is said of episodes that began so late that a long one could not have ended.
"""

import collections
import dataclasses
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .. import errors
from .. import curves
from .. import logdir as logdirlib
from ..runs import results

# Episodes without advice, in a row, that must all succeed.
ROW = 10
# Flags that tell the runs of one arm apart, or say where files are.
OWN = (
    '--seed', '--logdir', '--task', '--lore.advisor.store',
    '--lore.advisor.account', '--lore.advisor.address')


@dataclasses.dataclass
class Run:
  """One training run.

  Attributes:
    about: Its record.
    episodes: Columns of episodes.csv.gz by name. Shape [E], f64.
    series: Columns of series.csv.gz by name. Shape [S], f64.
    evaluated: Columns of alone.csv.gz by name, in the order of steps; empty
      where the agent was not evaluated while it trained. Shape [V], f64.
    finished: Whether it can be in a figure.
    logdir: Its folder, where that was given and not results.
  """
  about: results.Record
  episodes: dict = dataclasses.field(default_factory=dict)
  series: dict = dataclasses.field(default_factory=dict)
  evaluated: dict = dataclasses.field(default_factory=dict)
  finished: bool = False
  logdir: pathlib.Path | None = None

  @property
  def key(self) -> tuple[str, str, str, str]:
    return self.about.key

  @property
  def steps(self) -> int:
    return self.about.steps

  @property
  def status(self) -> str:
    """'missing' also where the episodes of a finished run are."""
    lost = self.about.finished and not self.finished
    return 'missing' if lost else self.about.status

  @property
  def commits(self) -> list[str]:
    """Of all programs that worked on it."""
    return self.about.commits or [str(self.about.commit)]

  @property
  def envs(self) -> int:
    """Environments at once; of older runs as their first episodes tell."""
    if self.about.envs:
      return self.about.envs
    step, length = self.episodes['step'], self.episodes['length']
    known = length > 0
    return max(1, round(float((step / length)[known].min()))) if (
        known.any()) else 1

  @property
  def measure(self) -> str:
    """'success', or 'return' where the environment says no such thing."""
    return 'return' if np.isnan(self.episodes['success']).any() else 'success'

  @property
  def values(self) -> np.ndarray:
    """What each episode came to, by `measure`. Shape [E], f64."""
    return self.episodes[
        'success' if self.measure == 'success' else 'score']

  def begins(self) -> np.ndarray:
    """Environment steps at which episodes began. Shape [E], f64."""
    length = np.nan_to_num(self.episodes['length'])
    return np.maximum(1, self.episodes['step'] - self.envs * length)

  @property
  def longest(self) -> int:
    """Environment steps that its longest episode took."""
    length = np.nan_to_num(self.episodes['length'])
    return self.envs * int(length.max(initial=0))

  def outcome(self) -> tuple[int, bool]:
    """When the first 1k-step window at 0.9 was over, or the run's length.

    Returns:
      Environment steps, and whether it was reached at all.
    """
    if self.measure == 'return':
      return self.steps, False
    width = curves.WINDOW
    index = (self.begins() - 1) // width
    last = self.steps // width - 1
    for k in range(last + 1):
      wins = self.episodes['success'][index == k]
      # What still ran at the end may have been about to fail.
      late = k == last or (k + 1) * width > self.steps - self.longest
      open_ones = self.envs if late else 0
      if len(wins) >= curves.ENOUGH and wins.sum() >= curves.GOAL * (
          len(wins) + open_ones):
        return (k + 1) * width, True
    return self.steps, False

  def alone(self) -> tuple[int, bool]:
    """When the agent alone first succeeded in 0.9 of its evaluation.

    Returns:
      As `outcome`; the step of the evaluation. Without evaluations, the step
      at which the tenth episode without advice in a row ended that succeeded.
    """
    if self.measure == 'return':
      return self.steps, False
    if self.evaluated:
      there = self.evaluated['success'] >= curves.GOAL
      return (int(self.evaluated['step'][there.argmax()]), True) if (
          there.any()) else (self.steps, False)
    row = 0
    for step, won, advised in zip(
        self.episodes['step'], self.episodes['success'],
        self.episodes['advised']):
      if advised == logdirlib.PARTLY:
        won = 0  # Too long without advice, whatever came of it.
      elif advised != 0:
        continue  # Advised, or nobody knows.
      row = row + 1 if won else 0
      if row == ROW:
        return int(step), True
    return self.steps, False

  def windows(self, stop: float) -> np.ndarray:
    """Mean of the episodes that begin in each window.

    Args:
      stop: Step after which beginnings don't count, see `settled`.

    Returns:
      nan where no episode began, and of windows that end later. [W], f64.
    """
    rates = curves.means(self.begins(), self.values, self.steps)
    rates[(np.arange(len(rates)) + 1) * curves.WINDOW > stop] = math.nan
    return rates

  def between(self, start: float, stop: float) -> float:
    """Mean of the episodes that began in (start, stop]; nan for none."""
    begins = self.begins()
    values = self.values[(begins > start) & (begins <= stop)]
    return float(values.mean()) if len(values) else math.nan

  def heldout(self, step: int) -> float | None:
    """What episodes of new seeds came to without advice after so many steps.

    None where that was not measured.
    """
    name = 'success' if self.measure == 'success' else 'score'
    if self.steps == step:
      return ((self.about.summary or {}).get('alone') or {}).get(name)
    if not self.evaluated:
      return None
    there = self.evaluated['step'] == step
    return float(self.evaluated[name][there][0]) if there.any() else None

  def advisor(self, name: str) -> float:
    """A counter of the advisor, 0 for runs without one."""
    return float(
        ((self.about.summary or {}).get('advisor') or {}).get(name) or 0)

  def calls(self) -> int:
    """Calls that it made to its advisor."""
    made = self.about.calls
    return int(self.advisor('calls') if made is None else made)

  def money(self) -> float:
    """US dollars that it spent, by the ledger where the run had its own."""
    return max(self.advisor('spent_money'), self.advisor('money'))


def evaluated(runs: Sequence[Run]) -> bool:
  """Whether all were evaluated without advice while they trained."""
  return all(bool(x.evaluated) for x in runs)


def settled(runs: Sequence[Run]) -> int:
  """Returns the last step from which the longest episode can have ended.

  Of those that began later the successes ended, as they are short. The same
  for all runs of a figure; 0 where they are no longer than their episodes.
  """
  return max(0, min(x.steps for x in runs) - max(x.longest for x in runs))


def load(
    folders: Sequence[str | os.PathLike]) -> tuple[list[Run], list[str]]:
  """Reads folders of results.

  Returns:
    The runs, those without a result among them, and notes for the user.

  Raises:
    ConfigError: A folder is empty or half-written, no run is finished, or
      runs don't belong together.
  """
  runs, notes = {}, []
  for folder in map(pathlib.Path, folders):
    found, more = load_one(folder)
    notes += more
    for run in found:
      if run.key in runs:
        raise errors.ConfigError(
            f'Two runs are called {run.about}; the second one is in '
            f'{str(folder)!r}. Give each folder of results once.')
      runs[run.key] = run
  every = list(runs.values())
  if not any(x.finished for x in every):
    counts = ', '.join(
        f'{sum(x.status == s for x in every)} {s}' for s in results.STATUS)
    raise errors.ConfigError(
        f'No run of {", ".join(map(str, folders))} is finished ({counts}), so '
        'there is nothing to report. Type the ablate command again; it goes '
        'on where it was.')
  check_configurations(every)
  return every, notes


def load_one(folder: pathlib.Path) -> tuple[list[Run], list[str]]:
  """Reads one folder; see `load`."""
  results.check_folder(folder)
  runs = {x.key: Run(x) for x in results.read_records(folder)}
  notes = []
  found = results.read_table(folder / 'episodes.csv.gz', results.EPISODES)
  for key, columns in found.items():
    if key in runs and runs[key].about.finished:
      runs[key].episodes, runs[key].finished = columns, True
  stray = sum(k not in runs or not runs[k].finished for k in found)
  if stray:
    notes.append(
        f'{folder.name}: {stray} unfinished or unknown runs have episodes, '
        'which are left out.')
  path = folder / 'series.csv.gz'
  if path.is_file():
    for key, columns in results.read_table(
        path, (*results.RUN, 'step')).items():
      if key in runs and runs[key].finished:
        runs[key].series = columns
  else:
    notes.append(f'{folder.name}: there is no {path.name}.')
  path = folder / 'alone.csv.gz'
  if path.is_file():
    for key, columns in results.read_table(path, results.ALONE).items():
      if key in runs and runs[key].finished:
        runs[key].evaluated = columns
  for run in runs.values():
    if run.about.finished and not run.finished:
      notes.append(
          f'{run.about} counts as missing: it is called finished, but no '
          'episode of it is there.')
  for status in ('crashed', 'missing'):
    names = ['/'.join(k[1:]) for k, x in runs.items() if x.status == status]
    if names:
      notes.append(
          f'{folder.name}: {len(names)} of {len(runs)} runs {status}, and in '
          f'no figure: {", ".join(names[:8])}'
          f'{" ..." if len(names) > 8 else ""}.')
  return list(runs.values()), notes


def configuration(
    argv: Iterable[str] | None,
    replaced: Mapping[str, str] | None = None) -> str:
  """Returns what was replaced in a run, and its flags without its own."""
  words, skip = [], False
  for word in map(str, argv or []):
    if word.startswith('--'):
      skip = word.split('=')[0] in OWN
    if not skip:
      words.append(word)
  start = next((i for i, x in enumerate(words) if x.startswith('--')), 0)
  rules = [f'{part} {rule!r},' for part, rule in (replaced or {}).items()]
  return ' '.join([*rules, *words[start:]])


def check_configurations(runs: Iterable[Run]) -> None:
  """Raises a ConfigError if one arm's runs are of several configurations."""
  seen: dict[tuple[str, ...], tuple[str, str | None, int]] = {}
  for run in runs:
    if not run.finished:
      continue
    about = run.about
    config = (
        configuration(about.argv, about.replaced), about.provider, run.steps)
    first = seen.setdefault(run.key[:3], config)
    if first != config:
      tell = lambda x: (
          f'{x[0] or "no flags"!r}, advised by {x[1] or "nobody known"}, for '
          f'{x[2]:,} steps')
      raise errors.ConfigError(
          f'Runs of {"/".join(run.key[:3])} have different configurations: '
          f'{tell(first)}; and {tell(config)} (seed {run.key[3]}). Their mean '
          'would be that of neither. Give them arms of their own.')


def check_commits(runs: Iterable[Run]) -> None:
  """Raises a ConfigError if a figure would put several commits together.

  Folders of single runs do not tell of which they are.
  """
  for (suite, task), group in grouped(runs).items():
    made = [
        tuple(dict.fromkeys(c[:10] for c in x.commits)) for x in group
        if x.finished and not x.logdir]
    if len(set().union(*made)) > 1:
      counts = collections.Counter(map(' and '.join, made))
      told = ', '.join(f'{n} of {x}' for x, n in counts.most_common())
      raise errors.ConfigError(
          f'The runs of {suite} on {task} are of several commits, which may '
          f'be of several methods: {told}. Make them again at one commit, or '
          'type --mixed-commits to see them all the same.')


def grouped(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
  """Splits runs by suite and task, which are never put into one figure."""
  out: dict = {}
  for run in runs:
    out.setdefault((run.key[0], run.key[2]), []).append(run)
  return {k: v for k, v in out.items() if any(x.finished for x in v)}
