"""What a call costs in a file of advice that has seen much.

  python benchmarks/store.py [--rows 1000000] [--replies 100000] [--json]

Fills one file with so many rows of the ledger and so many replies, and another
with none. In both an advisor opens the file, asks about states that nobody
knows, meets states that are stored, and writes its part of a checkpoint.
Medians of both are given, with their ratio: a run of a week is to cost what a
run of an hour does. With --json the last line is one object.
"""

import argparse
import json
import pathlib
import pickle
import resource
import statistics
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lore_plugin.advisor import advisor as service  # noqa: E402
from lore_plugin.advisor import rows as rowslib  # noqa: E402
from lore_plugin.advisor import store as storelib  # noqa: E402
from lore_plugin.advisor.providers.mock import Mock  # noqa: E402
from lore_plugin.advisor.types import Description, Option, Query  # noqa: E402

WORDS = ('left', 'right', 'forward')
OPTIONS = (Option('key', (0,)), Option('look', (1, 2)))
IDENTITY = storelib.Identity('mock', 'mock', 'subgoal-1')


def describe(text):
  return Description(text, 'get to the goal', WORDS, OPTIONS, version='b-1')


def encode(text):
  return describe(text).encode(512)[None]


def fill(path, rows, replies):
  """Writes a file as many runs would have left it."""
  store = storelib.Store(path, durable=False)
  query = lambda i: Query(
      describe(f'stored {i}'), ('key', 'look'), 'subgoal')
  with store._db.write() as db:
    db.executemany(
        'insert into ledger (account, key, status, tokens, money, owner,'
        " reserved) values ('run', ?, 'settled', 80, 0.0001, 'o', 1.0)",
        ((f'k{i}',) for i in range(rows)))
    db.executemany(
        f'insert into replies ({", ".join(rowslib.COLUMNS)}) values'
        f' ({", ".join("?" * len(rowslib.COLUMNS))})',
        (rowslib.columns(reply(query(i))) for i in range(replies)))
  store.close()


def reply(query):
  desc = query.description
  return {
      'key': storelib.reply_key(IDENTITY, query),
      'state': storelib.question_key(query), 'provider': 'mock',
      'model': 'mock', 'prompt': 'subgoal-1', 'describer': desc.version,
      'mode': query.mode, 'text': desc.text, 'mission': desc.mission,
      'candidates': query.candidates, 'scores': (0.0, -1.0),
      'raw': '{"score_1": 100, "score_2": 30}', 'parser': 1, 'tokens_in': 70,
      'tokens_out': 10, 'money': 0.0001, 'seconds': 0.5, 'created': 1.0}


def clock(fn, *args):
  begun = time.perf_counter()
  fn(*args)
  return 1e3 * (time.perf_counter() - begun)


def measure(path, calls, stored):
  """Returns milliseconds of each kind of work, and bytes of a checkpoint."""
  begun = time.perf_counter()
  advisor = service.Advisor(
      Mock(), len(WORDS), store=storelib.Store(path),
      caps=storelib.Caps(calls=10 ** 9, money=1e9))
  opened = 1e3 * (time.perf_counter() - begun)
  step = lambda text: advisor.consider(
      encode(text), [0], [0.0], [0.0], [False], [False])
  asked = [clock(step, f'new {i}') for i in range(calls)]
  asked_again = [
      clock(step, f'stored {i}') for i in stored] or [0.0]
  saved = [clock(advisor.save) for _ in range(9)]
  size = len(pickle.dumps(advisor.save()))
  advisor.close()
  return {
      'open_ms': opened, 'ask_ms': statistics.median(asked),
      'stored_ms': statistics.median(asked_again),
      'save_ms': statistics.median(saved), 'checkpoint_bytes': size}


def main(argv=None):
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('--json', action='store_true')
  parser.add_argument('--rows', type=int, default=1_000_000)
  parser.add_argument('--replies', type=int, default=100_000)
  parser.add_argument('--calls', type=int, default=200)
  args = parser.parse_args(argv)
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    fill(folder / 'small.sqlite', 0, args.calls)
    fill(folder / 'large.sqlite', args.rows, args.replies)
    some = np.linspace(0, args.replies - 1, args.calls).astype(int)
    small = measure(folder / 'small.sqlite', args.calls, range(args.calls))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large = measure(folder / 'large.sqlite', args.calls, some)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  print(f'{"":18s}{"empty":>12s}{"large":>12s}{"ratio":>8s}')
  for name, value in small.items():
    print(
        f'{name:18s}{value:12.3f}{large[name]:12.3f}'
        f'{large[name] / value:8.2f}')
  print(f'memory that the large one took: {grown / 1024:.1f} MB')
  if args.json:
    print(json.dumps({'empty': small, 'large': large, 'memory_kb': grown}))


if __name__ == '__main__':
  main()
