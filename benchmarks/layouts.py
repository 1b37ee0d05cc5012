"""Counts how many starts a task has, and which training can have seen.

  python benchmarks/layouts.py [--tasks DoorKey-5x5 ...] [--episodes 100 500]

Two starts are the same where the whole grid, the agent's place and its heading
are. Training draws its layouts as a run of seed 0 with four environments does,
the evaluation 100 of its own in twenty, as at a run's end. Prints a JSON
object a task: distinct starts among all that were drawn (a lower bound of what
there are), and the share of the evaluation's that so many training episodes
had shown.
"""

import argparse
import itertools
import json

import numpy as np

from lore_plugin.worlds import seeds
from lore_plugin.worlds.minigrid import tasks

ENVS, LAYOUTS = 4, 100
JUDGES = 20  # Environments of an evaluation.


def starts(task, numbers):
  """Returns a name for each seed's start."""
  env = tasks.make_gym(task)
  out = []
  for number in numbers:
    env.reset(seed=number)
    inner = env.unwrapped
    out.append((
        inner.grid.encode().tobytes(), tuple(map(int, inner.agent_pos)),
        int(inner.agent_dir)))
  env.close()
  return out


def draw(task, count, envs, heldout, seed=0):
  """Returns the starts of each environment."""
  return [
      starts(task, itertools.islice(
          seeds.episode_seeds(seed, i, heldout), count // envs))
      for i in range(envs)]


def main():
  parser = argparse.ArgumentParser(
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument(
      '--tasks', nargs='+',
      default=['DoorKey-5x5', 'DoorKey-6x6', 'DoorKey-8x8'])
  parser.add_argument(
      '--episodes', nargs='+', type=int, default=[40, 100, 200, 500, 1000])
  args = parser.parse_args()
  for task in args.tasks:
    trained = draw(task, max(args.episodes), ENVS, heldout=False)
    judged = sum(draw(task, LAYOUTS, JUDGES, heldout=True), [])
    every = set(judged).union(*trained)
    shares = {}
    for count in args.episodes:
      known = {x for one in trained for x in one[:count // ENVS]}
      shares[str(count)] = float(np.mean([x in known for x in judged]))
    print(json.dumps({
        'task': task, 'distinct': len(every), 'drawn': max(args.episodes),
        'evaluated': len(judged), 'seen_after_episodes': shares}), flush=True)


if __name__ == '__main__':
  main()
