"""Made-up results of a suite, in the form in which `ablate` writes them."""

import csv
import gzip
import json

import numpy as np

from lore_plugin.play import record
from lore_plugin.runs import results

TASK = 'minigrid_DoorKey-5x5'
SERIES = ('beta', 'kl', 'lambda', 'temperature', 'trust', 'uplift')
ACTIONS = ('turn left', 'turn right', 'move forward')


def write(folder, arms, task=TASK, steps=8000, suite='suite', extra=(),
          rows=True, says=True):
  """Writes a folder of results.

  Args:
    folder: Where to.
    arms: Dict from an arm's name to a list with, for each seed, the step from
      which all episodes succeed; None where none does.
    task: The task.
    steps: Environment steps of each run.
    suite: The suite's name.
    extra: Further records for runs.json.
    rows: Whether the tables hold anything.
    says: Whether the environment says what a success is.
  """
  folder.mkdir(parents=True, exist_ok=True)
  runs, episodes, series = [], [], []
  for arm, seeds in arms.items():
    for seed, start in enumerate(seeds):
      runs.append(run(arm, seed, task, steps, suite))
      rng = np.random.default_rng(seed)
      for i, step in enumerate(range(50, steps + 1, 50)):
        won = start is not None and step > start
        episodes.append((
            suite, arm, task, seed, step, i, int(won) if says else '',
            0.9 * won, int(rng.integers(5, 50)),
            int(arm not in ('rl-only', 'alike')),
            min(i, 40) if arm != 'rl-only' else 0))
      for step in range(500, steps + 1, 500):
        if arm != 'rl-only':
          series.append((suite, arm, task, seed, step, *rng.random(
              len(SERIES)).round(3)))
  (folder / 'runs.json').write_text(json.dumps([*runs, *extra]))
  episodes, series = (episodes, series) if rows else ([], [])
  table(folder / 'episodes.csv.gz', results.EPISODES, episodes)
  table(folder / 'series.csv.gz', (*results.RUN, 'step', *SERIES), series)
  return folder


def run(arm, seed, task=TASK, steps=8000, suite='suite', **changes):
  """Returns the record of a finished run."""
  advisor = {} if arm == 'rl-only' else {
      'advisor': {'provider': 'scripted', 'calls': 40.0, 'money': 0.01}}
  return {
      'suite': suite, 'arm': arm, 'task': task, 'seed': seed,
      'status': 'finished', 'steps': steps, 'seconds': 100.0,
      'steps_per_s': 20.0, 'asked_at': [1, 1, 2, 7, 19] if advisor else None,
      'commit': 'c0ffee1234567890',
      'argv': ['--configs', 'minigrid', arm, '--seed', str(seed),
               '--logdir', f'somewhere/{arm}/{seed}'],
      'summary': {'alone': {'success': 0.9}, **advisor}, **changes}


def table(path, columns, rows):
  with gzip.open(path, 'wt', newline='', encoding='utf-8') as f:
    writer = csv.writer(f)
    writer.writerow(columns)
    writer.writerows(rows)


def record_episode(folder, length=5, advised=True, text='A door.'):
  """Writes one recorded episode; each step has a frame of its own."""
  episode = {
      'version': record.VERSION, 'task': TASK, 'seed': 0, 'step': 1000,
      'advice': advised, 'actions': 'greedy', 'run': 'run', 'episode': 0,
      'names': ACTIONS, 'success': 1, 'score': 0.9, 'length': length,
      'frames': [], 'steps': []}
  for i in range(length + 1):
    image = np.full((40, 40, 3), 40 * i, np.uint8)
    episode['frames'].append(record.encode(image))
    episode['steps'].append({
        'frame': i, 'text': f'{text} {i}', 'mission': 'get to the goal',
        'options': ['explore'], 'events': [],
        'advice': [0.8, 0.1, 0.1] if advised else None,
        'pi_wm': [0.2, 0.3, 0.5], 'pi_mix': [0.6, 0.1, 0.3],
        'beta': 1.5 - 0.1 * i, 'u': 0.5, 'parts': {'entropy': 0.9},
        'temperature': 1.0, 'trust': 1.0,
        'action': i % 3 if i < length else None,
        'reward': (0.9 if i == length - 1 else 0.0) if i < length else None})
  folder.mkdir(parents=True, exist_ok=True)
  (folder / f'{"advice" if advised else "alone"}.json.gz').write_bytes(
      gzip.compress(json.dumps(episode).encode()))
