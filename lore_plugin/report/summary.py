"""Turns results into figures, statistics and one page that needs no network.

  python -m lore_plugin report DIR... [--out FOLDER] [--recordings FOLDER]
      [--reference rl-only] [--reps 5000]

Each DIR is a folder of results as `python -m lore_plugin ablate` writes it:
episodes.csv.gz, runs.json and, if there is one, series.csv.gz. Recorded
episodes are taken from DIR/recordings and from --recordings, where `python -m
lore_plugin evaluate LOGDIR --record FOLDER` puts them.

Writes index.html and the figures as PNG and SVG, each for a light and a dark
page, to --out: by default DIR/report, or ./report if there are several. The
statistics go to summary.json in the same folder; to DIR itself if there is one
DIR and no --out.
"""

import argparse
import csv
import dataclasses
import gzip
import json
import math
import pathlib
import sys
import zlib

import numpy as np

from .. import errors
from .. import logdir as logdirlib
from .. import status as progress
from ..play import record
from . import stats

REFERENCE = 'rl-only'
COLUMNS = (
    'suite', 'arm', 'task', 'seed', 'step', 'episode', 'success', 'score',
    'length', 'advised', 'calls')
KEYS = ('suite', 'arm', 'task', 'seed', 'status', 'steps', 'argv', 'summary')
STATUS = ('finished', 'crashed', 'missing')
# Flags that tell the runs of one arm apart, or say where files are.
OWN = (
    '--seed', '--logdir', '--task', '--lore.advisor.store',
    '--lore.advisor.account', '--lore.advisor.address')
MAKE = 'Make it with `python -m lore_plugin ablate SUITE`.'


@dataclasses.dataclass
class Run:
  """One training run.

  Attributes:
    about: Its record in runs.json.
    episodes: Columns of episodes.csv.gz by name. Shape [E], f64.
    series: Columns of series.csv.gz by name. Shape [S], f64.
  """
  about: dict
  episodes: dict = dataclasses.field(default_factory=dict)
  series: dict = dataclasses.field(default_factory=dict)

  @property
  def key(self):
    return tuple(str(self.about[k]) for k in ('suite', 'arm', 'task', 'seed'))

  @property
  def finished(self):
    return self.about['status'] == 'finished'

  @property
  def steps(self):
    return int(self.about['steps'])

  def outcome(self):
    """When the first 1k-step window at 0.9 was over, or the run's length.

    Returns:
      Environment steps, and whether it was reached at all.
    """
    begin = progress.steps_to(
        self.episodes['step'], self.episodes['score'], self.steps)
    if begin is None:
      return self.steps, False
    return begin + progress.WINDOW, True

  def windows(self):
    return progress.windows(
        self.episodes['step'], self.episodes['score'], self.steps)

  def advisor(self, name):
    """A counter of the advisor, 0 for runs without one."""
    return float((self.about['summary'].get('advisor') or {}).get(name) or 0)


def main(argv=None):
  """Writes a report.

  Raises:
    LoreError: The results can't be read, or must not be put together.
  """
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin report', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('folders', nargs='+', type=pathlib.Path, metavar='DIR')
  parser.add_argument('--out', type=pathlib.Path)
  parser.add_argument('--recordings', type=pathlib.Path, action='append')
  parser.add_argument('--reference', default=REFERENCE)
  parser.add_argument('--reps', type=int, default=stats.REPS)
  args = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
  if args.reps < 100:
    raise errors.ConfigError(
        f'--reps is {args.reps}, but an interval needs at least 100.')
  page = write(
      [logdirlib.expand(x) for x in args.folders],
      args.out and logdirlib.expand(args.out),
      [logdirlib.expand(x) for x in args.recordings or ()], args.reference,
      args.reps)
  print(f'Report: {page}')


