"""Collects what the runs of a suite logged into a few small files.

  RESULTS/<suite>/episodes.csv.gz   a row for each training episode
  RESULTS/<suite>/series.csv.gz     gate, KL, lambda, ... over time
  RESULTS/<suite>/runs.json         a record for each run, also of crashed ones
  RESULTS/<suite>/shared.json       what shared advisors were really asked

Only finished runs have rows. Calls are counted in three ways, which differ
where runs share replies:

  calls   in runs.json and episodes.csv.gz: questions that the run itself put,
          to a provider or to a server
  asked   in runs.json: distinct states that it met and was advised on by a
          reply, whoever had asked. A run that waits for answers and has no
          call policy would have made these calls alone
  calls   in shared.json: calls that reached the provider, of all runs

The same runs give the same bytes. Runs of several machines, whose folders lie
apart, come together by collecting one folder after the other into the same
results, with `add`.
"""

import csv
import gzip
import io
import json
import os
import pathlib
import sqlite3
import subprocess

import numpy as np

from .. import errors
from .. import status as progress
from ..upstream import checkpoint

RECORD = 'run.json'
EPISODES = (
    'suite', 'arm', 'task', 'seed', 'step', 'episode', 'success', 'score',
    'length', 'advised', 'calls')
# Column of series.csv.gz, and the metrics that it may be found in.
SERIES = {
    'beta': ('epstats/log/lore_beta/avg', 'train/lore/beta'),
    'ceiling': ('epstats/log/lore_ceiling/avg',),
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


def collect(suite, root, results, add=False):
  """Writes a suite's results.

  Args:
    suite: The `suites.Suite`, with all its arms.
    root: Folder of its runs.
    results: Folder to write to.
    add: Whether finished runs stay that are in the results already, and not
      below `root`.

  Returns:
    What was collected, in words.

  Raises:
    ConfigError: The results that are there can't be read, or hold runs of an
      arm or task that the suite has not.
  """
  records = []
  old = Old(results if add else None, suite)
  episodes, series = _table(EPISODES), _table(
      ('suite', 'arm', 'task', 'seed', 'step', *SERIES))
  for arm in suite.arms:
    for task in suite.tasks:
      seeds = {*suite.seeds, *old.seeds(arm.name, task)}
      for seed in _seeds(root, arm.name, task, seeds):
        record = summarise(
            root, suite.name, arm.name, task, seed, suite.steps[task])
        key = (suite.name, arm.name, task, seed)
        if record['status'] != 'finished' and key in old.records:
          records.append(old.records[key])
          episodes[1].writerows(old.episodes.get(key, ()))
          series[1].writerows(old.series.get(key, ()))
          continue
        records.append(record)
        if record['status'] != 'finished':
          continue
        logdir = root / arm.name / task / str(seed)
        rows = read_metrics(logdir)
        for row in read_episodes(logdir, rows):
          episodes[1].writerow((*key, *row))
        for row in read_series(rows):
          series[1].writerow((*key, *row))
  results.mkdir(parents=True, exist_ok=True)
  _compress(results / 'episodes.csv.gz', episodes[0])
  _compress(results / 'series.csv.gz', series[0])
  _write(results / 'runs.json', records)
  shared = old.merge(read_shared(root, suite.name))
  if shared:
    _write(results / 'shared.json', shared)
  count = lambda status: sum(x['status'] == status for x in records)
  return (
      f'{suite.name}: {count("finished")} runs finished, {count("crashed")} '
      f'crashed, {count("missing")} missing. Results: {results}')


class Old:
  """What the results held before.

  Args:
    results: Their folder; None for nothing.
    suite: The suite that they must be of.

  Attributes:
    records: Finished runs' records by (suite, arm, task, seed).
    episodes: Rows of episodes.csv.gz by the same, as lists of text.
    series: Those of series.csv.gz.
    shared: Content of shared.json.

  Raises:
    ConfigError: See `collect`.
  """

  def __init__(self, results, suite):
    self.records, self.episodes, self.series, self.shared = {}, {}, {}, {}
    if results is None or not (results / 'runs.json').exists():
      return
    try:
      records = json.loads((results / 'runs.json').read_text('utf-8'))
      self.records = {
          (x['suite'], x['arm'], x['task'], x['seed']): x for x in records
          if x['status'] == 'finished'}
      self.episodes = self._read(results / 'episodes.csv.gz', EPISODES)
      self.series = self._read(
          results / 'series.csv.gz', (*EPISODES[:5], *SERIES))
      if (results / 'shared.json').exists():
        self.shared = json.loads((results / 'shared.json').read_text('utf-8'))
    except (OSError, EOFError, ValueError, KeyError, TypeError) as e:
      raise errors.ConfigError(
          f'Can\'t add to the results in {str(results)!r}: {e}. Give another '
          'folder by --results, or leave out --add.') from e
    known = {(suite.name, x.name, y) for x in suite.arms for y in suite.tasks}
    for key in self.records:
      if key[:3] not in known:
        raise errors.ConfigError(
            f'{str(results)!r} holds a run of {"/".join(key[:3])}, which is '
            f'not in the suite {suite.name}. Give another folder by '
            '--results, or leave out --add.')

  def _read(self, path, header):
    out = {}
    with gzip.open(path, 'rt', encoding='utf-8', newline='') as f:
      reader = csv.reader(f)
      if tuple(next(reader, ())) != tuple(header):
        raise ValueError(f'{path.name} has other columns')
      for row in reader:
        out.setdefault((*row[:3], int(row[3])), []).append(row)
    return out

  def seeds(self, arm, task):
    return [k[3] for k in self.records if k[1:3] == (arm, task)]

  def merge(self, shared):
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


def summarise(root, suite, arm, task, seed, steps):
  """Returns the record of one run for runs.json."""
  logdir = root / arm / task / str(seed)
  record = read_record(logdir) or {'sessions': []}
  summary = _json(logdir / 'summary.json')
  parent = root / 'failed' / arm / task
  failures = []
  for place in sorted(parent.glob(f'{seed}-*')):
    failed = read_record(place) or {'sessions': []}
    failures += [x['code'] for x in failed['sessions'][-1:]]
  sessions = record['sessions']
  seconds = [x['seconds'] for x in sessions if x['seconds'] is not None]
  out = {
      'suite': suite, 'arm': arm, 'task': task, 'seed': seed,
      'status': 'finished' if summary is not None else
      'crashed' if failures else 'missing',
      'steps': record.get('steps', steps),
      'seconds': None, 'steps_per_s': None,
      'commit': sessions[-1]['commit'] if sessions else None,
      'argv': record.get('argv'), 'summary': summary,
      'share': record.get('share', 'none'), 'threads': record.get('threads'),
      'calls': None, 'asked': None, 'asked_at': None,
      'sessions': len(sessions),
      'commits': sorted({str(x['commit']) for x in sessions}),
      'failures': failures, 'linked': None}
  if summary is None:
    # An ended command may have had no time to note how long its runs took.
    return out
  if logdir.is_symlink():
    out['linked'] = '/'.join(logdir.resolve().parts[-4:])
  whole = len(seconds) == len(sessions) and sessions
  out['seconds'] = round(sum(seconds), 1) if whole else None
  out['steps_per_s'] = read_speed(logdir)
  if 'advisor' in summary:
    out['calls'] = read_calls(logdir, summary, record)
    out['asked'] = read_asked(logdir, root, record)
    out['asked_at'] = read_questions(logdir)
  return out


def read_metrics(logdir):
  """Reads metrics.jsonl, without what a killed run repeated.

  Returns:
    A list of dicts with increasing `step`.
  """
  merged = []
  for row in _rows(pathlib.Path(logdir) / 'metrics.jsonl'):
    if merged and merged[-1]['step'] == row['step']:
      merged[-1].update(row)
    else:
      merged.append(row)
  return merged


def read_episodes(logdir, rows):
  """Yields step, number, success, score, length, advised and calls.

  advised is 1 where advice was followed and 0 in episodes without, such as
  those of the control group; calls is what the run had made until then. Both
  are '' where the run did not say, and 0 for runs without an advisor.
  """
  lengths = {
      x['step']: int(x['episode/length']) for x in rows
      if 'episode/length' in x}
  journal = {x['step']: x for x in read_journal(logdir)}
  plain = {'advised': '', 'calls': ''} if any(
      'train/lore/kl' in x for x in rows) else {'advised': 0, 'calls': 0}
  steps, scores = progress.read_episodes(logdir)
  for i, (step, score) in enumerate(zip(steps.tolist(), scores.tolist())):
    row = journal.get(step, plain)
    yield (
        step, i, int(score > 0), round(score, 5),
        lengths.get(step, row.get('length', '')),
        _round(row['advised'], 0), _round(row['calls'], 0))


def read_journal(logdir):
  """Reads episodes.jsonl, without what a killed run repeated."""
  return _rows(pathlib.Path(logdir) / 'episodes.jsonl', 'advised', 'calls')


def read_questions(logdir):
  """Returns the steps of their episodes at which a run asked, sorted."""
  return sorted(
      int(at) for row in read_journal(logdir) for at in row.get('asked', ()))


def read_series(rows):
  """Yields the step and each of `SERIES`, '' where nothing was logged."""
  found = []
  for row in rows:
    values = [
        next((row[k] for k in keys if k in row), '')
        for keys in SERIES.values()]
    if any(x != '' for x in values):
      found.append((row['step'], *(_round(x, 5) for x in values)))
  if len(found) > POINTS:
    index = np.unique(np.linspace(0, len(found) - 1, POINTS).round())
    found = [found[int(i)] for i in index]
  return found


def read_speed(logdir):
  """Returns the median of environment steps a second while training."""
  speeds = [
      x['fps/policy'] for x in read_metrics(logdir) if 'fps/policy' in x]
  # The first interval is spent on compilation.
  return round(float(np.median(speeds[1:] or speeds)), 2) if speeds else None


def read_calls(logdir, summary, record):
  """Returns how many questions a run put.

  Its own ledger knows, also of those that it made after its last checkpoint
  and before it was killed, which its counters have forgotten. In a file that
  runs share, their calls are on one account.
  """
  rows = [] if record.get('share') == 'file' else _query(
      logdir / 'advice.sqlite',
      "select count(*) from ledger where account like 'run-%'")
  return rows[0][0] if rows else int(summary['advisor'].get('calls', 0))


def read_asked(logdir, root, record):
  """Returns how many distinct states a run was advised on, None if unknown."""
  try:
    folder = checkpoint.resolve(checkpoint.folder(logdir))
    data = checkpoint.read(folder)
    met = set(data['advisor']['states'])
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


def read_shared(root, suite):
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


def read_record(logdir):
  """Returns a run's own record, or None."""
  return _json(pathlib.Path(logdir) / RECORD)


def write_record(logdir, record):
  path = pathlib.Path(logdir) / RECORD
  temp = path.with_suffix('.tmp')
  temp.write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')
  temp.replace(path)


def commit():
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
  there = {
      int(x.name) for x in (root / arm / task).glob('*') if x.name.isdigit()}
  return sorted(there | set(planned))


def _rows(path, *needed):
  """Reads rows by step; a run that was killed wrote some twice."""
  rows = []
  if not path.exists():
    return rows
  for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
    try:
      row = json.loads(line)
      step = row['step']
      whole = all(k in row for k in needed)
    except (ValueError, KeyError, TypeError):
      continue  # A line that the process died in.
    while rows and rows[-1]['step'] > step:
      rows.pop()
    if whole:
      rows.append(row)
  return rows


def _round(value, digits):
  if not isinstance(value, (int, float)):
    return ''
  return round(value, digits) if digits else round(value)


def _json(path):
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return None


def _write(path, data):
  path.write_text(json.dumps(data, indent=1) + '\n', encoding='utf-8')


def _table(columns):
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(columns)
  return text, writer


def _compress(path, text):
  # Without a time stamp, so that the same rows give the same file.
  path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def _query(path, sql, args=()):
  if not path.exists():
    return []
  try:
    db = sqlite3.connect(f'file:{os.path.abspath(path)}?mode=ro', uri=True)
    try:
      return db.execute(sql, args).fetchall()
    finally:
      db.close()
  except sqlite3.Error:
    return []
