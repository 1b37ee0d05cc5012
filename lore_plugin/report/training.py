"""Reads the folders of training runs as runs of a report.

A suite's results are made of finished runs. A single run is looked at while it
trains, too; it counts as long as its log.
"""

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import config as configlib
from .. import curves
from .. import errors
from .. import logdir as logdirlib
from ..runs import collect
from ..runs import results
from . import load

SUITE = 'runs'
ADVISOR = 'train/advisor/'


def load_all(
    folders: Sequence[pathlib.Path]) -> tuple[list[load.Run], list[str]]:
  """Reads folders of results and of training runs, in any mixture.

  Returns:
    The runs, and notes for the user.

  Raises:
    ConfigError: One of them can't be read, or there is nothing to show.
  """
  single = [x for x in dict.fromkeys(folders) if is_run(x)]
  others = [x for x in folders if x not in single]
  runs, notes = load.load(others) if others else ([], [])
  for folder, name in names(single).items():
    run, more = read(folder, name)
    runs.append(run)
    notes += more
  return runs, notes


def is_run(folder: pathlib.Path) -> bool:
  """Whether a folder is that of a training run, and not of results."""
  return any((folder / x).is_file() for x in (
      logdirlib.CONFIG, logdirlib.METRICS, logdirlib.SCORES)) and not any(
          (folder / x).is_file() for x in ('runs.json', 'runs.json.gz'))


def names(folders: Sequence[pathlib.Path]) -> dict[pathlib.Path, str]:
  """Names runs by as many last parts of their paths as tell them apart."""
  out = {}
  for folder in folders:
    parts = folder.parts
    for count in range(1, len(parts) + 1):
      tail = parts[-count:]
      if all(x == folder or x.parts[-count:] != tail for x in folders):
        break
    out[folder] = '/'.join(tail).lstrip(os.sep) or str(folder)
  return out


def read(folder: pathlib.Path, name: str) -> tuple[load.Run, list[str]]:
  """Reads a training run.

  Args:
    folder: Its logdir.
    name: What it is called; its arm.

  Returns:
    The run, and notes for the user.

  Raises:
    ConfigError: It can't be read, or no training episode has ended.
  """
  config = configlib.saved(folder)
  rows = logdirlib.read_metrics(folder)
  summary = logdirlib.read_summary(folder)
  last = logdirlib.last_step(folder) or 0
  planned = int(config['run.steps'])
  episodes = list(collect.read_episodes(folder, rows))
  if not episodes:
    raise errors.ConfigError(
        f'In the run in {str(folder)!r} no training episode has ended'
        f'{f", though it is at step {last:,}" if last else ""}: there is '
        'nothing to show yet. What is wrong with it, if anything: python -m '
        f'lore_plugin doctor {folder}')
  notes = []
  steps = planned
  if summary is None:
    # What an interrupted run has taken, and no more.
    steps = min(planned, last) if planned else last
    notes.append(
        f'{name} has not ended: its log goes to step {last:,} of '
        f'{planned:,}.')
    summary = unfinished(folder, rows)
  asked: dict[str, Any] = dict(
      calls=collect.read_calls(folder, summary, {}),
      asked_at=collect.read_questions(folder)
  ) if config.get('lore.enabled') else {}
  about = results.Record(
      suite=SUITE, arm=name, task=str(config['task']),
      seed=int(config['seed']), status='finished', steps=steps,
      summary=summary, envs=int(config['run.envs']), argv=None,
      replaced=(logdirlib.read_record(folder) or {}).get('replaced', {}),
      provider=(summary.get('advisor') or {}).get('provider', ''),
      seconds=summary.get('seconds'), steps_per_s=collect.read_speed(folder),
      **asked)
  if last < curves.WINDOW:
    notes.append(
        f'{name} is shorter than a window of {curves.WINDOW:,} steps, so that '
        'no curve is drawn.')
  return load.Run(
      about, table(results.EPISODES[len(results.RUN):], episodes),
      table(('step', *results.SERIES), list(collect.read_series(rows))),
      evaluated(folder), finished=True, logdir=folder), notes


def evaluated(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns columns of what the agent came to alone; {} for none."""
  rows = list(collect.read_alone(folder))
  return table(results.ALONE[len(results.RUN):], rows) if rows else {}


def unfinished(
    folder: str | os.PathLike, rows: Iterable[dict]) -> dict[str, Any]:
  """Returns what can be said in the place of a summary."""
  _, _, wins = logdirlib.read_outcomes(folder)
  counters: dict = {}
  for row in rows:
    counters.update(row)
  found = {
      k.removeprefix(ADVISOR): v for k, v in counters.items()
      if k.startswith(ADVISOR)}
  return {
      'measure': 'return' if wins is None else 'success',
      **({'advisor': {'calls': 0, **found}} if found else {})}


def table(
    names: Sequence[str], rows: Sequence[Sequence]) -> dict[str, np.ndarray]:
  """Returns columns by name. Shape [rows], f64; nan for an empty cell."""
  values = np.array(
      [[np.nan if x == '' else x for x in row] for row in rows], np.float64)
  values = values.reshape(len(rows), len(names))
  return {x: values[:, i] for i, x in enumerate(names)}
