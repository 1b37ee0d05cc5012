"""What runs beside advisors that mean harm followed, and what it cost.

  python -m lore_plugin ablate adversaries --out runs --jobs 2
  python benchmarks/adversaries.py runs/adversaries --out followed.csv.gz
  python benchmarks/adversaries.py --table followed.csv.gz

The first command trains; see lore_plugin/runs/adversaries.py for the rules.
The second puts together what each run wrote of its advisor: a row for some 50
steps, with how many of them followed advice, how many of these the adversary
had turned, and in how many advice was held for proven. The third prints, for
each run, as Markdown:

  turned  the first step at which turned advice was followed
  off     steps from there on until advice is neither followed in three of ten
          steps, over 400, nor held for proven, and stays so for at least 400
          steps, to the end of the run
  each thousand steps: the share of steps that followed turned advice
"""

import argparse
import csv
import gzip
import pathlib
import urllib.parse

import numpy as np

from lore_plugin import lines
from lore_plugin import logdir
from lore_plugin.runs import adversaries
from lore_plugin.runs import results

COLUMNS = (
    'arm', 'task', 'seed', 'step', 'followed', 'turned', 'proven', 'shown')
# As in trust.py: the window, and below which share advice is off.
OVER, OFF = 400, 0.3


def read(root: pathlib.Path) -> list[dict]:
  """Returns the rows of all finished runs below a suite's folder.

  Those of others are left out, and their names are printed.
  """
  rows = []
  for folder in sorted(x.parent for x in root.glob('*/*/*/run.json')):
    record = logdir.read_record(folder) or {}
    if not record.get('replaced', {}).get('adversary'):
      continue
    if not logdir.read_summary(folder):
      print(f'Not finished, left out: {folder}')
      continue
    arm, task, seed = folder.relative_to(root).parts[:3]
    rows += [{
        'arm': arm, 'task': urllib.parse.unquote(task), 'seed': seed, **x}
        for x in lines.read(folder / adversaries.NAME)]
  return rows


def measure(rows: list[dict]) -> dict:
  """Returns the figures of one run, from its rows in the order of steps."""
  step, followed, turned, proven = (
      np.array([int(x[k]) for x in rows], float)
      for k in ('step', 'followed', 'turned', 'proven'))
  before = np.r_[0.0, step[:-1]]
  thousands = [
      float(turned[x].sum() / (step - before)[x].sum())
      for k in range(int(np.ceil(step[-1] / 1000)))
      if (x := (step > 1000 * k) & (step <= 1000 * (k + 1))).any()]
  out = {'followed': int(followed.sum()), 'turned': int(turned.sum()),
         'thousands': thousands, 'first': None, 'off': None}
  if not turned.any():
    return out
  first = int(np.argmax(turned > 0))
  out['first'] = int(step[first])
  share = np.array([
      followed[(step > x - OVER) & (step <= x)].sum() / min(OVER, x)
      for x in step])
  busy = np.flatnonzero((share >= OFF) | (proven > 0))
  busy = busy[busy >= first]
  if not len(busy):
    out['off'] = 0
  elif step[-1] - step[busy[-1]] >= OVER:
    out['off'] = int(step[busy[-1]] - step[first])
  return out


def table(rows: list[dict]) -> None:
  """Prints the figures of all runs as Markdown."""
  runs: dict[tuple, list[dict]] = {}
  for row in rows:
    runs.setdefault((row['arm'], row['task'], row['seed']), []).append(row)
  most = max(int(x['step']) for x in rows)
  count = -(-most // 1000)
  head = [
      'arm', 'task', 'seed', 'turned', 'off', 'followed', 'of it turned',
      *(f'{k + 1},000' for k in range(count))]
  print('| ' + ' | '.join(head) + ' |\n|' + '---|' * len(head))
  for names, group in runs.items():
    x = measure(group)
    name = lambda v: 'never' if v is None else f'{v:,}'
    shares = [f'{y:.2f}' for y in x['thousands']]
    cells = [*names, name(x['first']),
             name(x['off']) if x['first'] is not None else '',
             name(x['followed']), name(x['turned']), *shares]
    print('| ' + ' | '.join(cells) + ' |')


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('folder', nargs='?', type=pathlib.Path,
                      help="The suite's folder, with its runs.")
  parser.add_argument('--out', type=pathlib.Path, default='followed.csv.gz')
  parser.add_argument('--table', type=pathlib.Path)
  args = parser.parse_args(argv)
  if args.table:
    with gzip.open(args.table, 'rt', encoding='utf-8') as f:
      return table(list(csv.DictReader(f)))
  if not args.folder:
    parser.error('Give the folder of a suite, or --table FILE.')
  rows = read(args.folder)
  if not rows:
    parser.error(f'No finished run with an adversary below {args.folder}.')
  results.write_table(
      args.out, COLUMNS, ([x[k] for k in COLUMNS] for x in rows))
  return table(rows)


if __name__ == '__main__':
  main()
