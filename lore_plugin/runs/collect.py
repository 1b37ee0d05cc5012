"""Collects what the runs of a suite logged into RESULTS/<suite>.

Only finished runs have rows. Calls are counted in three ways, which differ
where runs share replies: `calls` and `asked` of a record (see
`results.Record`), and `calls` in shared.json, which reached the provider, of
all runs. Runs of several machines, whose folders lie apart, come together by
collecting one folder after the other into the same results, with `add`.
"""

import math
import os
import pathlib
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .. import errors
from .. import logdir as logdirlib
from ..advisor import store as storelib
from ..upstream import checkpoint
from . import models
from . import results
from . import suites

# The metrics that a column of series.csv.gz may be found in.
METRICS = {
    'beta': ('epstats/log/lore_beta/avg', 'train/lore/beta'),
    'kl': ('train/lore/kl', 'epstats/log/lore_kl/avg'),
    'lambda': ('train/lore/lambda',),
    'temperature': ('train/lore/temperature',),
    'trust': ('train/lore/trust',),
    'uplift': ('train/lore/uplift',),
    'uplift_low': ('train/lore/uplift_low',),
    'uplift_high': ('train/lore/uplift_high',),
    'u': ('epstats/log/lore_u/avg',),
    'entropy_wm': ('epstats/log/lore_entropy_wm/avg',),
    'entropy_mix': ('epstats/log/lore_entropy_mix/avg',),
    'advised': ('epstats/log/lore_src_llm/avg',),
    'calls': ('train/advisor/calls',),
    'hit_rate': ('train/advisor/hit_rate',),
    'money': ('train/advisor/money',),
    'value': ('train/val',),
    'return': ('train/ret',),
}
POINTS = 200


def collect(
    suite: suites.Suite, root: pathlib.Path, place: pathlib.Path,
    add: bool = False) -> str:
  """Writes a suite's results.

  Args:
    suite: The `suites.Suite`, with all its arms.
    root: Folder of its runs.
    place: Folder of the results to write.
    add: Whether finished runs stay that are in the results already, and not
      below `root`.

  Returns:
    What was collected, in words.

  Raises:
    ConfigError: The results that are there can't be read, or hold runs of an
      arm or task that the suite has not.
  """
  records: list[results.Record] = []
  episodes: list[tuple | list[str]] = []
  series: list[tuple | list[str]] = []
  alone: list[tuple | list[str]] = []
  old = Old(place if add else None, suite)
  for arm in suite.arms:
    for task in suite.tasks:
      seeds = {*suite.seeds, *old.seeds(arm.name, task)}
      for seed in _seeds(root, arm.name, task, seeds):
        record = summarise(
            root, suite.name, arm.name, task, seed, suite.steps[task])
        key = record.key
        if not record.finished and key in old.records:
          records.append(old.records[key])
          episodes += old.episodes.get(key, ())
          series += old.series.get(key, ())
          alone += old.alone.get(key, ())
          continue
        records.append(record)
        if record.finished:
          logdir = suites.place(root, arm.name, task, seed)
          rows = logdirlib.read_metrics(logdir)
          episodes += ((*key, *row) for row in read_episodes(logdir, rows))
          series += ((*key, *row) for row in read_series(rows))
          alone += ((*key, *row) for row in read_alone(logdir))
  results.write(
      place, records, episodes, series,
      old.merge(read_shared(root, suite.name)), alone)
  count = lambda status: sum(x.status == status for x in records)
  return (
      f'{suite.name}: {count("finished")} runs finished, {count("crashed")} '
      f'crashed, {count("missing")} missing. Results: {place}')