def write(
    folders, out=None, recordings=(), reference=REFERENCE, reps=stats.REPS):
  """Writes figures, statistics and the page; see the module's text.

  Args:
    folders: Folders of results.
    out: Folder to write to, or None for the default.
    recordings: More folders of recorded episodes.
    reference: The arm that others are compared with, where a suite has it.
    reps: Bootstrap repetitions.

  Returns:
    Path of the page.

  Raises:
    LoreError: The results can't be read, or must not be put together.
  """
  # Drawing needs the extra; say so before anything is computed.
  require()
  from . import figures
  from . import page as viewer
  runs, notes = load(folders)
  beside = None
  if not out and len(folders) == 1:
    beside = pathlib.Path(folders[0])
  out = pathlib.Path(out or (beside / 'report' if beside else 'report'))
  places = [x for x in (pathlib.Path(f) / 'recordings' for f in folders)
            if x.is_dir()]
  for place in recordings:
    if not pathlib.Path(place).is_dir():
      raise errors.ConfigError(
          f'There is no folder {str(place)!r} of recordings. Make it with '
          '`python -m lore_plugin evaluate LOGDIR --record FOLDER`.')
    places.append(pathlib.Path(place))
  episodes = []
  for place in places:
    found, more = record.read(place)
    episodes += found
    notes += more
  sections = [
      summarise(group, reference, reps) for group in grouped(runs).values()]
  summary = {
      'sources': [pathlib.Path(x).resolve().name for x in folders],
      'command': 'python -m lore_plugin report ' + ' '.join(
          pathlib.Path(x).name for x in folders),
      'method': METHOD, 'reps': reps, 'notes': notes, 'sections': [
          {k: v for k, v in x.items() if k != 'runs'} for x in sections]}
  out.mkdir(parents=True, exist_ok=True)
  ((beside or out) / 'summary.json').write_text(
      json.dumps(plain(summary), indent=1) + '\n', encoding='utf-8')
  drawn = [figures.draw(x, out, alone=len(sections) == 1) for x in sections]
  page = out / 'index.html'
  page.write_text(
      viewer.page(plain(summary), sections, drawn, episodes),
      encoding='utf-8')
  return page


METHOD = (
    'The seed is the unit. IQM is the mean without the lowest and the highest '
    'quarter of the seeds, a quarter rounded down. Intervals cover 95 %: by '
    'bootstrap over seeds, drawn apart for each arm (percentiles), or by '
    'Wilson\'s score where a share of seeds or episodes is given. Steps to '
    '0.9 are counted to the end of the first window of 1,000 environment '
    'steps with at least 10 episodes and a success rate of 0.9. A run that '
    'never got there is censored at its length: its time is at least that. '
    'Where this leaves a number open, the page says "at least", and the '
    'interval goes to infinity. The restricted mean counts no more of a time '
    'than the length of the runs, which leaves nothing open. "No difference '
    'shown" means that the interval includes none; it does not mean that '
    'there is none. Where all seeds agree, a bootstrap interval has no width, '
    f'which is not certainty. With fewer than {stats.FEW} seeds no interval '
    'is shown. Intervals are not corrected for the number of comparisons.')


def require():
  """Raises a LoreError unless matplotlib can be imported."""
  try:
    import matplotlib  # noqa: F401
  except ImportError as e:
    raise errors.LoreError(
        f'Figures need matplotlib, which can\'t be imported ({e}). Type: '
        'pip install \'lore-dreamerv3[report]\', or in the folder of LoRe: '
        'pip install \'.[report]\'') from e


