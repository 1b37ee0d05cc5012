"""What makes the runs of a suite cheaper on this machine.

  python benchmarks/suite.py [--steps 1200] [--rounds 2] [--json]

Short training runs without advice, all of one configuration, started in the
ways below in turn. `speed` is environment steps a second of all runs together
once they train; `start` is the seconds until a run has trained for the first
time, most of them compilation. None of the ways changes a result. Ratios are
to the first way; medians.

  alone      one run, which may use the whole machine
  together   one run for each core, on one thread each
  ordered    the same, with XLA's order of operations for one thread
  kept       the same, with memory that stays with the process
  compiled   the same, with the programs that the runs before compiled
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from lore_plugin.runs import plan

WAYS = ('alone', 'together', 'ordered', 'kept', 'compiled')


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--configs', nargs='+', default=['minigrid'])
  parser.add_argument('--steps', type=int, default=1200)
  parser.add_argument('--rounds', type=int, default=2)
  parser.add_argument('--json', action='store_true')
  args = parser.parse_args()
  rows = {x: [] for x in WAYS}
  with tempfile.TemporaryDirectory() as temp:
    for number in range(args.rounds):
      for way in WAYS:
        rows[way].append(measure(args, way, pathlib.Path(temp), number))
  result = {
      way: {k: round(statistics.median(x[k] for x in rows[way]), 2)
            for k in ('speed', 'start')} for way in WAYS}
  for way in WAYS[1:]:
    for key in ('speed', 'start'):
      result[way][f'{key}_ratio'] = round(statistics.median(
          x[key] / y[key] for x, y in zip(rows[way], rows['alone'])), 3)
  if args.json:
    print(json.dumps(result))
    return
  print('way        steps/s (ratio)    seconds to start (ratio)')
  for way, x in result.items():
    print(
        f'{way:<10} {x["speed"]:6.1f} ({x.get("speed_ratio", 1):.2f})'
        f'    {x["start"]:8.1f} ({x.get("start_ratio", 1):.2f})')


def measure(args, way, temp, number):
  """Runs one way once. Returns its speed and its start."""
  count = 1 if way == 'alone' else os.cpu_count() or 1
  cache = temp / str(number)
  env = {k: v for k, v in os.environ.items()
         if 'JAX_' not in k and k != 'GLIBC_TUNABLES'}
  if way != 'alone':
    env.update(plan.environment(1, temp, {}))
  if way == 'together':
    env['LORE_XLA_FLAGS'] = plan.ONE_THREAD[0]
  if way in WAYS[:3]:
    # The C library's own default, so that nothing else is tuned.
    env['GLIBC_TUNABLES'] = 'glibc.malloc.mmap_max=65536'
  env.pop('JAX_COMPILATION_CACHE_DIR', None)
  if way in ('kept', 'compiled'):
    env['JAX_COMPILATION_CACHE_DIR'] = str(cache)
  logdirs = [temp / f'{way}-{number}-{i}' for i in range(count)]
  began = time.time()
  processes = [
      subprocess.Popen(
          [sys.executable, '-m', 'lore_plugin', '--configs', *args.configs,
           '--logdir', str(logdir), '--seed', str(i), '--run.steps',
           str(args.steps), '--run.log_every', '2'],
          env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
      for i, logdir in enumerate(logdirs)]
  starts = [None] * count
  while any(x.poll() is None for x in processes):
    for i, logdir in enumerate(logdirs):
      if starts[i] is None and any('fps/train' in x for x in read(logdir)):
        starts[i] = time.time() - began
    time.sleep(0.1)
  if any(x.returncode for x in processes) or None in starts:
    raise SystemExit(f'A run failed: {way}.')
  speeds = [
      statistics.median(
          x['fps/policy'] for x in read(logdir)
          if 'fps/policy' in x and x['step'] > args.steps / 3)
      for logdir in logdirs]
  return {'speed': sum(speeds), 'start': statistics.mean(starts)}


def read(logdir):
  """Returns the whole lines of a run's metrics."""
  try:
    lines = (logdir / 'metrics.jsonl').read_text().splitlines(keepends=True)
  except FileNotFoundError:
    return []
  return [json.loads(x) for x in lines if x.endswith('\n')]


if __name__ == '__main__':
  main()
