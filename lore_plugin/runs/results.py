"""The files of RESULTS/<suite>: who writes and who reads them.

  episodes.csv.gz   a row for each training episode
  series.csv.gz     gate, KL, lambda, ... over time
  runs.json.gz      a record for each run, also of crashed ones
  alone.csv.gz      the agent without advice, where it was evaluated meanwhile
  shared.json       what shared advisors were really asked

The same runs give the same bytes. Older folders have runs.json in the place of
runs.json.gz, and are read as well.
"""

import csv
import gzip
import io
import json
import math
import pathlib
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import pydantic

from .. import errors
from . import models

RUN = ('suite', 'arm', 'task', 'seed')
EPISODES = (
    *RUN, 'step', 'episode', 'success', 'score', 'length', 'advised', 'calls')
# What `series.csv.gz` may have besides the run and the step.
SERIES = (
    'beta', 'kl', 'lambda', 'temperature', 'trust', 'uplift', 'uplift_low',
    'uplift_high', 'u', 'entropy_wm', 'entropy_mix', 'advised', 'calls',
    'hit_rate', 'money', 'value', 'return')
ALONE = (*RUN, 'step', 'success', 'score', 'episodes')
STATUS = ('finished', 'crashed', 'missing')
MAKE = (
    'Give the --logdir of a run, or make results with `python -m lore_plugin '
    'ablate SUITE`.')


class Record(pydantic.BaseModel):
  """One run, as runs.json.gz has it. Fields of other versions are kept.

  Attributes:
    suite: Name of its suite.
    arm: Name of its arm.
    task: The task.
    seed: The seed.
    status: One of `STATUS`.
    steps: Environment steps that it took, or was to take.
    argv: Its flags, without where its files are.
    replaced: Rules in the place of parts of LoRe, see `runs.replaced`.
    summary: Its own summary.json; None unless it is finished.
    commit: Of the program that ended it.
    commits: Of all programs that worked on it.
    provider: Who advised it, `auto` resolved; '' for nobody.
    envs: Environments that it ran at once; None where it is not known.
    seconds: Wall time, None if a part of it is not known.
    steps_per_s: Environment steps a second while it trained.
    share: What it shared, see `suites`.
    threads: CPU threads.
    calls: Questions that it put itself, to a provider or to a server.
    asked: Distinct states that it was advised on, whoever had asked. A run
      that waits for answers and has no call policy would have made these
      calls alone.
    asked_at: Steps of their episodes at which it asked.
    sessions: How many programs worked on it.
    failures: Exit codes of attempts that were set aside.
    linked: The run of another suite that this one is.
  """
  model_config = pydantic.ConfigDict(extra='allow')

  suite: str
  arm: str
  task: str
  seed: int = pydantic.Field(ge=0)
  status: str
  steps: int = pydantic.Field(ge=1)
  argv: list[str] | None = None
  replaced: dict[str, str] = {}
  summary: dict | None = None
  commit: str | None = None
  commits: list[str] = []
  provider: str | None = None
  envs: int | None = None
  seconds: float | None = None
  steps_per_s: float | None = None
  share: str = 'none'
  threads: int | None = None
  calls: int | None = None
  asked: int | None = None
  asked_at: list[int] | None = None
  sessions: int = 0
  failures: list[int | None] = []
  linked: str | None = None

  @pydantic.field_validator('suite', 'arm', 'task')
  @classmethod
  def _printable(cls, value):
    if not value or not value.isprintable():
      raise ValueError(f'{value!r} is no name: it can\'t be printed.')
    return value

  @pydantic.model_validator(mode='after')
  def _whole(self):
    if self.status not in STATUS:
      raise ValueError(
          f'its status is {self.status!r}. Choose from: {", ".join(STATUS)}.')
    if self.status == 'finished' and self.summary is None:
      raise ValueError('it is finished, but has no summary.')
    return self

  @property
  def key(self) -> tuple[str, str, str, str]:
    """Suite, arm, task and seed, as the tables write them."""
    return self.suite, self.arm, self.task, str(self.seed)

  @property
  def finished(self) -> bool:
    return self.status == 'finished'

  def __str__(self):
    return '/'.join(self.key)


def check_folder(folder: pathlib.Path) -> None:
  """Raises a ConfigError unless a folder holds results."""
  if not folder.is_dir():
    raise errors.ConfigError(
        f'There is no folder {str(folder)!r} of results. {MAKE}')
  if not any(folder.iterdir()):
    raise errors.ConfigError(f'The folder {str(folder)!r} is empty. {MAKE}')
  for names in (('runs.json.gz', 'runs.json'), ('episodes.csv.gz',)):
    if not any((folder / x).is_file() for x in names):
      raise errors.ConfigError(
          f'{str(folder)!r} is no whole folder of results: it has no '
          f'{names[0]}. {MAKE}')