def load(folders):
  """Reads folders of results.

  Returns:
    List of `Run`, those without a result among them, and notes for the user.

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
            f'Two runs are called {"/".join(run.key)}; the second one is in '
            f'{str(folder)!r}. Give each folder of results once.')
      runs[run.key] = run
  runs = list(runs.values())
  if not any(x.finished for x in runs):
    counts = ', '.join(
        f'{sum(x.about["status"] == s for x in runs)} {s}' for s in STATUS)
    raise errors.ConfigError(
        f'No run of {", ".join(map(str, folders))} is finished ({counts}), so '
        'there is nothing to report. Type the ablate command again; it goes '
        'on where it was.')
  check_configurations(runs)
  return runs, notes


def load_one(folder):
  """Reads one folder; see `load`."""
  if not folder.is_dir():
    raise errors.ConfigError(
        f'There is no folder {str(folder)!r} of results. {MAKE}')
  if not any(folder.iterdir()):
    raise errors.ConfigError(f'The folder {str(folder)!r} is empty. {MAKE}')
  for name in ('runs.json', 'episodes.csv.gz'):
    if not (folder / name).is_file():
      raise errors.ConfigError(
          f'{str(folder)!r} is no whole folder of results: it has no {name}. '
          f'{MAKE}')
  runs, notes = {}, []
  for about in read_runs(folder / 'runs.json'):
    run = Run(about)
    if run.key in runs:
      raise errors.ConfigError(
          f'{str(folder / "runs.json")!r} has the run {"/".join(run.key)} '
          'twice.')
    runs[run.key] = run
  stray = 0
  for name, field in (('episodes', 'episodes'), ('series', 'series')):
    path = folder / f'{name}.csv.gz'
    if not path.is_file():
      notes.append(f'{folder.name}: there is no {path.name}.')
      continue
    for key, columns in read_table(
        path, COLUMNS if name == 'episodes' else COLUMNS[:5]).items():
      if key in runs and runs[key].finished:
        setattr(runs[key], field, columns)
      elif name == 'episodes':
        stray += 1
  if stray:
    notes.append(
        f'{folder.name}: {stray} unfinished or unknown runs have episodes, '
        'which are left out.')
  for run in runs.values():
    if run.finished and not len(run.episodes.get('step', ())):
      run.about['status'] = 'missing'
      notes.append(
          f'{"/".join(run.key)} counts as missing: it is called finished, but '
          'no episode of it is there.')
  for status in ('crashed', 'missing'):
    names = ['/'.join(k[1:]) for k, x in runs.items()
             if x.about['status'] == status]
    if names:
      notes.append(
          f'{folder.name}: {len(names)} of {len(runs)} runs {status}, and in '
          f'no figure: {", ".join(names[:8])}'
          f'{" ..." if len(names) > 8 else ""}.')
  return list(runs.values()), notes


def read_runs(path):
  """Reads runs.json, a list of dicts.

  Raises:
    ConfigError: It can't be read.
  """
  try:
    rows = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(rows, list):
      raise ValueError('it holds no list')
    for row in rows:
      missing = [k for k in KEYS if k not in row]
      if missing:
        raise ValueError(f'a run lacks {", ".join(missing)}')
      if row['status'] not in STATUS:
        raise ValueError(f'a run\'s status is {row["status"]!r}')
      if row['status'] == 'finished' and not isinstance(row['summary'], dict):
        raise ValueError('a finished run has no summary')
      if not isinstance(row['steps'], int) or row['steps'] < 1:
        raise ValueError(f'a run\'s steps are {row["steps"]!r}')
  except (OSError, ValueError, TypeError) as e:
    raise errors.ConfigError(
        f'Can\'t read {str(path)!r}: {e}. {MAKE}') from e
  return rows


def read_table(path, columns):
  """Reads a compressed table of numbers.

  Args:
    path: The file.
    columns: Names that its header must begin with, the first four of which
      name a run.

  Returns:
    Dict from a run's name to its columns. Shape [rows], f64; nan where a cell
    is empty.

  Raises:
    ConfigError: It can't be read.
  """
  out = {}
  try:
    with gzip.open(path, 'rt', encoding='utf-8', newline='') as f:
      reader = csv.reader(f)
      header = next(reader, [])
      missing = [x for x in columns if x not in header]
      if missing:
        raise ValueError(f'it has no column {", ".join(missing)}')
      where = [header.index(x) for x in columns[:4]]
      names = [(i, x) for i, x in enumerate(header) if i not in where]
      for row in reader:
        if len(row) != len(header):
          raise ValueError(f'line {reader.line_num} is cut off')
        key = tuple(row[i] for i in where)
        out.setdefault(key, []).append(
            [float(row[i]) if row[i] else math.nan for i, _ in names])
  except (OSError, EOFError, ValueError, zlib.error) as e:
    raise errors.ConfigError(
        f'Can\'t read {str(path)!r}: {e}. {MAKE}') from e
  return {
      k: dict(zip([x for _, x in names], np.array(v, np.float64).T))
      for k, v in out.items()}


def configuration(argv):
  """Returns a run's flags without those of its own, as one line."""
  words, skip = [], False
  for word in map(str, argv or []):
    if word.startswith('--'):
      skip = word.split('=')[0] in OWN
    if not skip:
      words.append(word)
  start = next((i for i, x in enumerate(words) if x.startswith('--')), 0)
  return ' '.join(words[start:])


def check_configurations(runs):
  """Raises a ConfigError if one arm's runs are of several configurations."""
  seen = {}
  for run in runs:
    if not run.finished:
      continue
    key = run.key[:3]
    config = (configuration(run.about['argv']), run.steps)
    first = seen.setdefault(key, config)
    if first != config:
      tell = lambda x: f'{x[0] or "no flags"!r} for {x[1]:,} steps'
      raise errors.ConfigError(
          f'Runs of {"/".join(key)} have different configurations: '
          f'{tell(first)}, and {tell(config)} (seed {run.key[3]}). Their mean '
          'would be that of neither. Give them arms of their own.')


def grouped(runs):
  """Splits runs by suite and task, which are never put into one figure."""
  out = {}
  for run in runs:
    out.setdefault((run.key[0], run.key[2]), []).append(run)
  return {k: v for k, v in out.items() if any(x.finished for x in v)}


