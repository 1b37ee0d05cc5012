"""Advice that learns, without an agent: which rule loses least to a bad model?

  python benchmarks/experience.py [--tasks BlockedUnlockPickup-v0 ...]
      [--accuracy 0 0.5 1] [--rules learned ...] [--steps 2000] [--seeds 3]

The advisor is simulated: in a share of the questions (`--accuracy`, drawn
once for each question) it prefers what the rules of `scripted` prefer, in the
others one of the other choices. `placebo` prefers nothing. The rules:

  follow     the preferred choice, no experience
  none       Thompson sampling by outcomes, the model has no say
  fixed      the same, the model shifts prior means by the first slope for ever
  posterior  the same, the slope is learned
  learned    as lore_plugin.advisor.experience does it: `posterior`, and in
             some episodes the model's own order, drawn by their returns
  mixture    experts after EXP4 (Auer et al. 2002): the model, any choice, and
             the best mean rank so far, weighted for each question

Prints a JSON object for each run: success and mean return of all episodes and
of those that began in the second half of the steps.
"""

import argparse
import json
import math

import numpy as np

from lore_plugin import config as configlib
from lore_plugin import curves
from lore_plugin import worlds
from lore_plugin.advisor import experience
from lore_plugin.advisor import ground
from lore_plugin.advisor import types
from lore_plugin.advisor.providers import flawed
from lore_plugin.advisor.providers import scripted

# Slope, certainty, what is expected of the model's own order.
NEVER = -1e9
RULES = {
    'none': (0.0, 1e9, NEVER),
    'fixed': (experience.SLOPE, 1e9, NEVER),
    'posterior': (experience.SLOPE, experience.CERTAINTY, NEVER),
    'learned': (
        experience.SLOPE, experience.CERTAINTY, experience.MODEL)}
STRENGTH = 4.0


class Mixture(experience.Experience):
  """Experts in the place of a posterior."""

  RATE, EXPLORE = 0.5, 0.1

  def __init__(self, seed):
    super().__init__(seed)
    self.gains, self.pending = {}, {}

  def choose(self, env, question, choices, can, scores=None):
    episode = self._episode(env)
    now = episode.pursuits[-1] if episode.pursuits else None
    if now and now.question == question and now.choice in can:
      return now.choice
    gains = self.gains.setdefault(question, np.zeros(3))
    weights = ground.softmax(self.RATE * gains)
    advice = self._advice(question, choices, can, scores)
    probs = (1 - self.EXPLORE) * weights @ advice + self.EXPLORE / len(can)
    i = self.rng.choice(len(can), p=probs / probs.sum())
    self.pending.setdefault((question, can[i]), []).append(
        advice[:, i] / probs[i])
    episode.pursuits.append(experience.Pursuit(question, can[i]))
    return can[i]

  def _advice(self, question, choices, can, scores):
    """Returns the probabilities of each expert. Shape [3, K]."""
    likes = dict(zip(choices, scores if scores is not None else
                     np.zeros(len(choices))))
    model = ground.softmax(np.array([likes[x] for x in can]))
    known = self.known(question)
    means = np.array([known.get(x, (0.5, 0))[0] for x in can])
    best = (means == means.max()) / (means == means.max()).sum()
    return np.stack([model, np.full(len(can), 1 / len(can)), best])

  def _add(self, pursuit, value):
    super()._add(pursuit, value)
    rank = experience.ranks(self.outcomes[pursuit.question])[-1]
    waiting = self.pending.get((pursuit.question, pursuit.choice))
    if waiting:
      self.gains[pursuit.question] += waiting.pop(0) * (rank - 0.5)


class Follow:
  """The preferred choice that can be begun, kept until its question ends."""

  def __init__(self, seed):
    self.rng = np.random.default_rng(seed)
    self.now = {}

  def begin(self, env):
    self.now.pop(env, None)

  def choose(self, env, question, choices, can, scores=None):
    if self.now.get(env, (None, None))[0] != question or (
        self.now[env][1] not in can):
      likes = dict(zip(choices, scores))
      best = max(likes[x] for x in can)
      self.now[env] = question, str(self.rng.choice([
          x for x in can if likes[x] == best]))
    return self.now[env][1]

  def did(self, env, agreed):
    pass

  def step(self, env, reward, is_last):
    pass