def read_records(folder: pathlib.Path) -> list[Record]:
  """Reads what is known of each run.

  Raises:
    ConfigError: The file can't be read, or names a run twice.
  """
  path = folder / 'runs.json.gz'
  path = path if path.is_file() else folder / 'runs.json'
  try:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == '.gz' else data
    rows = json.loads(data.decode('utf-8'))
    if not isinstance(rows, list):
      raise ValueError('it holds no list')
  except (OSError, EOFError, ValueError, zlib.error) as e:
    raise errors.ConfigError(
        f'Can\'t read {str(path)!r}: {e}. {MAKE}') from e
  except RecursionError as e:
    raise errors.ConfigError(
        f'Can\'t read {str(path)!r}: it is nested too deeply. {MAKE}') from e
  out = {}
  for i, row in enumerate(rows):
    record = models.check(Record, row, f'Run {i} of {str(path)!r}')
    if record.key in out:
      raise errors.ConfigError(f'{str(path)!r} has the run {record} twice.')
    out[record.key] = record
  return list(out.values())


def read_rows(
    path: pathlib.Path, columns: Iterable[str]) -> tuple[list[str], dict]:
  """Reads a table as text.

  Args:
    path: The file.
    columns: Names that its header must have, those of a run among them.

  Returns:
    The names of the columns, and the rows of each run, by what `Record.key`
    is for it.

  Raises:
    ConfigError: It can't be read.
  """
  out: dict = {}
  try:
    with gzip.open(path, 'rt', encoding='utf-8', newline='') as f:
      reader = csv.reader(f)
      header = next(reader, [])
      missing = [x for x in columns if x not in header]
      if missing:
        raise ValueError(f'it has no column {", ".join(missing)}')
      where = [header.index(x) for x in RUN]
      for row in reader:
        if len(row) != len(header):
          raise ValueError(f'line {reader.line_num} is cut off')
        out.setdefault(tuple(row[i] for i in where), []).append(row)
  except (OSError, EOFError, ValueError, csv.Error, zlib.error) as e:
    raise errors.ConfigError(
        f'Can\'t read {str(path)!r}: {e}. {MAKE}') from e
  return header, out


def read_table(path: pathlib.Path, columns: Iterable[str]) -> dict:
  """Reads a table as numbers; see `read_rows`.

  Returns:
    Dict from a run's key to its columns by name. Shape [rows], f64; nan where
    a cell is empty.
  """
  header, found = read_rows(path, columns)
  names = [(i, x) for i, x in enumerate(header) if x not in RUN]
  number = lambda x: float(x) if x else math.nan
  try:
    return {
        key: {x: np.array([number(row[i]) for row in rows], np.float64)
              for i, x in names}
        for key, rows in found.items()}
  except ValueError as e:
    raise errors.ConfigError(
        f'Can\'t read {str(path)!r}: {e}. {MAKE}') from e


def read_shared(folder: pathlib.Path) -> dict:
  """Reads what shared advisors were asked; {} where nothing was shared.

  Raises:
    ConfigError: The file can't be read.
  """
  path = folder / 'shared.json'
  if not path.exists():
    return {}
  try:
    data = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(data, dict):
      raise ValueError('it holds no table')
    return data
  except (OSError, ValueError) as e:
    raise errors.ConfigError(f'Can\'t read {str(path)!r}: {e}.') from e


def write(
    folder: pathlib.Path, records: Iterable[Record],
    episodes: Iterable[Sequence], series: Iterable[Sequence],
    shared: dict[str, dict], alone: Sequence[Sequence] = ()) -> None:
  """Writes results.

  Args:
    folder: Where to; made if it is missing.
    records: List of `Record`.
    episodes: Rows of `EPISODES`.
    series: Rows of a run, a step and `SERIES`.
    shared: Content of shared.json.
    alone: Rows of `ALONE`.
  """
  folder.mkdir(parents=True, exist_ok=True)
  write_table(folder / 'episodes.csv.gz', EPISODES, episodes)
  write_table(folder / 'series.csv.gz', (*RUN, 'step', *SERIES), series)
  (folder / 'alone.csv.gz').unlink(missing_ok=True)
  if alone:
    write_table(folder / 'alone.csv.gz', ALONE, alone)
  text = json.dumps([
      x.model_dump(exclude=set() if x.replaced else {'replaced'})
      for x in records], indent=1) + '\n'
  compress(folder / 'runs.json.gz', text)
  (folder / 'runs.json').unlink(missing_ok=True)
  if shared:
    (folder / 'shared.json').write_text(
        json.dumps(shared, indent=1) + '\n', encoding='utf-8')


def write_table(
    path: pathlib.Path, columns: Iterable[str],
    rows: Iterable[Sequence]) -> None:
  """Writes a compressed table."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(columns)
  writer.writerows(rows)
  compress(path, text.getvalue())


def compress(path: pathlib.Path, text: str) -> None:
  # Without a time stamp, so that the same rows give the same file.
  path.write_bytes(gzip.compress(text.encode(), mtime=0))