def summarise(runs, reference=REFERENCE, reps=stats.REPS):
  """Computes the statistics of one suite on one task.

  Returns:
    A dict with `suite`, `task`, `reference` (None where the suite lacks it),
    `arms`, `comparisons`, `findings`, `warnings`, and `runs`, the finished
    ones by arm.
  """
  names = list(dict.fromkeys(x.about['arm'] for x in runs))
  done = {k: [x for x in runs if x.about['arm'] == k and x.finished]
          for k in names}
  # The reference first; it is drawn in the same way everywhere.
  names.sort(key=lambda x: x != reference)
  filled = {k: done[k] for k in names if done[k]}
  base = reference if reference in filled else None
  arms = {k: describe_arm(
      [x for x in runs if x.about['arm'] == k], reps) for k in names}
  compared = {
      k: compare(filled[k], filled[base], reps)
      for k in filled if base and k != base}
  section = {
      'suite': runs[0].about['suite'], 'task': runs[0].about['task'],
      'reference': base, 'goal': progress.GOAL,
      'steps': sorted({x.steps for x in runs if x.finished}),
      'arms': arms, 'comparisons': compared, 'runs': filled}
  section['warnings'] = warn(section, reference)
  section['findings'] = [
      find(k, base, arms, x) for k, x in compared.items()]
  return section