class Old:
  """What the results held before.

  Args:
    place: Their folder; None for nothing.
    suite: The suite that they must be of.

  Attributes:
    records: Finished runs' records by `Record.key`.
    episodes: Rows of episodes.csv.gz by the same, as lists of text.
    series: Those of series.csv.gz.
    alone: Those of alone.csv.gz.
    shared: Content of shared.json.

  Raises:
    ConfigError: See `collect`.
  """

  def __init__(self, place: pathlib.Path | None, suite: suites.Suite):
    self.records: dict[tuple[str, ...], results.Record] = {}
    self.episodes: dict[tuple[str, ...], list[list[str]]] = {}
    self.series: dict[tuple[str, ...], list[list[str]]] = {}
    self.alone: dict[tuple[str, ...], list[list[str]]] = {}
    self.shared: dict[str, dict] = {}
    if place is None or not any(
        (place / x).exists() for x in ('runs.json', 'runs.json.gz')):
      return
    way = 'Give another folder by --results, or leave out --add.'
    try:
      self.records = {
          x.key: x for x in results.read_records(place) if x.finished}
      self.episodes = self._read(place / 'episodes.csv.gz', results.EPISODES)
      self.series = self._read(
          place / 'series.csv.gz', (*results.RUN, 'step', *results.SERIES))
      if (place / 'alone.csv.gz').exists():
        self.alone = self._read(place / 'alone.csv.gz', results.ALONE)
      self.shared = results.read_shared(place)
    except errors.ConfigError as e:
      raise errors.ConfigError(
          f'Can\'t add to the results in {str(place)!r}: {e} {way}') from e
    known = {(suite.name, x.name, y) for x in suite.arms for y in suite.tasks}
    for key in self.records:
      if key[:3] not in known:
        raise errors.ConfigError(
            f'{str(place)!r} holds a run of {"/".join(key[:3])}, which is '
            f'not in the suite {suite.name}. {way}')

  def _read(self, path, columns):
    """Reads rows, with their cells in the order of `columns`."""
    header, found = results.read_rows(path, columns)
    order = [header.index(x) for x in columns]
    return {
        k: [[row[i] for i in order] for row in v] for k, v in found.items()}

  def seeds(self, arm: str, task: str) -> list[int]:
    return [int(k[3]) for k in self.records if k[1:3] == (arm, task)]

  def merge(self, shared: dict[str, dict]) -> dict[str, dict]:
    """Adds what shared advisors were asked to what those of old were."""
    out = dict(self.shared)
    for name, new in shared.items():
      # The same advisor, collected again, has a ledger that began then.
      names = [name, *(f'{name}-{i}' for i in range(2, len(out) + 3))]
      place = next(
          x for x in names
          if x not in out or out[x].get('began') == new['began'])
      out[place] = new
    return out


def summarise(
    root: pathlib.Path, suite: str, arm: str, task: str, seed: int,
    steps: int) -> results.Record:
  """Returns the record of one run."""
  logdir = suites.place(root, arm, task, seed)
  record = logdirlib.read_record(logdir) or {'sessions': []}
  summary = logdirlib.read_summary(logdir)
  if logdir.is_symlink() and record.get('steps') != steps:
    # The run of another suite that has gone on since, or has yet to.
    record, summary = {'sessions': []}, None
  parent = suites.place(root / 'failed', arm, task, seed).parent
  failures: list[int | None] = []
  for place in sorted(parent.glob(f'{seed}-*')):
    failed = logdirlib.read_record(place) or {'sessions': []}
    failures += [x['code'] for x in failed['sessions'][-1:]]
  sessions = record['sessions']
  out = {
      'suite': suite, 'arm': arm, 'task': task, 'seed': seed,
      'status': 'finished' if summary is not None else
      'crashed' if failures else 'missing',
      'steps': record.get('steps', steps),
      'commit': sessions[-1]['commit'] if sessions else None,
      'argv': record.get('argv'), 'replaced': record.get('replaced', {}),
      'summary': summary,
      'provider': record.get('provider'), 'envs': record.get('envs'),
      'share': record.get('share', 'none'), 'threads': record.get('threads'),
      'sessions': len(sessions),
      'commits': sorted({str(x['commit']) for x in sessions}),
      'failures': failures}
  if summary is not None:
    out.update(measure(logdir, root, summary, record))
  return models.check(results.Record, out, f'The run in {str(logdir)!r}')


def measure(
    logdir: pathlib.Path, root: pathlib.Path, summary: dict[str, Any],
    record: dict[str, Any]) -> dict[str, Any]:
  """Returns what only a finished run has in its record."""
  sessions = record['sessions']
  seconds = [x['seconds'] for x in sessions if x['seconds'] is not None]
  # An ended command may have had no time to note how long its runs took.
  whole = len(seconds) == len(sessions) and sessions
  out: dict[str, Any] = {
      'seconds': round(sum(seconds), 1) if whole else None,
      'steps_per_s': read_speed(logdir)}
  if logdir.is_symlink():
    out['linked'] = '/'.join(logdir.resolve().parts[-4:])
  if 'advisor' in summary:
    out.update(
        calls=read_calls(logdir, summary, record),
        asked=read_asked(logdir, root, record),
        asked_at=read_questions(logdir))
  return out


def read_episodes(
    logdir: str | os.PathLike, rows: list[dict]) -> Iterator[tuple]:
  """Yields step, number, success, score, length, advised and calls.

  advised is 1 where advice was followed, 0 in episodes without, such as those
  of the control group, and between where such a one was advised in the end as
  it lasted too long; calls is what the run had made until then. Both
  are '' where the run did not say, and 0 for runs without an advisor. success
  is '' where the environment does not say what one is.
  """
  silent = '' if any('train/lore/kl' in x for x in rows) else 0
  known = lambda x, other: other if x is None else x
  for i, row in enumerate(logdirlib.read_episodes(logdir, rows)):
    yield (
        row['step'], i, _round(known(row['success'], ''), 0),
        round(row['score'], 5),
        _round(known(row['length'], ''), 0),
        _round(known(row['advised'], silent), 1),
        _round(known(row['calls'], silent), 0))


