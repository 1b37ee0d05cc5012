"""Plays advice without an agent: what a wide open gate does at first.

  python benchmarks/advice_alone.py [--task DoorKey-5x5] [--episodes 200]

Actions are drawn from softmax(advice), as of an agent that is uniform itself
and a gate that is wide open (beta_max = T). Prints one JSON object an advisor:
success with Wilson's 95 % interval, mean and median length, calls.
"""

import argparse
import json

import numpy as np

from lore_plugin import status
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import ground
from lore_plugin.advisor import providers
from lore_plugin.advisor import types
from lore_plugin.worlds.minigrid import env as minigrid

TEXT_BYTES = 8192
SECTION = {'model': '', 'threads': 1, 'timeout': 60.0, 'url': ''}


def play(name, task, episodes, seed):
  """Plays whole episodes. Returns what is printed of them."""
  env = minigrid.MiniGrid(task, seed=seed, text_bytes=TEXT_BYTES)
  actions = int(env.act_space['action'].high)
  advisor = service.Advisor(
      providers.create(name, SECTION, 0), actions,
      service.Settings(mode='subgoal', ask='sync', timeout=3600.0))
  rng = np.random.default_rng(0)
  known, wins, lengths = {}, [], []
  action, reset, length = 0, True, 0
  while len(wins) < episodes:
    obs = env.step({'action': action, 'reset': reset})
    reset = bool(obs['is_last'])
    if reset:
      wins.append(float(obs['reward']) > 0)
      lengths.append(length)
      length = 0
      continue
    length += 1
    state = np.asarray(obs['lore/state'])
    if state.tobytes() not in known:
      known[state.tobytes()] = advise(advisor, state)
    action = int(rng.choice(actions, p=known[state.tobytes()]))
  calls = advisor.stats()['calls']
  advisor.close()
  env.close()
  return {
      'advice': name, 'task': task, 'episodes': episodes, 'seed': seed,
      'success': float(np.mean(wins)),
      'interval': status.wilson(int(np.sum(wins)), episodes),
      'length': float(np.mean(lengths)),
      'median': float(np.median(lengths)), 'calls': int(calls)}


def advise(advisor, state):
  """Returns the probability of each action in a state. Shape [A], f32."""
  zeros, nos = np.zeros(1, np.float32), np.zeros(1, bool)
  advisor.consider(state[None], [0], zeros, zeros, nos, nos)
  prior, valid = advisor.lookup(state[None])
  mask = ground.advisable(types.Description.decode(state))
  logits = prior[0] if valid[0] else np.zeros(len(mask))
  probs = ground.softmax(np.where(mask, logits, -np.inf)).astype(np.float64)
  return probs / probs.sum()


def main():
  parser = argparse.ArgumentParser(
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--task', default='DoorKey-5x5')
  parser.add_argument(
      '--advice', nargs='+', default=['scripted', 'local', 'random'])
  parser.add_argument('--episodes', type=int, default=200)
  parser.add_argument('--seed', type=int, default=1000)
  args = parser.parse_args()
  for name in args.advice:
    print(json.dumps(play(name, args.task, args.episodes, args.seed)))


if __name__ == '__main__':
  main()
