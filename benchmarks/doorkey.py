"""The first result: DoorKey-5x5 with and without advice, several seeds.

  python benchmarks/doorkey.py RUNS RESULTS [--seeds 5] [--jobs 2]

Each run is one process with one thread. Finished runs are kept; started again
after a stop, it goes on. RESULTS gets the per-episode rows, one summary and
the table of the README.
"""

import argparse
import concurrent.futures
import csv
import gzip
import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from lore_plugin import progress

LORE = ['--configs', 'minigrid', 'lore', '--lore.advisor.provider']
ARMS = {
    'uniform': ['--configs', 'minigrid', '--random_agent', 'True'],
    'rl-only': ['--configs', 'minigrid'],
    'lore-local': [*LORE, 'local'],
    'lore-scripted': [*LORE, 'scripted'],
    'lore-random': [*LORE, 'random'],
    'lore-adversarial': [*LORE, 'adversarial'],
}
STEPS = 12000
COLUMNS = (
    'suite', 'arm', 'task', 'seed', 'step', 'episode', 'success', 'score',
    'length', 'advised', 'calls')
ONE_THREAD = {
    'XLA_FLAGS': '--xla_cpu_multi_thread_eigen=false', 'OMP_NUM_THREADS': '1'}


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', type=pathlib.Path)
  parser.add_argument('results', type=pathlib.Path)
  parser.add_argument('--seeds', type=int, default=5)
  parser.add_argument('--jobs', type=int, default=2)
  parser.add_argument(
      '--arms', nargs='+', default=['uniform', 'rl-only', 'lore-local'],
      choices=ARMS)
  parser.add_argument('--collect', action='store_true', help='run nothing')
  args = parser.parse_args()
  if args.collect:
    collect(args.runs, args.results, sorted(
        (arm, int(seed)) for arm, _, seed in (
            x.name.rpartition('-') for x in args.runs.iterdir()
            if x.is_dir())))
    return
  todo = [(arm, seed) for seed in range(args.seeds) for arm in args.arms]
  args.runs.mkdir(parents=True, exist_ok=True)
  with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
    for (arm, seed), code in zip(todo, pool.map(
        lambda x: run(args.runs, *x), todo)):
      print(f'{arm} seed {seed}: ' + ('done' if not code else f'exit {code}'))
  collect(args.runs, args.results, todo)


def run(root, arm, seed):
  """Trains one agent unless that was done. Returns the exit code."""
  logdir = root / f'{arm}-{seed}'
  if (logdir / 'summary.json').exists():
    return 0
  command = [
      sys.executable, '-m', 'lore_plugin', *ARMS[arm],
      '--run.steps', str(STEPS), '--seed', str(seed),
      '--logdir', str(logdir)]
  logdir.mkdir(exist_ok=True)
  with (logdir / 'output.txt').open('a') as f:
    return subprocess.call(
        command, stdout=f, stderr=f, env={**os.environ, **ONE_THREAD})


def collect(root, results, todo):
  """Writes episodes.csv.gz, summary.json and table.md."""
  rows, runs = [], []
  for arm, seed in todo:
    logdir = root / f'{arm}-{seed}'
    path = logdir / 'summary.json'
    if not path.exists():
      runs.append({'arm': arm, 'seed': seed, 'crashed': True})
      continue
    summary = json.loads(path.read_text())
    summary['steps_to_goal'] = progress.steps_to(
        *progress.read_episodes(logdir), STEPS)
    runs.append({'arm': arm, 'seed': seed, **summary})
    rows += episodes(logdir, arm, seed, summary)
  results.mkdir(parents=True, exist_ok=True)
  text = io.StringIO()
  writer = csv.writer(text)
  writer.writerow(COLUMNS)
  writer.writerows(rows)
  # Without a time stamp, so that the same rows give the same file.
  (results / 'episodes.csv.gz').write_bytes(
      gzip.compress(text.getvalue().encode(), mtime=0))
  (results / 'summary.json').write_text(json.dumps(runs, indent=1) + '\n')
  (results / 'table.md').write_text(table(runs))
  print(table(runs))


def episodes(logdir, arm, seed, summary):
  lengths = {}
  for line in (logdir / 'metrics.jsonl').read_text().splitlines():
    row = json.loads(line)
    if 'episode/length' in row:
      lengths[row['step']] = int(row['episode/length'])
  advised = int('advisor' in summary)
  for i, (step, score) in enumerate(zip(*progress.read_episodes(logdir))):
    # Calls are counted for the run, in summary.json, not for the episode.
    yield ('doorkey', arm, summary['task'], seed, int(step), i,
           int(score > 0), round(float(score), 5), lengths.get(int(step), ''),
           advised, '')


def table(runs):
  lines = [
      '| arm | seed | 6k | 8k | 10k | so far at 6k | 8k | 10k | '
      '0.9 begins at | agent alone | calls | from cache | minutes |',
      '|---' * 13 + '|']
  rate = lambda x: '--' if x is None else f'{x:.2f}'
  for x in sorted(runs, key=lambda x: (x['arm'], x['seed'])):
    if x.get('crashed'):
      lines.append(f'| {x["arm"]} | {x["seed"]} | crashed |' + ' |' * 10)
      continue
    at = list(x['at'].values())
    advisor = x.get('advisor', {})
    low, high = x['alone']['interval']
    begin = x['steps_to_goal']
    begin = 'none' if begin is None else f'{begin:,}'
    lines.append(
        f'| {x["arm"]} | {x["seed"]} | '
        + ' | '.join(rate(y['window']) for y in at) + ' | '
        + ' | '.join(rate(y['cumulative']) for y in at) + ' | '
        + f'{begin} | {x["alone"]["success"]:.2f} '
        f'[{low:.2f}, {high:.2f}] | {advisor.get("calls", 0):.0f} | '
        + (f'{advisor["hit_rate"]:.3f}' if advisor else '--')
        + f' | {x["seconds"] / 60:.1f} |')
  for arm in ARMS:
    steps = [
        np.inf if x['steps_to_goal'] is None else x['steps_to_goal']
        for x in runs if x['arm'] == arm and not x.get('crashed')]
    if steps:
      middle = np.median(steps)
      begin = f'{middle:,.0f}' if np.isfinite(middle) else 'no step'
      lines.append(
          f'\n{arm}: the first 1,000-step window at 0.9 or more begins at '
          f'{begin} (median of {len(steps)} seeds).')
  return '\n'.join(lines) + '\n'


if __name__ == '__main__':
  main()
