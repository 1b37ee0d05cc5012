"""The folder of a run: its place, its lock, its files and who reads them."""

import contextlib
import errno
import itertools
import json
import os
import pathlib
import re
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import errors
from . import lines

if TYPE_CHECKING:
  import numpy as np

CONFIG = 'config.yaml'
METRICS = 'metrics.jsonl'
SCORES = 'scores.jsonl'
EPISODES = 'episodes.jsonl'
ALONE = 'alone.jsonl'
SUMMARY = 'summary.json'
RECORD = 'run.json'
STORE = 'advice.sqlite'
LOCK = 'run.lock'
# In a row about an episode that is not one of training.
EVALUATION = 'episode/evaluation'
# Written again by a run that goes on.
WRITTEN = (CONFIG, METRICS, SCORES, EPISODES, ALONE, SUMMARY, STORE)
# What upstream's checkpoints and replay add to the path of a run, in bytes.
BELOW = 200
# What elements reads as a pattern: it would find no checkpoint, or remove
# those of another run.
PATTERN = '*?['
# How a disk says that it has no locks that the system gives back.
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
# Seconds after which a lock that no process renews counts as left behind, on
# such a disk, where nobody sees processes of other machines.
LEASE = 15.0
# Seconds to wait for a lock: who asks whether a folder is in use has it for a
# moment.
PATIENCE = 0.5
# In config.yaml, a task of MiniGrid. Any return above 0 is a success there,
# which earlier versions did not log, nor does script parallel.
MINIGRID = re.compile(r'(?<![\w.])task["\']?:\s*["\']?minigrid_')
# Beside 1, advised, and 0, of the control group.
PARTLY = 0.5


def expand(text: str | os.PathLike) -> pathlib.Path:
  """Returns the absolute path of what a user typed.

  Called once, where a path comes in: all else reads the result. `~` is the
  home folder; links stay as they are.

  Raises:
    ConfigError: The text is no path of this machine.
  """
  text = os.fspath(text)
  if is_remote(text):
    raise errors.ConfigError(
        f'{text!r} is not on this machine. Give a folder of this machine.')
  try:
    text.encode('utf-8')
  except UnicodeEncodeError as e:
    raise errors.ConfigError(
        f'{text!r} has bytes that are no UTF-8, and files could not say it. '
        'Give another path.') from e
  path = os.path.expanduser(text)
  if path.startswith('~'):
    name = path.split(os.sep)[0]
    raise errors.ConfigError(
        f'{text!r} has no place: this machine knows no home folder {name}. '
        f'Give the whole path, or ./{text} for a folder of that name.')
  if not text or '\0' in text:
    raise errors.ConfigError(
        f'{text!r} is no path. Give one such as ~/logdir/name.')
  return pathlib.Path(path).absolute()


def is_remote(text: str | os.PathLike) -> bool:
  """Whether a path names a place that only upstream reads, such as gs://."""
  return '://' in os.fspath(text)


def fill(text: str, stamp: str | None = None) -> str:
  """Returns the path that `--logdir` names, absolute if it is of this machine.

  Args:
    text: As typed; `{timestamp}` in it is filled in.
    stamp: What to fill in; None for the time.

  Raises:
    ConfigError: No run can have such a logdir.
  """
  try:
    path = text.format(timestamp=stamp or time.strftime('%Y%m%dT%H%M%S'))
  except (KeyError, IndexError, ValueError) as e:
    raise errors.ConfigError(
        f'logdir {text!r} has a placeholder other than {{timestamp}}.') from e
  if '{' in path or '}' in path:
    raise errors.ConfigError(f'logdir {path!r} must not contain braces.')
  if is_remote(path):
    return path
  return str(plain(expand(path), 'logdir'))


def plain(path: pathlib.Path, what: str) -> pathlib.Path:
  """Returns the path of a run, or of a folder of runs.

  Args:
    path: As `expand` returns it.
    what: The flag that names it, without dashes.

  Raises:
    ConfigError: No run can have a logdir there.
  """
  found = [x for x in PATTERN if x in str(path)]
  if found:
    raise errors.ConfigError(
        f'{what} {str(path)!r} must not contain {found[0]}, which the '
        f'official code reads as a pattern of names. Give a --{what} without '
        'it.')
  return path


@contextlib.contextmanager
def claim(text: str, replica: int = 0) -> Iterator[str]:
  """Makes the folder of a run, and keeps it to this process.

  A folder that is new and has nothing in it at the end is removed again.

  Args:
    text: `--logdir` as typed. Runs that start in the same second get folders
      of their own from `{timestamp}`.
    replica: Number of this process among those that share a run.

  Yields:
    The path; of another file system it is neither made nor locked.

  Raises:
    ConfigError: The folder can't be made or written, or a run is using it.
  """
  stamp = time.strftime('%Y%m%dT%H%M%S')
  for attempt in itertools.count(1):
    path = fill(text, stamp if attempt == 1 else f'{stamp}-{attempt}')
    if is_remote(path):
      yield path
      return
    folder = pathlib.Path(path)
    made = _make(folder)
    if made or path == fill(text, 'another'):
      break
  check_writable(folder)
  name = f'run-{replica:05d}.lock' if replica else LOCK
  with hold(folder, name):
    try:
      yield path
    finally:
      if made and {x.name for x in folder.iterdir()} <= {name}:
        with contextlib.suppress(OSError):
          (folder / name).unlink(missing_ok=True)
          folder.rmdir()


