"""Plays advice without an agent: what a wide open gate does at first.

  python benchmarks/advice_alone.py [--task DoorKey-5x5] [--episodes 20]
      [--draws 10] [--advice NAME ...]

Actions are drawn from softmax(advice), as of an agent that is uniform itself
and a gate that is wide open (beta_max = T). Besides the providers there are
`uniform`, a policy that draws any action, and `no-preference`, which likes all
choices alike, and so shows what the ways to them are worth without a model.

Each draw has its own environment, and its own advice where that is drawn at
random. Prints one JSON object for each advice: successes of each draw, their
mean with Student's 95 % interval over draws, lengths, calls, the commit.
`python -m lore_plugin judge` follows the best choice to its end instead.
"""

import argparse
import json
import subprocess

import numpy as np

from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import ground
from lore_plugin.advisor import providers
from lore_plugin.advisor import types
from lore_plugin.advisor.providers import uniform
from lore_plugin.report import stats
from lore_plugin.worlds.minigrid import env as minigrid

TEXT_BYTES = 8192
SECTION = {'model': '', 'threads': 1, 'timeout': 60.0, 'url': ''}
UNIFORM, FLAT = 'uniform', 'no-preference'
# What these advise depends on a seed, so that each draw asks anew.
DRAWN = ('random', 'shuffled')
SEED = 1000


def play(name, task, episodes, draws):
  """Plays whole episodes. Returns what is printed of them."""
  known, calls, rates, lengths = {}, 0, [], []
  for draw in range(draws):
    if name in DRAWN:
      known = {}
    env = minigrid.MiniGrid(task, seed=SEED + draw, text_bytes=TEXT_BYTES)
    actions = int(env.act_space['action'].high)
    advisor = None if name == UNIFORM else service.Advisor(
        uniform.Uniform() if name == FLAT
        else providers.create(name, SECTION, draw),
        actions, service.Settings(mode='subgoal', ask='sync', timeout=3600.0))
    found = rollout(env, advisor, known, episodes, draw)
    rates.append(float(np.mean([won for won, _ in found])))
    lengths += [length for _, length in found]
    if advisor:
      calls += int(advisor.stats()['calls'])
      advisor.close()
    env.close()
  mean = stats.estimate(rates, 0.0, 1.0, cut=0.0).plain()
  return {
      'advice': name, 'task': task, 'episodes': episodes * draws,
      'successes': round(sum(rates) * episodes), 'success': mean['value'],
      'interval': mean['interval'], 'draws': rates,
      'length': float(np.mean(lengths)),
      'median': float(np.median(lengths)), 'calls': calls,
      'commit': commit()}


def rollout(env, advisor, known, episodes, seed):
  """Returns success and length of each episode."""
  rng = np.random.default_rng(seed)
  actions = int(env.act_space['action'].high)
  out, action, reset, length = [], 0, True, 0
  while len(out) < episodes:
    obs = env.step({'action': action, 'reset': reset})
    reset = bool(obs['is_last'])
    if obs['is_first']:
      length = 0
    if reset:
      out.append((float(obs['reward']) > 0, length))
      continue
    length += 1
    if advisor is None:
      action = int(rng.integers(actions))
      continue
    state = np.asarray(obs['lore/state'])
    if state.tobytes() not in known:
      known[state.tobytes()] = advise(advisor, state)
    action = int(rng.choice(actions, p=known[state.tobytes()]))
  return out


def advise(advisor, state):
  """Returns the probability of each action in a state. Shape [A], f32."""
  zeros, nos = np.zeros(1, np.float32), np.zeros(1, bool)
  advisor.consider(state[None], [0], zeros, zeros, nos, nos)
  prior, valid = advisor.lookup(state[None])
  mask = ground.advisable(types.Description.decode(state))
  logits = prior[0] if valid[0] else np.zeros(len(mask))
  probs = ground.softmax(np.where(mask, logits, -np.inf)).astype(np.float64)
  return probs / probs.sum()


def commit():
  found = subprocess.run(
      ['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True)
  return found.stdout.strip() or None


def main():
  parser = argparse.ArgumentParser(
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--task', default='DoorKey-5x5')
  parser.add_argument('--advice', nargs='+', default=[
      'local', 'scripted', 'shuffled', FLAT, 'random', 'adversarial', UNIFORM])
  parser.add_argument('--episodes', type=int, default=20)
  parser.add_argument('--draws', type=int, default=10)
  args = parser.parse_args()
  for name in args.advice:
    print(json.dumps(
        play(name, args.task, args.episodes, args.draws)), flush=True)


if __name__ == '__main__':
  main()
