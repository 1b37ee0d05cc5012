"""How fast the advisor answers, and how little a slow one slows down a run.

  python benchmarks/advisor.py [--json]

Look-ups are timed on states of DoorKey-5x5 that have advice: in this process,
in batches of 16 and one by one, and over HTTP from a server process on
loopback, one by one and by eight clients at once. Runs step a real DoorKey-5x5
with random actions, and an advisor whose every call takes 0, 0.2 or 2 seconds;
their steps per second are given as ratios to the run whose advisor answers at
once, and beside them a run without advisor. Programs take turns, and medians
are given.

With --json the last line is one object: lookups_per_s, http_lookups_per_s,
async_2s, sync_2s, async_200ms, sync_200ms, none (ratios), lookup_us and
http_us (median of one), spread (smallest and largest of each).
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import pathlib
import statistics
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lore_plugin.advisor import advisor as service  # noqa: E402
from lore_plugin.advisor import store as storelib  # noqa: E402
from lore_plugin.advisor.providers.mock import Mock  # noqa: E402
from lore_plugin.advisor.remote import client as clientlib  # noqa: E402
from lore_plugin.advisor.remote import serve as servelib  # noqa: E402
from lore_plugin.advisor.remote import server as serverlib  # noqa: E402
from lore_plugin.worlds.minigrid.env import MiniGrid  # noqa: E402

BYTES = 2048
BATCH = 16
ACTIONS = 7


class Run:
  """A DoorKey-5x5 with random actions, and perhaps an advisor.

  Args:
    seconds: How long each call takes; None runs without advisor.
    ask: 'sync' or 'async'.
    calls: Calls that the run may make.
  """

  def __init__(self, seconds, ask, calls):
    self.env = MiniGrid('DoorKey-5x5', text_bytes=BYTES)
    self.rng = np.random.default_rng(0)
    self.advisor = None
    if seconds is not None:
      self.advisor = service.Advisor(
          Mock(seconds=seconds, paid=True), ACTIONS,
          service.Settings(ask=ask, timeout=60.0),
          caps=storelib.Caps(calls=calls))

  def __call__(self, steps):
    """Returns steps per second."""
    reset, last = True, False
    begun = time.perf_counter()
    for _ in range(steps):
      action = self.rng.integers(ACTIONS)
      obs = self.env.step({'action': action, 'reset': reset})
      reset = last = bool(obs['is_last'])
      if self.advisor:
        states = obs['lore/state'][None]
        self.advisor.consider(
            states, [0], [0.0], [obs['reward']], [obs['is_first']], [last])
        self.advisor.lookup(states)
    rate = steps / (time.perf_counter() - begun)
    if self.advisor:
      self.advisor.close()
    self.env.close()
    return rate


def collect(count=64):
  """Returns distinct states that have something to decide. Shape [B, N]."""
  env = MiniGrid('DoorKey-5x5', text_bytes=BYTES)
  rng = np.random.default_rng(0)
  advisor = service.Advisor(Mock(), ACTIONS)
  found, reset = {}, True
  while len(found) < count:
    obs = env.step({'action': rng.integers(ACTIONS), 'reset': reset})
    reset = bool(obs['is_last'])
    state = obs['lore/state']
    advisor.lookup(state[None])
    known = advisor.table.situation(state.tobytes())
    if not known.decided:
      question = known.question
      found.setdefault(question.key, (state, question.query))
  advisor.close()
  states, queries = zip(*found.values())
  return np.stack(states), queries


def lookups(states, seconds):
  """Returns look-ups per second in batches, and microseconds of a single one.
  """
  advisor = service.Advisor(Mock(), ACTIONS)
  for state in states:
    advisor.consider(state[None], [0], [0.0], [0.0], [False], [False])
  assert advisor.lookup(states)[1].all()
  count, begun = 0, time.perf_counter()
  while time.perf_counter() - begun < seconds:
    for i in range(0, len(states), BATCH):
      advisor.lookup(states[i: i + BATCH])
    count += len(states)
  rate = count / (time.perf_counter() - begun)
  single = clock(lambda i: advisor.lookup(states[i % len(states)][None]))
  advisor.close()
  return rate, single


def clock(fn, count=2000):
  """Returns the median microseconds of a call."""
  times = []
  for i in range(count):
    begun = time.perf_counter()
    fn(i)
    times.append(time.perf_counter() - begun)
  return 1e6 * statistics.median(times)


def serve(pipe):
  """Runs a server in a process of its own, until told to end."""
  server = serverlib.Server(
      servelib.askers([Mock()], storelib.Store(':memory:')))
  pipe.send(server.address)
  pipe.recv()
  server.close()


def http_lookups(queries, seconds):
  """Answers per second to 8 clients, and microseconds of a single one."""
  context = multiprocessing.get_context('spawn')
  ours, theirs = context.Pipe()
  process = context.Process(target=serve, args=(theirs,))
  process.start()
  address = ours.recv()
  clients = [clientlib.Remote(address) for _ in range(8)]
  for query in queries:
    clients[0].ask(query)
  begun = time.perf_counter()

  def work(client):
    count = 0
    while time.perf_counter() - begun < seconds:
      client.ask(queries[count % len(queries)])
      count += 1
    return count
  with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
    count = sum(pool.map(work, clients))
  rate = count / (time.perf_counter() - begun)
  single = clock(lambda i: clients[0].ask(queries[i % len(queries)]))
  for client in clients:
    client.close()
  ours.send('end')
  process.join()
  return rate, single


def main(argv=None):
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('--json', action='store_true')
  parser.add_argument('--steps', type=int, default=6000)
  parser.add_argument('--calls', type=int, default=20)
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--seconds', type=float, default=2.0)
  parser.add_argument(
      '--sync', type=int, default=1,
      help='repeats of the runs that wait, which take calls times latency')
  args = parser.parse_args(argv)

  results = {}
  note = lambda key, value: results.setdefault(key, []).append(value)
  states, queries = collect()
  for _ in range(args.repeats):
    for names, (rate, single) in (
        (('lookups_per_s', 'lookup_us'), lookups(states, args.seconds)),
        (('http_lookups_per_s', 'http_us'),
         http_lookups(queries, args.seconds))):
      note(names[0], rate)
      note(names[1], single)
  programs = {
      'none': (None, 'sync'), 'async_200ms': (0.2, 'async'),
      'async_2s': (2.0, 'async'), 'sync_200ms': (0.2, 'sync'),
      'sync_2s': (2.0, 'sync')}
  for repeat in range(args.repeats):
    base = Run(0.0, 'sync', args.calls)(args.steps)
    note('steps_per_s', base)
    for name, (seconds, ask) in programs.items():
      if ask == 'async' or seconds is None or repeat < args.sync:
        note(name, Run(seconds, ask, args.calls)(args.steps) / base)
  medians = {k: statistics.median(v) for k, v in results.items()}
  for name, value in medians.items():
    print(
        f'{name:22s} {value:12.3f}   '
        f'[{min(results[name]):.3f}, {max(results[name]):.3f}]')
  if args.json:
    spread = {k: [min(v), max(v)] for k, v in results.items()}
    print(json.dumps({**medians, 'spread': spread}))


if __name__ == '__main__':
  main()
