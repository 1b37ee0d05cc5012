"""What each part of the call policy saves, and what it costs.

  python benchmarks/calls.py [--task DoorKey-5x5] [--steps 12000] [--seeds 3]

Walks through a real MiniGrid task in four environments. Where there is advice
an action is drawn from it, elsewhere, and in a fifth of all steps, any of
them: what an agent that has learned nothing yet would do. No agent is trained,
so that min_u, which needs one, stays off. The advice is that of
the scripted rules, the same for all. Printed as Markdown, means over seeds:

  calls      replies that were asked for
  coverage   share of the steps that had advice
  success    share of the episodes that ended at the goal
"""

import argparse
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lore_plugin.advisor import advisor as service  # noqa: E402
from lore_plugin.advisor import store as storelib  # noqa: E402
from lore_plugin.advisor.policy import Limits  # noqa: E402
from lore_plugin.advisor.providers.scripted import Scripted  # noqa: E402
from lore_plugin.worlds.minigrid.env import MiniGrid  # noqa: E402

ENVS = 4
ANY = 0.2  # Share of steps in which advice is not followed.
ARMS = {
    'no advice': (Limits(), 0),
    'unlimited': (Limits(), -1),
    'defaults, 98 calls': (Limits(), 98),
    'at most 30 calls': (Limits(), 30),
    'cooldown 20': (Limits(cooldown=20), -1),
    'macro': (Limits(macro=True), -1),
    'cooldown 20, macro, 98 calls': (Limits(cooldown=20, macro=True), 98),
}


def walk(task, limits, calls, steps, seed):
  """Returns calls, coverage and success rate of one walk."""
  envs = [
      MiniGrid(task, seed=ENVS * seed + i, text_bytes=2048)
      for i in range(ENVS)]
  actions = int(envs[0].act_space['action'].classes)
  advisor = service.Advisor(
      Scripted(), actions, limits=limits, caps=storelib.Caps(calls=calls))
  rng = np.random.default_rng(seed)
  acts = [{'action': 0, 'reset': True} for _ in envs]
  known = decisions = wins = episodes = 0
  for _ in range(steps // ENVS):
    obs = [env.step(act) for env, act in zip(envs, acts)]
    batch = lambda key, obs=obs: np.stack([x[key] for x in obs])
    states = batch('lore/state')
    advisor.consider(
        states, range(ENVS), np.zeros(ENVS), batch('reward'),
        batch('is_first'), batch('is_last'))
    prior, valid = advisor.lookup(states)
    known += valid.sum()
    decisions += ENVS
    probs = np.exp(prior - prior.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    for i in range(ENVS):
      free = not valid[i] or rng.random() < ANY
      acts[i] = {
          'action': rng.choice(actions, p=None if free else probs[i]),
          'reset': bool(obs[i]['is_last'])}
      if obs[i]['is_last']:
        episodes += 1
        wins += obs[i]['reward'] > 0
  made = advisor.stats()['calls']
  advisor.close()
  for env in envs:
    env.close()
  return made, known / decisions, wins / max(1, episodes)


def main(argv=None):
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('--task', default='DoorKey-5x5')
  parser.add_argument('--steps', type=int, default=12_000)
  parser.add_argument('--seeds', type=int, default=3)
  args = parser.parse_args(argv)
  print(f'{args.task}, {args.steps:,} steps, {args.seeds} seeds\n')
  print('| call policy | calls | coverage | success |')
  print('| --- | --- | --- | --- |')
  for name, (limits, calls) in ARMS.items():
    rows = [
        walk(args.task, limits, calls, args.steps, seed)
        for seed in range(args.seeds)]
    made, coverage, success = np.mean(rows, 0)
    print(
        f'| {name} | {made:.0f} | {coverage:.2f} | {success:.2f} |',
        flush=True)


if __name__ == '__main__':
  main()
