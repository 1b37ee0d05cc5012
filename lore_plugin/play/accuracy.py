"""Measures how good an advisor's advice is, before any training.

  python -m lore_plugin.play.accuracy --task DoorKey-5x5 --provider local

For each state of a task the advice's best action is compared with the optimal
ones, which a planner finds on the full grid. The advice comes by the way that
training uses: description, provider, calibration, grounding. Accuracy is over
three populations:

  states        every state that the task's layouts can get into, alike
  descriptions  every distinct description, alike
  visits        where a uniform random policy spends its time

Beside it stand what chance gives, what grounding gives without any preference
among subgoals, rules that read the same words, and the best that anyone could
do who sees no more than the description.
"""

import argparse
import collections
import dataclasses
import json
import math
import pathlib
import platform
import random
import time

import numpy as np

from .. import curves
from ..advisor import ground
from ..advisor import prompts
from ..advisor import providers
from ..advisor import advisor as service
from ..advisor import types
from ..worlds.minigrid import env as minigrid
from . import planner

POPULATIONS = ('states', 'descriptions', 'visits')
TEXT_BYTES = 8192
TEMPERATURES = tuple(2 ** (x / 4) for x in range(-12, 13))


@dataclasses.dataclass(slots=True)
class Judged:
  """A description, and what was optimal where it was seen.

  Attributes:
    states: How many states with it have each set of optimal actions.
    visits: How many visited steps; likewise.
  """
  states: collections.Counter = dataclasses.field(
      default_factory=collections.Counter)
  visits: collections.Counter = dataclasses.field(
      default_factory=collections.Counter)


class Memo(types.Provider):
  """Asks a provider once for each query, and times it."""

  def __init__(self, inner):
    self.inner = inner
    self.name, self.model = inner.name, inner.model
    self.calibrate = inner.calibrate
    self.replies = {}
    self.wall, self.cpu = [], []

  def ask(self, query):
    if query not in self.replies:
      wall, cpu = time.perf_counter(), time.process_time()
      self.replies[query] = self.inner.ask(query)
      self.wall.append(time.perf_counter() - wall)
      self.cpu.append(time.process_time() - cpu)
    return self.replies[query]

  def close(self):
    pass


class Flat(types.Provider):
  """Prefers nothing, so that only the grounding speaks."""

  name = 'flat'

  def ask(self, query):
    return types.Reply((0.0,) * len(query.candidates))


class Eager(types.Provider):
  """Prefers anything to exploring, a rule without language."""

  name = 'eager'

  def ask(self, query):
    return types.Reply(tuple(
        -9.0 * (x == 'explore') for x in query.candidates))


def judge(task, seeds=1000, steps=40_000, seed=0):
  """Collects descriptions and the actions that are optimal there.

  States from which success is out of reach are left out.

  Args:
    task: A task that the planner knows.
    seeds: Number of layout seeds.
    steps: Steps of the uniform random policy.
    seed: Seed of that policy and its layouts.

  Returns:
    {Description: Judged}, and the number of episodes visited.
  """
  cases = collections.defaultdict(Judged)
  for case in planner.enumerate_states(task, range(seeds)):
    if case.actions:
      cases[case.description].states[case.actions] += 1
  env = minigrid.MiniGrid(task, seed=seed, text_bytes=TEXT_BYTES)
  rng = random.Random(seed)
  count, episodes, plans = env.act_space['action'].high, 0, {}
  for _ in range(steps):
    obs = env.step({'action': rng.randrange(int(count)), 'reset': False})
    episodes += bool(obs['is_first'])
    if obs['is_last']:
      continue
    where = planner.read(env)
    if where not in plans:
      plans[where] = planner.plan(*where)[0]
    if plans[where]:
      desc = types.Description.decode(obs['lore/state'])
      desc = dataclasses.replace(desc, events=())
      cases[desc].visits[plans[where]] += 1
  env.close()
  return dict(cases), episodes


def advise(provider, descriptions, mode, calibrate):
  """Returns {description: action logits} from a provider, by the service.

  States without advice are missing.
  """
  actions = len(descriptions[0].actions)
  advisor = service.Advisor(
      provider, actions, service.Settings(
          mode=mode, calibrate=calibrate, ask='sync', timeout=3600.0))
  states = np.stack([x.encode(TEXT_BYTES) for x in descriptions])
  zeros, nos = np.zeros(1, np.float32), np.zeros(1, bool)
  for state in states:
    advisor.consider(state[None], [0], zeros, zeros, nos, nos)
  prior, valid = advisor.lookup(states)
  failures = advisor.stats()['failures']
  advisor.close()
  if failures:
    raise SystemExit(
        f'{failures:.0f} calls to {provider.name} failed; the first one is '
        'named above.')
  return {x: y for x, y, z in zip(descriptions, prior, valid) if z}