def _make(folder):
  """Makes a folder. Returns whether it is new."""
  room = os.pathconf('/', 'PC_PATH_MAX') if hasattr(os, 'pathconf') else 4096
  if len(os.fsencode(folder)) > room - BELOW:
    raise _unusable(folder, OSError(
        errno.ENAMETOOLONG, 'File name too long'))
  try:
    folder.mkdir(parents=True)
    return True
  except FileExistsError as e:
    if not folder.is_dir():
      raise errors.ConfigError(
          f'logdir {str(folder)!r} is a file. Give a folder, or the name of '
          'a new one.') from e
    return False
  except OSError as e:
    raise _unusable(folder, e) from e


def _unusable(folder, error):
  name = str(folder)
  name = name if len(name) < 120 else f'{name[:80]}...{name[-20:]}'
  return errors.ConfigError(
      f'logdir {name!r} can\'t be used: {error.strerror}. Give a --logdir '
      'that can be written, such as ~/logdir/name or /tmp/name.')


def check_writable(folder: pathlib.Path) -> None:
  """Raises a ConfigError if a run could not write its files."""
  for path in (folder, *(folder / x for x in WRITTEN)):
    if path.exists() and not os.access(
        path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
      raise _unusable(path, PermissionError(
          errno.EACCES, 'there is no permission to write it'))


@contextlib.contextmanager
def hold(folder: pathlib.Path, name: str = LOCK) -> Iterator[None]:
  """Locks a run's folder for a block.

  Raises:
    ConfigError: Another process has it, or it can't be written.
  """
  path = folder / name
  try:
    lock = _acquire(path)
  except OSError as e:
    raise _unusable(folder, e) from e
  if not lock:
    raise errors.ConfigError(
        f'Another run is using {str(folder)!r}: {_holder(path)}. Wait for '
        'its end, or give another --logdir.')
  try:
    try:
      path.write_text(
          f'process {os.getpid()} on {socket.gethostname()}, since '
          f'{time.strftime("%Y-%m-%d %H:%M:%S")}\n', encoding='utf-8')
    except OSError as e:
      raise _unusable(folder, e) from e
    yield
  finally:
    lock.release()


def used_by(folder: pathlib.Path) -> str:
  """Says which process runs in a folder, or returns ''."""
  path = folder / LOCK
  if not path.exists():
    return ''
  try:
    lock = _acquire(path)
  except OSError:
    return ''
  if not lock:
    return _holder(path)
  lock.release()
  return ''


def _acquire(path):
  """Returns a lock that is ours, or None if it is another process's.

  The system gives a lock back however a process ends. On a disk without such
  locks a file with the owner's machine, process and time of start takes their
  place. It counts no more once that process is gone or, of another machine,
  once it is not renewed.

  Raises:
    OSError: The file can't be made.
  """
  import filelock
  lock = filelock.FileLock(path, fallback_to_soft=False, thread_local=False)
  try:
    lock.acquire(PATIENCE)
    return lock
  except filelock.Timeout:
    return None
  except OSError as e:
    if e.errno not in NO_LOCKS:
      raise
  lock = filelock.SoftFileLease(
      f'{path}.lease', lease_duration=LEASE, thread_local=False)
  seen, deadline = None, time.monotonic() + 1.5 * LEASE
  while True:
    try:
      lock.acquire(blocking=False)
      return lock
    except filelock.Timeout:
      with contextlib.suppress(OSError):
        now = os.stat(lock.lock_file).st_mtime_ns
        seen = seen or now
        if now != seen or time.monotonic() > deadline:
          return None  # Its owner lives: it was renewed.
      time.sleep(0.2)


def _holder(path):
  try:
    return path.read_text(encoding='utf-8').strip() or 'a process'
  except (OSError, UnicodeDecodeError):
    return 'a process'


def read_metrics(logdir: str | os.PathLike) -> list[dict]:
  """Reads what upstream's logger wrote, one row a step.

  Returns:
    Rows with increasing `step`, in environment steps.
  """
  merged: list[dict] = []
  for row in lines.read(pathlib.Path(logdir) / METRICS):
    if merged and merged[-1]['step'] == row['step']:
      merged[-1].update(row)
    else:
      merged.append(row)
  return merged


def read_journal(logdir: str | os.PathLike) -> list[dict]:
  """Reads what an advised run noted of its episodes: `advised`, `calls`."""
  return lines.read(pathlib.Path(logdir) / EPISODES, 'advised', 'calls')


def read_alone(logdir: str | os.PathLike) -> list[dict]:
  """Reads what the agent came to without advice; see `play.alone`.

  Returns:
    Rows with `step`, which rises, `success`, `score` and `episodes`.
  """
  rows = lines.read(pathlib.Path(logdir) / ALONE, 'success', 'score')
  return list({x['step']: x for x in rows}.values())


def read_episodes(
    logdir: str | os.PathLike, metrics: list[dict] | None = None
) -> list[dict]:
  """Reads the training episodes of a run.

  Args:
    logdir: The run.
    metrics: What `read_metrics` returned, if it was read already.

  Returns:
    A dict for each episode, by the step at which it ended: `step`; `score`,
    its return; `success`, 0 or 1 as the environment said, else None;
    `length`, `advised` and `calls` as the journal has them, else None, and
    `advised` is `PARTLY` of a control episode whose rest was advised as it
    lasted too long: what came of it is nobody's alone.
    Those that script train_eval played to evaluate are not among them.
  """
  folder = pathlib.Path(logdir)
  rows = metrics if metrics is not None else read_metrics(folder)
  if not any('episode/score' in x for x in rows):
    logged = {x['step']: x for x in rows}
    rows = [
        {**logged.get(x['step'], {}), **x}
        for x in lines.read(folder / SCORES)]
  journal = {x['step']: x for x in read_journal(folder)}
  rewarded = _is_minigrid(folder)
  out: list[dict] = []
  for row in rows:
    if 'episode/score' not in row or EVALUATION in row:
      continue
    if out and out[-1]['step'] == row['step']:
      out.pop()  # Written again by a run that was killed just there.
    more = journal.get(row['step'], {})
    score = row['episode/score']
    success = row.get(
        'episode/success', float(score > 0) if rewarded else None)
    advised = more.get('advised')
    if advised == 0 and more.get('changed') is not None:
      advised = PARTLY
    out.append({
        'step': row['step'], 'score': score, 'success': success,
        'length': row.get('episode/length', more.get('length')),
        'advised': advised, 'calls': more.get('calls')})
  return out


def won(row: dict) -> float | None:
  """Returns the success of one of `read_episodes`, as its arm's own.

  It is 0 for a control episode that took too long, whatever came of the rest
  that was advised; None where the environment does not say.
  """
  return row['success'] and row['success'] * (row['advised'] != PARTLY)


def _is_minigrid(folder):
  try:
    text = (folder / CONFIG).read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError):
    return False
  return bool(MINIGRID.search(text))