def make(rule, seed):
  """Returns what takes the choices by one rule."""
  if rule == 'follow':
    return Follow(seed)
  if rule == 'mixture':
    return Mixture(seed)
  slope, certainty, experience.MODEL = RULES[rule]
  made = experience.Experience(seed)
  made.cross, made.square = slope * certainty, certainty
  return made


def prefer(desc, words, accuracy, seed):
  """Returns the scores of the simulated advisor. Shape [K]."""
  if accuracy is None or len(words) < 2:
    return np.zeros(len(words))
  query = types.Query(desc, words, 'subgoal')
  right = scripted.score(query)
  other = flawed.mistake(query, int(np.argmax(right)), accuracy, seed)
  if other is None:
    return right
  scores = np.zeros(len(words))
  scores[other] = STRENGTH
  return scores


def run(task, accuracy, rule, steps, seed):
  """Plays one task for so many steps. Returns what is printed."""
  flags = ['--task', task, '--lore.enabled', 'True', '--seed', str(seed)]
  config = configlib.resolve(flags, configlib.load())
  env = worlds.make_as(True, config, 0, None, heldout=True)
  learner, rng = make(rule, seed), np.random.default_rng(seed)
  known, taken, rows, unlocked = {}, 0, [], []
  while taken < steps:
    obs = env.step({'action': 0, 'reset': True})
    learner.begin(0)
    start, total = taken, 0.0
    while not obs['is_last'] and taken < steps:
      desc = types.Description.decode(obs['lore/state'])
      words = ground.candidates(desc, 'subgoal')
      name = repr((desc.mission, desc.text, words))
      if name not in known:
        known[name] = prefer(desc, words, accuracy, seed)
      ways = {x.name: y for x, y in zip(desc.options, ground.legal(desc))}
      can = [x for x in words if ways.get(x)] or list(words)
      choice = learner.choose(0, name, words, can, known[name])
      actions = ways.get(choice) or np.flatnonzero(ground.advisable(desc))
      obs = env.step({'action': int(rng.choice(actions)), 'reset': False})
      learner.did(0, True)
      learner.step(0, float(obs['reward']), bool(obs['is_last']))
      total += float(obs['reward'])
      taken += 1
    # The last one is cut; where that is the only one it counts as it is.
    if obs['is_last'] or not rows:
      won = float(obs.get('log/success', total > 0))
      rows.append((start, won, total))
      unlocked.append([
          float(v) for k, v in sorted(obs.items())
          if k.startswith('log/achievement_')])
  env.close()
  late = [x for x in rows if x[0] >= steps / 2] or rows[-1:]
  result = {
      'task': task, 'accuracy': accuracy, 'rule': rule, 'seed': seed,
      'steps': steps, 'episodes': len(rows), 'questions': len(known)}
  for name, part in (('', rows), ('late_', late)):
    result[f'{name}success'] = float(np.mean([x[1] for x in part]))
    result[f'{name}return'] = float(np.mean([x[2] for x in part]))
  if unlocked[0]:
    result['score'] = curves.crafter_score(np.mean(unlocked, 0))
    result['late_score'] = curves.crafter_score(
        np.mean(unlocked[-len(late):], 0))
  if isinstance(learner, experience.Experience):
    result['slope'] = learner.slope
  return {k: v for k, v in result.items() if v is None or not (
      isinstance(v, float) and math.isnan(v))}


def main():
  parser = argparse.ArgumentParser(
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--tasks', nargs='+', default=[
      'minigrid_BlockedUnlockPickup-v0', 'minigrid_RedBlueDoors-8x8-v0',
      'minigrid_FourRooms-v0'])
  parser.add_argument(
      '--accuracy', nargs='+', default=['0', '0.5', '1', 'placebo'])
  parser.add_argument('--rules', nargs='+', default=[
      'follow', *RULES, 'mixture'])
  parser.add_argument('--steps', type=int, default=2000)
  parser.add_argument('--seeds', type=int, default=3)
  args = parser.parse_args()
  for task in args.tasks:
    for accuracy in args.accuracy:
      for rule in args.rules:
        for seed in range(args.seeds):
          print(json.dumps(run(
              task, None if accuracy == 'placebo' else float(accuracy), rule,
              args.steps, seed)), flush=True)


if __name__ == '__main__':
  main()
