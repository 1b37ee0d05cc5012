"""Files of a run with a JSON object a line, each about a step.

A run that was killed trains the steps since its last checkpoint anew. What it
wrote about them the first time stays in its files, and is no part of what the
run is: its episodes were lost with the agent that they taught. The steps of
the rows alone don't tell, as the first new row may be later than many of
those. So where a run goes on, a line says from which step:

  {"step": 1000, "lore/resumed": 1.0}

It has the form of what upstream's logger writes. In metrics.jsonl there are
other rows without the metric that a reader looks for. In scores.jsonl upstream
writes none without `episode/score`: whoever reads that file has to step over
this line, which alone tells where in that file the run went on.
"""

import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

RESUMED = 'lore/resumed'


def read(path: pathlib.Path, *needed: str) -> list[dict]:
  """Reads the rows that belong to a run, in the order of their steps.

  Dropped are rows later than a row, or a line about where the run goes on,
  that follows them, and lines cut short. Earlier versions wrote no such lines;
  of their runs rows stay that are not later than the next one.

  Args:
    path: The file; without it there are no rows.
    needed: Keys without which a row does not count.

  Returns:
    Rows in which `step` never falls.
  """
  rows: list[dict] = []
  try:
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
  except OSError:
    return rows
  for line in lines:
    try:
      row = json.loads(line)
      step = row['step']
      whole = RESUMED not in row and all(k in row for k in needed)
      while rows and rows[-1]['step'] > step:
        rows.pop()
    except (ValueError, KeyError, TypeError):
      continue
    if whole:
      rows.append(row)
  return rows


def resumed(step: int) -> dict[str, Any]:
  """Returns the row that says that a run goes on from a step."""
  return {'step': step, RESUMED: 1.0}


def append(path: pathlib.Path, row: dict[str, Any]) -> None:
  """Writes a row at the end of a file.

  A process that was killed may have left half a line, which would spoil the
  row that follows it. Where a run goes on is not said in a file that is not
  there, as nothing of it was lost.
  """
  if RESUMED in row and not path.exists():
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open('ab+') as f:
    if f.tell():
      f.seek(-1, os.SEEK_END)
      if f.read(1) != b'\n':
        f.write(b'\n')
    f.write((json.dumps(row) + '\n').encode())


def watch(
    step: Any, files: Iterable[tuple[pathlib.Path, int]]) -> None:
  """Lets the counter of a run's steps note in its files where it goes on.

  It does at the first step after a checkpoint was loaded: a run that refuses
  to go on has lost nothing yet.

  Args:
    step: The `elements.Counter` that upstream saves with the run.
    files: Paths, each with how many steps of the file are one of the counter.
  """
  load, increment = step.load, step.increment
  def loading(value):
    load(value)
    left = list(files)
    def first(*args, **kwargs):
      # Two threads may count; each file is one's.
      while left:
        path, factor = left.pop()
        append(path, resumed(int(value) * factor))
      step.increment = increment
      increment(*args, **kwargs)
    step.increment = first
  step.load = loading