def read_outcomes(
    logdir: str | os.PathLike
) -> tuple['np.ndarray', 'np.ndarray', 'np.ndarray | None']:
  """Reads how the training episodes of a run ended.

  Returns:
    steps: Environment step at which each episode ended; increasing. [N], i64.
    scores: Return of each episode. [N], f64.
    wins: 1 where the environment called it a success, else 0. [N], f64; None
      where it says no such thing.
  """
  import numpy as np
  rows = read_episodes(logdir)
  wins = [x['success'] for x in rows]
  return (
      np.array([x['step'] for x in rows], np.int64),
      np.array([x['score'] for x in rows], np.float64),
      None if None in wins else np.array(wins, np.float64))


def read_summary(logdir: str | os.PathLike) -> dict | None:
  """Reads what a finished run wrote at its end; None where there is none."""
  found = read_json(pathlib.Path(logdir) / SUMMARY)
  # Runs of earlier versions were all of tasks that tell of success.
  return found and {'measure': 'success', **found}


def write_summary(logdir: str | os.PathLike, summary: dict) -> None:
  """Writes a run's summary, whole or not at all."""
  write_json(pathlib.Path(logdir) / SUMMARY, summary)


def read_record(logdir: str | os.PathLike) -> dict | None:
  """Reads what the suite of a run noted of it; None where there is none."""
  return read_json(pathlib.Path(logdir) / RECORD)


def read_json(path: pathlib.Path) -> dict | None:
  """Reads an object; None where there is none, or half of one."""
  try:
    found = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return None
  return found if isinstance(found, dict) else None


def write_json(path: pathlib.Path, data: dict) -> None:
  """Writes an object, whole or not at all."""
  temp = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  temp.write_text(json.dumps(data, indent=2) + '\n', encoding='utf-8')
  temp.replace(path)


def cache() -> pathlib.Path:
  """Returns where this user's programs remember what runs don't need."""
  place = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return pathlib.Path(place) / 'lore-dreamerv3'


def last_step(logdir: str | os.PathLike) -> int | None:
  """Returns the last environment step that a run has logged, if any."""
  folder = pathlib.Path(logdir)
  found = [
      rows[-1]['step'] for rows in (
          lines.read(folder / x) for x in (METRICS, SCORES, EPISODES)) if rows]
  return max(found, default=None)


def ahead(logdir: str | os.PathLike, saved: int | None) -> str:
  """Says when a run's log goes on after its newest checkpoint.

  Args:
    logdir: The run.
    saved: Environment step of the newest whole checkpoint; None if unknown.

  Returns:
    A sentence, or '' where they belong together.
  """
  last = last_step(logdir)
  if last is None or saved is None or last <= saved:
    return ''
  return (
      f'The log goes to step {last:,}, but the newest checkpoint is of step '
      f'{saved:,}: {last - saved:,} steps were trained and not saved.')
