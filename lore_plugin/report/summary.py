"""Turns runs into figures, statistics and one page that needs no network.

  python -m lore_plugin report DIR... [--open] [--out FOLDER]
      [--recordings FOLDER] [--reference rl-only] [--mixed-commits]

Each DIR is the logdir of a training run, also of one that still trains, or a
folder of results as `python -m lore_plugin ablate` writes it: episodes.csv.gz,
runs.json.gz and, if there is one, series.csv.gz. Several runs are compared.
The page of a logdir also tells what the advisor was asked. Recorded episodes
are taken from DIR/recordings and from --recordings, where `python -m
lore_plugin evaluate LOGDIR --record FOLDER` puts them.

Writes index.html, statistics.json with the statistics, and the figures as PNG
and SVG, each for a light and a dark page, to --out: by default DIR/report, or
./report if there are several.
"""

import argparse
import json
import math
import os
import pathlib
import shlex
import sys
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import errors
from .. import logdir as places
from .. import curves
from ..play import record
from . import load
from . import stats
from . import training
from . import words

REFERENCE = 'rl-only'


def main(argv: Sequence[str] | None = None) -> None:
  """Writes a report.

  Raises:
    LoreError: The results can't be read, or must not be put together.
  """
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin report', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add('folders', nargs='+', metavar='DIR',
      help='logdirs, or folders of results')
  add('--open', action='store_true', help='show the page in a browser')
  add('--out', help='where to write to (DIR/report)')
  add('--recordings', action='append', default=[],
      help='folder of recorded episodes; may be repeated')
  add('--reference', default=REFERENCE,
      help='arm that others are compared with (rl-only)')
  add('--mixed-commits', action='store_true',
      help='show runs of several commits in one figure')
  add('--reps', type=int, default=stats.REPS,
      help='permutations drawn for a p value at most (10000)')
  args = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
  if args.reps < 100:
    raise errors.ConfigError(
        f'--reps is {args.reps}, but a p value needs at least 100.')
  page = write(
      [places.expand(x) for x in args.folders],
      args.out and places.expand(args.out),
      [places.expand(x) for x in args.recordings], args.reference, args.reps,
      args.mixed_commits)
  print(f'Report: {page}')
  if args.open:
    show(page)
  first = places.expand(args.folders[0])
  if training.is_run(first) and not (first / 'recordings').exists():
    name = shlex.quote(args.folders[0].rstrip('/'))
    print(
        f'Next: python -m lore_plugin evaluate {name} --record '
        f'{name}/recordings, for episodes to watch in the page')


def show(page: pathlib.Path) -> None:
  """Opens a page in the user's browser, if there is one."""
  try:
    opened = webbrowser.open(page.resolve().as_uri())
  except webbrowser.Error:
    opened = False
  if not opened:
    print('No browser was found here. Copy the page, which is one file, to '
          'where there is one.')


def write(
    folders: Sequence[str | os.PathLike], out: str | os.PathLike | None = None,
    recordings: Iterable[str | os.PathLike] = (), reference: str = REFERENCE,
    reps: int = stats.REPS, mixed: bool = False) -> pathlib.Path:
  """Writes figures, statistics and the page; see the module's text.

  Args:
    folders: Logdirs and folders of results.
    out: Folder to write to, or None for the default.
    recordings: More folders of recorded episodes.
    reference: The arm that others are compared with, where a suite has it.
    reps: Permutations drawn for a p value at most.
    mixed: Whether a figure may show runs of several commits.

  Returns:
    Path of the page.

  Raises:
    LoreError: The results can't be read, or must not be put together.
  """
  # Drawing needs the extra; say so before anything is computed.
  require()
  from . import figures
  from . import page as viewer
  runs, notes = training.load_all([*map(pathlib.Path, folders)])
  if not mixed:
    load.check_commits(runs)
  if not out:
    out = pathlib.Path(folders[0]) / 'report' if len(folders) == 1 else (
        pathlib.Path('report'))
  out = pathlib.Path(out)
  episodes, more = recorded(folders, recordings)
  sections = [
      summarise(group, reference, reps)
      for group in load.grouped(runs).values()]
  summary = {
      'sources': [pathlib.Path(x).resolve().name for x in folders],
      'command': 'python -m lore_plugin report ' + ' '.join(
          pathlib.Path(x).name for x in folders),
      'method': words.METHOD, 'notes': notes + more, 'sections': [
          {k: v for k, v in x.items() if k != 'runs'} for x in sections]}
  summary = plain(summary)
  out.mkdir(parents=True, exist_ok=True)
  (out / 'statistics.json').write_text(
      json.dumps(summary, indent=1) + '\n', encoding='utf-8')
  drawn = [figures.draw(x, out, alone=len(sections) == 1) for x in sections]
  page = out / 'index.html'
  page.write_text(
      viewer.page(summary, sections, drawn, episodes), encoding='utf-8')
  return page