def read_alone(logdir: str | os.PathLike) -> Iterator[tuple]:
  """Yields step, success, score and episodes of each evaluation."""
  for row in logdirlib.read_alone(logdir):
    yield (
        row['step'], '' if row['success'] is None else _round(
            row['success'], 5), _round(row['score'], 5), row['episodes'])


def read_questions(logdir: str | os.PathLike) -> list[int]:
  """Returns the steps of their episodes at which a run asked, sorted."""
  return sorted(
      int(at) for row in logdirlib.read_journal(logdir)
      for at in row.get('asked', ()))


def read_series(rows: Iterable[dict]) -> list[tuple]:
  """Yields the step and each of `METRICS`, '' where nothing was logged."""
  found = []
  for row in rows:
    values = [
        next((row[k] for k in keys if k in row), '')
        for keys in METRICS.values()]
    if any(x != '' for x in values):
      found.append((row['step'], *(_round(x, 5) for x in values)))
  if len(found) > POINTS:
    index = np.unique(np.linspace(0, len(found) - 1, POINTS).round())
    found = [found[int(i)] for i in index]
  return found


def read_speed(logdir: str | os.PathLike) -> float | None:
  """Returns the median of environment steps a second while training."""
  speeds = [
      x['fps/policy'] for x in logdirlib.read_metrics(logdir)
      if 'fps/policy' in x]
  # The first interval is spent on compilation.
  return round(float(np.median(speeds[1:] or speeds)), 2) if speeds else None


def read_calls(
    logdir: pathlib.Path, summary: dict[str, Any],
    record: dict[str, Any]) -> int:
  """Returns how many questions a run put.

  Its own ledger knows, also of those that it made after its last checkpoint
  and before it was killed, which its counters have forgotten. In a file that
  runs share, their calls are on one account.
  """
  rows = [] if record.get('share') == 'file' else _query(
      logdir / 'advice.sqlite',
      "select count(*) from ledger where account like 'run-%'")
  return rows[0][0] if rows else int(summary['advisor'].get('calls', 0))


def read_asked(
    logdir: pathlib.Path, root: pathlib.Path,
    record: dict[str, Any]) -> int | None:
  """Returns how many distinct states a run was advised on, None if unknown."""
  try:
    folder = checkpoint.resolve(checkpoint.folder(logdir))
    saved = checkpoint.read(folder)['advisor']
    if 'answered' in saved:
      return len(saved['answered'])
    # Runs of version 0.1 kept the names of all states that they met.
    met = set(saved['states'])
  except Exception:
    return None  # Removed, or of another version.
  stores = [logdir / 'advice.sqlite']
  if record.get('share') == 'file':
    stores = list((root / 'services').glob('*/advice.sqlite'))
  known = set()
  for store in stores:
    for state, in _query(store, 'select distinct state from replies'):
      known.add(state)
  return len(met & known)


def read_shared(root: pathlib.Path, suite: str) -> dict[str, dict]:
  """Returns what each shared advisor's ledger says, by its name."""
  out = {}
  for path in sorted((root / 'services').glob('*/advice.sqlite')):
    rows = _query(
        path, 'select count(*), coalesce(sum(tokens), 0), '
        'coalesce(sum(money), 0), coalesce(min(reserved), 0) from ledger '
        'where account = ?', (suite,))
    if rows:
      calls, tokens, money, began = rows[0]
      out[path.parent.name] = {
          'calls': calls, 'tokens': tokens, 'money': round(money, 6),
          'began': round(began)}
  return out


def commit() -> str | None:
  """Returns the commit of this program, or None outside a clone.

  Followed by `, changed` if what runs are made of is not as committed.
  """
  package = pathlib.Path(__file__).resolve().parent.parent
  git = lambda *args: subprocess.run(
      ['git', '-C', str(package.parent), *args], capture_output=True,
      text=True, timeout=60, check=True).stdout.strip()
  try:
    if pathlib.Path(git('rev-parse', '--show-toplevel')) != package.parent:
      return None
    found = git('rev-parse', 'HEAD')
    dirty = git(
        'status', '--porcelain', '--untracked-files=no', '--', 'lore_plugin',
        'configs')
  except (OSError, subprocess.SubprocessError):
    return None
  return found + (', changed' if dirty else '')


def _seeds(root, arm, task, planned):
  """Returns the planned seeds, and others that have been run, in order."""
  folder = suites.place(root, arm, task, 0).parent
  there = {int(x.name) for x in folder.glob('*') if x.name.isdigit()}
  return sorted(there | set(planned))


def _round(value, digits):
  if not isinstance(value, (int, float)) or not math.isfinite(value):
    return ''
  return round(value, digits) if digits else round(value)


def _query(path, sql, args=()):
  if not path.exists():
    return []
  try:
    store = storelib.Store(path, readonly=True)
    try:
      return store.query(sql, args)
    finally:
      store.close()
  except errors.StoreError:
    return []