def weights(cases, population):
  """Yields (description, optimal actions, weight)."""
  for desc, judged in cases.items():
    counts = judged.visits if population == 'visits' else judged.states
    total = sum(counts.values())
    for actions, count in counts.items():
      yield desc, actions, (
          count / total if population == 'descriptions' else count)


def accuracy(cases, logits, population):
  """Returns how often the best action is optimal; ties count in part.

  A description without advice counts as a uniformly random advisable action.
  """
  hits = total = 0.0
  for desc, optimal, weight in weights(cases, population):
    values = logits.get(desc)
    if values is None:
      values = np.zeros(len(desc.actions))
    values = np.where(ground.advisable(desc), values, -np.inf)
    best = np.flatnonzero(values >= values.max() - 1e-6)
    hits += weight * np.mean([x in optimal for x in best])
    total += weight
  return hits / total if total else math.nan


def sharpness(cases, logits, population):
  """Tells how far the advice's probabilities can be trusted.

  Returns:
    A dict: mass, the probability that softmax(logits) gives to the optimal
    actions; confidence, its highest probability, and gap, the expected
    calibration error of that (10 bins); loss, -log mass in nats; and the
    temperature of least loss, with its mass and loss.
  """
  rows = []
  for desc, optimal, weight in weights(cases, population):
    if desc in logits:
      rows.append((logits[desc], ground.advisable(desc), optimal, weight))
  if not rows:
    return {}

  def measure(temperature):
    bins = collections.defaultdict(lambda: np.zeros(3))
    out = np.zeros(4)
    for values, mask, optimal, weight in rows:
      probs = ground.softmax(np.where(mask, values / temperature, -np.inf))
      best = int(probs.argmax())
      mass = sum(probs[x] for x in optimal)
      out += weight * np.array(
          [1, mass, probs[best], -math.log(max(mass, 1e-9))])
      bins[min(9, int(probs[best] * 10))] += weight * np.array(
          [1, probs[best], best in optimal])
    gap = sum(abs(x[1] - x[2]) for x in bins.values()) / out[0]
    mass, confidence, loss = out[1:] / out[0]
    return {
        'mass': mass, 'confidence': confidence, 'gap': gap, 'loss': loss}

  best = min(TEMPERATURES, key=lambda x: measure(x)['loss'])
  tempered = measure(best)
  return {
      **measure(1.0), 'best_temperature': best,
      'best_mass': tempered['mass'], 'best_loss': tempered['loss'],
      'best_gap': tempered['gap']}


def ceiling(cases):
  """Returns logits of the action that is optimal in most states of a view."""
  out = {}
  for desc, judged in cases.items():
    values = np.zeros(len(desc.actions))
    for counts, scale in ((judged.states, 1.0), (judged.visits, 1e-6)):
      for actions, count in counts.items():
        values[list(actions)] += scale * count
    out[desc] = values
  return out


def measure(task, provider, modes, seeds=1000, steps=40_000, sample=0,
            seed=0):
  """Measures a provider and what stands beside it.

  Args:
    task: A task that the planner knows.
    provider: A `Provider`.
    modes: Some of 'subgoal' and 'action'.
    seeds: Number of layout seeds.
    steps: Steps of the uniform random policy.
    sample: How many descriptions to keep, drawn at random; 0 for all.
    seed: Seed of the random policy and of the sample.

  Returns:
    A dict that JSON can hold.
  """
  cases, episodes = judge(task, seeds, steps, seed)
  if sample:
    keep = random.Random(seed).sample(range(len(cases)), sample)
    cases = {
        x: y for i, (x, y) in enumerate(cases.items()) if i in set(keep)}
  descriptions = list(cases)
  counts = {
      'states': sum(x.states.total() for x in cases.values()),
      'descriptions': sum(bool(x.states) for x in cases.values()),
      'visits': episodes}

  def plain(cases, logits):
    shares = {x: accuracy(cases, logits, x) for x in POPULATIONS}
    return {k: v for k, v in shares.items() if not math.isnan(v)}

  def row(logits):
    return {
        k: {
            'accuracy': v,
            'interval': curves.wilson(v * counts[k], counts[k])}
        for k, v in plain(cases, logits).items()}

  report = {
      'task': task, 'provider': provider.name, 'model': provider.model,
      'counts': {**counts, 'visited_steps': steps},
      'beside': {
          'chance': row({}), 'ceiling of the view': row(ceiling(cases))},
      'modes': {}}
  for mode in modes:
    memo = Memo(provider)
    asked = {
        x: y for x, y in cases.items() if not ground.decided(x, mode)}
    entry = {
        'prompt': prompts.VERSIONS[mode],
        'undecided': len(asked),
        'variants': {}, 'beside': {}}
    for calibrate in ('never', 'always'):
      logits = advise(memo, descriptions, mode, calibrate)
      entry['variants'][f'calibrate {calibrate}'] = {
          **row(logits),
          'undecided': plain(asked, logits),
          'sharpness': {
              x: sharpness(cases, logits, x) for x in POPULATIONS}}
    for name, other in {
        'flat': Flat(), 'eager': Eager(),
        'random': providers.create('random', {}, seed),
        'scripted': providers.create('scripted', {}, seed)}.items():
      logits = advise(other, descriptions, mode, 'never')
      entry['beside'][name] = {
          **row(logits), 'undecided': plain(asked, logits)}
    entry['queries'] = len(memo.replies)
    if memo.cpu:
      entry['seconds'] = {
          'wall_median': float(np.median(memo.wall)),
          'cpu_median': float(np.median(memo.cpu)),
          'cpu_first': memo.cpu[0]}
      entry['tokens_median'] = float(np.median(
          [x.tokens_in for x in memo.replies.values()]))
    report['modes'][mode] = entry
  return report