def recorded(
    folders: Iterable[str | os.PathLike],
    recordings: Iterable[str | os.PathLike]) -> tuple[list[dict], list[str]]:
  """Returns recorded episodes, and notes on those that can't be read."""
  places = [x for x in (pathlib.Path(f) / 'recordings' for f in folders)
            if x.is_dir()]
  for place in map(pathlib.Path, recordings):
    if not place.is_dir():
      raise errors.ConfigError(
          f'There is no folder {str(place)!r} of recordings. Make it with '
          '`python -m lore_plugin evaluate LOGDIR --record FOLDER`.')
    places.append(place)
  episodes: list[dict] = []
  notes: list[str] = []
  for place in places:
    found, more = record.read(place)
    episodes += found
    notes += more
  return episodes, notes


def require() -> None:
  """Raises a LoreError unless matplotlib can be imported."""
  try:
    import matplotlib  # noqa: F401
  except ImportError as e:
    raise errors.LoreError(
        f'Figures need matplotlib, which can\'t be imported ({e}). Type: '
        'pip install \'lore-dreamerv3[report]\', or in the folder of LoRe: '
        'pip install \'.[report]\'') from e


def summarise(
    runs: Sequence[load.Run], reference: str = REFERENCE,
    reps: int = stats.REPS) -> dict[str, Any]:
  """Computes the statistics of one suite on one task.

  Returns:
    A dict with `suite`, `task`, `reference` (None where the suite lacks it),
    `arms`, `comparisons`, `findings`, `warnings`, and `runs`, the finished
    ones by arm.
  """
  names = list(dict.fromkeys(x.about.arm for x in runs))
  # The reference first; it is drawn in the same way everywhere.
  names.sort(key=lambda x: x != reference)
  groups = {k: [x for x in runs if x.about.arm == k] for k in names}
  filled = {
      k: done for k, v in groups.items()
      if (done := [x for x in v if x.finished])}
  base = reference if reference in filled else None
  done = [x for v in filled.values() for x in v]
  # Beyond the shortest run nothing is known of all.
  limit, stop = min(x.steps for x in done), load.settled(done)
  measure = max((x.measure for x in done), key=lambda x: x == 'return')
  section: dict[str, Any] = {
      'suite': runs[0].about.suite, 'task': runs[0].about.task,
      'reference': base, 'goal': curves.GOAL, 'limit': limit, 'stop': stop,
      'evaluated': load.evaluated(done),
      'measure': measure,
      'steps': sorted({x.steps for x in done}),
      'arms': {
          k: describe(v, limit, stop, words.BOUNDS[measure])
          for k, v in groups.items()},
      'comparisons': compare(
          filled, base, limit, stop, words.BOUNDS[measure], reps,
          len(groups) - 1) if base and len(filled) > 1 else {},
      'runs': filled}
  section['warnings'] = words.warn(section, reference)
  section['findings'] = [
      finding for k, x in section['comparisons'].items() if base
      for finding in words.find(k, base, x, section)]
  return section