def describe_arm(runs, reps):
  """Returns the figures of one arm."""
  done = [x for x in runs if x.finished]
  out = {
      'seeds': [x.about['seed'] for x in done],
      **{s: sum(x.about['status'] == s for x in runs) for s in STATUS},
      'commits': sorted({str(x.about.get('commit')) for x in done}),
      'configuration': configuration(runs[0].about['argv']),
      'steps': max(x.steps for x in runs)}
  if not done:
    return out
  ends, reached = zip(*[x.outcome() for x in done])
  rates = [x.windows() for x in done]
  out['steps_to_goal'] = stats.times(ends, reached, reps=reps)
  out['reached'] = int(sum(reached))
  out['at'] = {}
  for mark in progress.MARKS:
    here = [x[mark // progress.WINDOW - 1] for x in rates
            if len(x) >= mark // progress.WINDOW]
    here = [x for x in here if not math.isnan(x)]
    sofar = [progress.cumulative(
        x.episodes['step'], x.episodes['score'], mark) for x in done
        if x.steps >= mark]
    sofar = [x for x in sofar if not math.isnan(x)]
    if here and sofar:
      out['at'][mark] = {
          'window': stats.estimate(here, reps=reps),
          'cumulative': stats.estimate(sofar, reps=reps)}
  alone = successes_alone(done)
  out['alone'] = stats.estimate(alone, reps=reps) if alone else None
  out['calls'] = [calls(x) for x in done]
  out['money'] = [x.advisor('money') for x in done]
  speeds = [x.about.get('steps_per_s') for x in done]
  speeds = [x for x in speeds if x]
  out['steps_per_s'] = float(np.median(speeds)) if speeds else None
  return out


def successes_alone(runs):
  """Success rates without advice after training, of runs that tell."""
  found = [(x.about['summary'].get('alone') or {}).get('success')
           for x in runs]
  return [x for x in found if x is not None]


def calls(run):
  """Calls that a run made to its advisor."""
  made = run.about.get('calls')
  return int(run.advisor('calls') if made is None else made)


def compare(runs, others, reps):
  """Compares an arm with the reference."""
  times = [zip(*[x.outcome() for x in group]) for group in (runs, others)]
  mine, theirs = ([list(v) for v in x] for x in times)
  last = [[late(x) for x in group] for group in (runs, others)]
  alone = [successes_alone(x) for x in (runs, others)]
  limit = min(x.steps for x in (*runs, *others))
  return {
      'ratio': stats.ratio(*mine, *theirs, reps=reps),
      'restricted': stats.restricted(mine[0], theirs[0], limit, reps=reps),
      'limit': limit,
      'improvement': stats.improvement(*mine, *theirs, reps=min(reps, 2000)),
      # With no seed of either left to arrive there is nothing to compare.
      'open': not any(mine[1]) and not any(theirs[1]),
      'final': stats.difference(*last, reps=reps),
      'alone': stats.difference(*alone, reps=reps) if all(alone) else None}


def late(run):
  """Success rate of the episodes in a run's last 3,000 steps."""
  begin = run.steps - 3 * progress.WINDOW
  scores = run.episodes['score'][run.episodes['step'] > begin]
  # No episode ended there: the run is shorter than its episodes.
  return float((scores > 0).mean()) if len(scores) else 0.0


def find(arm, base, arms, compared):
  """States what a comparison shows, in one sentence."""
  ratio = compared['ratio']
  few = min(arms[arm]['finished'], arms[base]['finished'])
  flag = f' ({few} seeds only)' if few < stats.ENOUGH else ''
  goal = f'{progress.GOAL}'
  if few < stats.FEW:
    return {
        'arm': arm, 'shown': False,
        'text': f'{arm} against {base}: too few seeds to compare ({few}).'}
  text = 'a ratio of ' + tell(ratio, '.2f')
  if compared['open']:
    shown, text = False, (
        f'{arm} against {base}: no difference shown in steps to {goal}; no '
        'seed of either got there')
  elif ratio.differs(1):
    shown = True
    more = 'fewer' if ratio.high < 1 else 'more'
    text = f'{arm} takes {more} steps to {goal} than {base}: {text}'
  else:
    shown = False
    text = (
        f'{arm} against {base}: no difference shown in steps to {goal}; '
        f'{text}')
  if math.isinf(ratio.high) and not compared['open']:
    text += (
        f'; within {compared["limit"]:,} steps the mean time is '
        f'{tell(compared["restricted"], ".2f")} times as long')
    shown = shown or compared['restricted'].differs(1)
  # Where all learn equally fast, or none does, the rest may still differ.
  for key, name in (('final', 'success at the end of training'),
                    ('alone', 'success of the agent alone')):
    if compared[key] is not None and compared[key].differs(0):
      shown = True
      text += f'; {name} differs by {tell(compared[key], "+.2f")}'
  return {'arm': arm, 'shown': shown, 'text': f'{text}{flag}.'}


def tell(x, form=',.0f'):
  """Writes an estimate as '0.42 [0.30, 0.61]'."""
  if x is None:
    return '--'
  num = lambda v: '∞' if math.isinf(v) else f'{v:{form}}'
  if x.exact:
    middle = num(x.least)
  elif x.least > 0 or math.isinf(x.most):
    middle = f'at least {num(x.least)}'
  else:
    middle = f'at most {num(x.most)}'
  if not x.wide:
    return f'{middle} ({x.count} seed{"s" if x.count > 1 else ""})'
  return f'{middle} [{num(x.low)}, {num(x.high)}]'


def warn(section, reference):
  """Returns what a reader must know before the figures."""
  arms, out = section['arms'], []
  few = {k: v['finished'] for k, v in arms.items()
         if v['finished'] < stats.ENOUGH}
  if few:
    out.append(
        f'Fewer than {stats.ENOUGH} seeds: ' + ', '.join(
            f'{k} {v}' for k, v in few.items()) +
        '. Intervals from so few are too narrow; take them as a hint.')
  lost = {k: v['planned'] - v['finished'] for k, v in (
      (k, {**v, 'planned': sum(v[s] for s in STATUS)})
      for k, v in arms.items()) if v['planned'] > v['finished']}
  if lost:
    out.append(
        'Runs without a result, in no figure: ' + ', '.join(
            f'{k} {v}' for k, v in lost.items()) + '.')
  late = {
      k: f'{v["finished"] - v["reached"]} of {v["finished"]}'
      for k, v in arms.items()
      if v['finished'] and v['reached'] < v['finished']}
  if late:
    out.append(
        f'Runs that never reached {section["goal"]}, censored at their '
        'length: ' + ', '.join(f'{k} {v}' for k, v in late.items()) + '.')
  if len(section['steps']) > 1:
    out.append(
        'Runs of different lengths: ' + ', '.join(
            f'{k} {v["steps"]:,}' for k, v in arms.items()) +
        ' steps. Shorter ones are censored earlier.')
  commits = sorted({c for v in arms.values() for c in v['commits']})
  if len(commits) > 1:
    out.append('Runs of different commits: ' + ', '.join(
        x[:10] for x in commits) + '.')
  if any('changed' in x for x in commits):
    out.append('Some runs come from code that was changed since its commit.')
  if 'None' in commits:
    out.append('Some runs do not say of which commit they are.')
  if not section['reference']:
    out.append(
        f'There is no finished arm {reference!r} to compare with; '
        '--reference ARM names another.')
  return out


def plain(x):
  """Turns results into what JSON can hold; nan and inf become None."""
  if isinstance(x, stats.Estimate):
    return x.plain()
  if isinstance(x, dict):
    return {str(k): plain(v) for k, v in x.items()}
  if isinstance(x, (list, tuple)):
    return [plain(v) for v in x]
  if isinstance(x, float) and not math.isfinite(x):
    return None
  return x