def show(report):
  """Prints a report as a table."""
  counts = report['counts']
  print(
      f'{report["task"]}, {report["provider"]} {report["model"]}: '
      f'{counts["states"]} states, {counts["descriptions"]} descriptions, '
      f'{counts["visits"]} episodes visited\n')
  print(f'{"best action is optimal":<38}' + ''.join(
      f'{x:<22}' for x in POPULATIONS))

  def line(name, row):
    cells = []
    for x in POPULATIONS:
      if x in row:
        low, high = row[x]['interval']
        cells.append(f'{row[x]["accuracy"]:.3f} [{low:.2f}, {high:.2f}]')
    print(f'{name:<38}' + ''.join(f'{x:<22}' for x in cells))

  for name, row in report['beside'].items():
    line(name, row)
  for mode, entry in report['modes'].items():
    for name, row in entry['beside'].items():
      line(f'{mode}: {name}', row)
    for name, row in entry['variants'].items():
      line(f'{mode}: {report["provider"]}, {name}', row)
    for name, row in entry['variants'].items():
      fit = row['sharpness']['states']
      if fit:
        print(
            f'  {mode}, {name}: mass on optimal {fit["mass"]:.2f}, confidence '
            f'{fit["confidence"]:.2f}, gap {fit["gap"]:.2f}; at temperature '
            f'{fit["best_temperature"]:.2f} mass {fit["best_mass"]:.2f}')
    if 'seconds' in entry:
      print(
          f'  {mode}: {entry["queries"]} queries, '
          f'{entry["seconds"]["cpu_median"]:.2f} CPU seconds and '
          f'{entry["tokens_median"]:.0f} tokens each (median)')


def main(argv=None):
  """Measures, prints, and writes what was measured."""
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin.play.accuracy', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--task', default='DoorKey-5x5')
  parser.add_argument('--provider', default='local')
  parser.add_argument(
      '--mode', default='subgoal', choices=['subgoal', 'action', 'both'])
  parser.add_argument('--model', default='')
  parser.add_argument('--threads', type=int, default=1)
  parser.add_argument('--seeds', type=int, default=1000)
  parser.add_argument('--steps', type=int, default=40_000)
  parser.add_argument('--sample', type=int, default=0)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument(
      '--json', action='store_true', help='print one JSON object')
  parser.add_argument('--out', default='', help='also write it to this file')
  args = parser.parse_args(argv)
  provider = providers.create(
      args.provider,
      {'model': args.model, 'threads': args.threads, 'timeout': 60.0,
       'url': ''},
      args.seed)
  modes = ('subgoal', 'action') if args.mode == 'both' else (args.mode,)
  report = measure(
      args.task, provider, modes, args.seeds, args.steps, args.sample,
      args.seed)
  provider.close()
  report['machine'] = {
      'python': platform.python_version(), 'processor': platform.machine()}
  report = rounded(report)
  if args.out:
    pathlib.Path(args.out).write_text(json.dumps(report, indent=1) + '\n')
  if args.json:
    print(json.dumps(report))
  else:
    show(report)


def rounded(value):
  """Returns a nested value with its floats cut to 4 digits."""
  if isinstance(value, dict):
    return {k: rounded(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [rounded(v) for v in value]
  return round(float(value), 4) if isinstance(value, float) else value


if __name__ == '__main__':
  main()