def describe(
    runs: Sequence[load.Run], limit: int, stop: int,
    bounds: tuple[float, float]) -> dict[str, Any]:
  """Returns the figures of one arm; see `load.settled`, `words.BOUNDS`."""
  done = [x for x in runs if x.finished]
  out: dict[str, Any] = {
      'seeds': [x.about.seed for x in done], 'finished': len(done),
      'crashed': sum(x.status == 'crashed' for x in runs),
      'missing': sum(x.status == 'missing' for x in runs),
      'repeated': [x.about.seed for x in done if x.about.failures],
      'evaluated': load.evaluated(done),
      # The folder of a single run does not tell.
      'commits': sorted({
          c for x in done if not x.logdir for c in x.commits}),
      'configuration': load.configuration(
          runs[0].about.argv, runs[0].about.replaced),
      'steps': max(x.steps for x in runs)}
  if not done:
    return out
  for name, times in (
      ('steps_to_goal', [x.outcome() for x in done]),
      ('alone_steps', [x.alone() for x in done])):
    out[name] = stats.restricted([x for x, _ in times], limit)
    out[f'{name}_reached'] = sum(x <= limit and y for x, y in times)
  out['at'] = {}
  for mark in (x for x in curves.MARKS if x <= stop):
    here = known(
        x.windows(stop)[mark // curves.WINDOW - 1] for x in done)
    sofar = known(x.between(0, mark) for x in done)
    if here and sofar:
      out['at'][mark] = {
          'window': stats.estimate(here, *bounds),
          'cumulative': stats.estimate(sofar, *bounds)}
  heldout = known(x.heldout(limit) for x in done)
  out['alone'] = stats.estimate(heldout, *bounds) if heldout else None
  out['alone_mean'] = float(np.mean(heldout)) if heldout else None
  out['calls'] = [x.calls() for x in done]
  out['money'] = [x.money() for x in done]
  speeds = known(x.about.steps_per_s for x in done)
  out['steps_per_s'] = float(np.median(speeds)) if speeds else None
  return out


def known(values: Iterable[float | None]) -> list[float]:
  """Drops None and nan."""
  return [float(x) for x in values if x is not None and not math.isnan(x)]


def compare(
    filled: Mapping[str, Sequence[load.Run]], base: str, limit: int,
    stop: int, bounds: tuple[float, float], reps: int,
    planned: int) -> dict[str, dict[str, Any]]:
  """Compares every arm with the reference.

  Returns:
    Dict from an arm to its outcomes, see `words.NAMES` (an `Estimate`, or None
    where it was not measured), with p values corrected over the arms that were
    planned, and by the same names `improvement`, `ceiling` and `needed` of the
    times; `planned`, `paired` and `least_p`; see `stats`.
  """
  measures = {
      'alone_steps': lambda x: x.alone()[0],
      'steps': lambda x: x.outcome()[0],
      'final': lambda x: x.between(stop - 3 * curves.WINDOW, stop),
      'alone': lambda x: x.heldout(limit)}
  # By seed, without those that have no such value.
  values = {name: {k: {
      x.about.seed: float(y) for x in v
      if (y := measure(x)) is not None and not math.isnan(y)}
      for k, v in filled.items()} for name, measure in measures.items()}
  others = [x for x in filled if x != base]
  told = {k: load.evaluated(v) for k, v in filled.items()}
  found: dict[str, dict[str, stats.Estimate]] = {}
  for name, arms in values.items():
    found[name] = {}
    for arm in others:
      mine, theirs, paired = pair(arms[arm], arms[base])
      if not mine or not theirs:
        continue
      if not name.endswith('steps'):
        found[name][arm] = stats.difference(
            mine, theirs, bounds[1], reps, paired)
      elif name == 'steps' or told[arm] == told[base]:
        found[name][arm] = stats.ratio(mine, theirs, limit, reps, paired)
    found[name] = stats.holm(found[name], planned)
  times = {name: {k: list(x.values()) for k, x in arms.items()}
           for name, arms in values.items() if name.endswith('steps')}
  # Of the reference alone, so the same for all arms.
  most = {name: stats.ceiling(x[base], limit) for name, x in times.items()}
  seeds = {name: stats.needed(x[base], limit, planned=planned)
           if len(x[base]) > 1 else None for name, x in times.items()}
  out: dict[str, dict[str, Any]] = {}
  for arm in others:
    mine, theirs, paired = pair(values['steps'][arm], values['steps'][base])
    out[arm] = {
        **{k: v.get(arm) for k, v in found.items()},
        'planned': planned, 'paired': paired,
        'least_p': stats.least_p(len(mine), len(theirs), planned, paired),
        'improvement': {
            name: stats.improvement(x[arm], x[base], limit)
            for name, x in times.items()},
        'ceiling': most, 'needed': seeds}
  return out


def pair(
    mine: Mapping[int, float], theirs: Mapping[int, float]
) -> tuple[list[float], list[float], bool]:
  """Returns the values of two arms, and whether they are pairs of seeds.

  They are where both have the same seeds, and enough of them: fewer than six
  pairs can never show anything.
  """
  paired = mine.keys() == theirs.keys() and len(mine) >= stats.ENOUGH
  one, two = ([x[k] for k in sorted(x)] for x in (mine, theirs))
  return one, two, paired


def plain(x: Any) -> Any:
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
