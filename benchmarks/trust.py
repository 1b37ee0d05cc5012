"""What the trust control says and does beside advisors of known worth.

  python benchmarks/trust.py [--runs 1000] [--out FILE] [--checkout FOLDER]
  python benchmarks/trust.py --bets [--runs 1000] [--out FILE]
  python benchmarks/trust.py --table FILE [FILE]

An agent and an advisor are simulated: an episode succeeds with a probability
that depends on which share of its steps followed advice. Nothing is trained,
so that a thousand runs take some minutes. FOLDER is a checkout whose rule is
measured instead, to compare it with. FILE gets a line for each run; --table
prints them as Markdown, the second file beside the first. --bets leaves the
rest of the trust control out: arms are drawn with probabilities that chase the
last outcomes and the money, advice has no effect, and the bets of 500 episodes
are looked at after each.
"""

import argparse
import dataclasses
import gzip
import json
import math
import pathlib
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

# Steps over which the share of followed ones is taken, and the share below
# which advice counts as switched off, above which it counts as used.
OVER, OFF, ON = 400, 0.3, 0.5
TURN = 3000
# What holds the gate open from which it counts as open, steps behind a
# closed one after which an agent falls over, and with an open one after which
# it has learned again.
OPEN, SHUT, DRAWN = 0.1, 500, 500
Curve = Callable[[int], float]


@dataclasses.dataclass
class Case:
  """An agent, an advisor and what is asked of their comparison.

  Attributes:
    alone: Success of the agent alone, by the steps taken.
    advised: The same where advice is followed throughout.
    asks: What is measured. `false`: whether something was said; `fell`:
      whether advice fell that never changed; `helps`,
      `harmful`: episodes until it was, `steps`: steps until 'helps' was;
      `off`, `used`: steps since the change until advice was switched off,
      or used; `share`: steps that followed it; `turned`: those of them in
      which it was proven or said to help; `regret`: successes fewer than
      those of the agent alone in as many steps; `lost`: steps from the agent's
      fall until it has learned again.
    runs: Share of --runs.
    episodes: Episodes of a run.
    steps: Or so many steps.
    envs: Environments side by side.
    length: Steps of an episode that does not end before.
    early: Whether episodes end at their success, which may come at each step
      with these probabilities.
    returns: Makes a return of a success, the episode's number and a generator.
    courts: Whether advice meets new states and nothing else.
    watched: What ends good advice while it lasts: 'belief', that it is proven
      or said to help, 'gate', that its gate is held open, or 'chance', that
      it is more likely than 0.8 to be better; '' for nothing.
    subgoals: Subgoals of an episode, reached one after the other with the
      chances above at each step. Advice knows the way to the first alone.
    ends: Probability that a step that follows advice ends the episode in vain.
    late: Share of the return that a success at the last step loses.
    lapses: Whether the agent falls over once, after it was left to itself for
      `SHUT` steps, and what hardly follows advice with it.
    turned: Whether advice is of no use from then on, and the agent learns
      nothing again; `turned` counts from then on.
  """
  alone: Curve
  advised: Curve
  asks: str
  runs: float = 0.1
  episodes: int = 500
  steps: int = 1_000_000
  envs: int = 4
  length: int = 5
  early: bool = False
  returns: Callable[[float, int, Any], float] = lambda won, k, rng: won
  courts: bool = False
  watched: str = ''
  subgoals: int = 1
  ends: float = 0.0
  late: float = 0.0
  lapses: bool = False
  turned: bool = False


def at(value):
  return lambda n: value


def turn(before, after):
  return lambda n: before if n < TURN else after


def learns(n):
  """From 0.05 to 1 within 1,500 steps."""
  return min(1.0, 0.05 + 0.95 * n / 1500)


def outlier(won, k, rng):
  return 1000.0 if k == 30 else won


# Beside advisors that watch whether they are believed: an agent that learns
# where failures take 250 steps, one that does not, and one that does in half.
ABLE = Case(
    lambda n: .002 if n < 1500 else .06, at(.09), 'regret', .03, length=250,
    early=True, steps=10_000, late=.9)
UNABLE = Case(
    at(.0004), at(.09), 'turned', .03, length=250, early=True, steps=10_000,
    late=.9)
LONGER = replace(UNABLE, steps=40_000, episodes=10_000)
HALF = Case(at(.5), at(.95), 'regret', .03, length=20, steps=20_000)

CASES = {
    # Advice without any effect.
    'null, 0.05': Case(at(.05), at(.05), 'false'),
    'null, 0.5': Case(at(.5), at(.5), 'false'),
    'null, 0.9': Case(at(.9), at(.9), 'false'),
    'null, learns': Case(learns, learns, 'false', .2),
    'null, learns, 1 environment': Case(
        learns, learns, 'false', .05, envs=1),
    'null, learns, 64 environments': Case(
        learns, learns, 'false', .1, envs=64),
    'null, learns, ends early, cut': Case(
        lambda n: .002 + .08 * min(1, n / 15000),
        lambda n: .002 + .08 * min(1, n / 15000), 'false', .05, early=True,
        length=640, steps=30_000),
    'null, episodes of 10,000 steps': Case(
        at(.5), at(.5), 'false', .02, length=10_000, steps=60_000,
        returns=lambda won, k, rng: rng.normal()),
    'null, dense, negative': Case(
        at(.5), at(.5), 'false', .08,
        returns=lambda won, k, rng: rng.normal() - 50),
    'null, heavy tails': Case(
        at(.5), at(.5), 'false', .1,
        returns=lambda won, k, rng: rng.standard_cauchy()),
    'null, scale grows': Case(
        learns, learns, 'false', .1,
        returns=lambda won, k, rng: won * (1 + k) ** 2),
    # Advice that helps.
    '+0.3, 0.05': Case(at(.05), at(.35), 'helps'),
    '+0.3, 0.2': Case(at(.2), at(.5), 'helps'),
    '+0.3, 0.35': Case(at(.35), at(.65), 'helps'),
    '+0.3, 0.6': Case(at(.6), at(.9), 'helps'),
    '+0.3, 0.35, 1 environment': Case(at(.35), at(.65), 'helps', envs=1),
    '+0.3, 0.35, 64 environments': Case(at(.35), at(.65), 'helps', envs=64),
    '+0.9': Case(at(.05), at(.95), 'helps'),
    '+0.9, one outlier': Case(at(.05), at(.95), 'helps', returns=outlier),
    '+0.9, offset 1,000': Case(
        at(.05), at(.95), 'helps',
        returns=lambda won, k, rng: won + 1000),
    '+0.9, scale grows': Case(
        at(.05), at(.95), 'helps',
        returns=lambda won, k, rng: won * (1 + k) ** 2),
    '+0.9, heavy tails': Case(
        at(.05), at(.95), 'helps',
        returns=lambda won, k, rng: 3 * won + rng.standard_cauchy()),
    'right in every second question': Case(at(.05), at(.5), 'helps'),
    'ideal, alone 641 steps': Case(
        at(.0002), at(.05), 'steps', .05, early=True, length=640,
        steps=20_000),
    # Honest advice, of which luck may promise more than it is worth.
    'honest, 0.05 to 0.2': Case(at(.05), at(.2), 'fell'),
    'honest, 0.05 to 0.35': Case(at(.05), at(.35), 'fell'),
    'honest, 0.2 to 0.5': Case(at(.2), at(.5), 'fell'),
    'honest, 0.5 to 0.9': Case(at(.5), at(.9), 'fell'),
    'honest, no effect, 0.05': Case(at(.05), at(.05), 'fell'),
    # Advice that does harm.
    'harmful, 0.95 to 0': Case(at(.95), at(0), 'harmful'),
    'harmful, 0.6 to 0.1': Case(at(.6), at(.1), 'harmful'),
    'harmful, 0.3 to 0': Case(at(.3), at(0), 'harmful'),
    'harmful, agent learns': Case(learns, at(0), 'harmful'),
    'ends episodes, agent able': Case(
        at(.05), at(0), 'harmful', early=True, length=100, ends=.2),
    'ends episodes, agent hardly able': Case(
        at(.0005), at(0), 'regret', .03, early=True, length=640,
        steps=40_000, ends=.2),
    'first of two subgoals, agent able': Case(
        at(.05), at(.3), 'regret', .03, early=True, length=200,
        steps=20_000, subgoals=2),
    'first of two subgoals, agent hardly able': Case(
        at(.005), at(.3), 'regret', .03, early=True, length=200,
        steps=20_000, subgoals=2),
    # Advice that changes.
    'turns, agent able': Case(
        lambda n: .05 if n < 2000 else .95, turn(.98, 0), 'off', .03,
        length=20, steps=10_000),
    'turns, agent always able': Case(
        at(.95), turn(1, 0), 'off', .03, length=20, steps=10_000),
    'turns, agent not able': Case(
        at(.05), turn(.95, 0), 'off', .03, length=20, steps=12_000),
    # As a real task has it: failures take 250 steps, successes a few.
    'turns, long failures, agent able': Case(
        lambda n: .002 if n < 1500 else .06, turn(.09, 0), 'off', .03,
        length=250, early=True, steps=10_000, late=.9),
    'turns, long failures, agent not able': Case(
        at(.0004), turn(.09, 0), 'off', .03, length=250, early=True,
        steps=12_000, late=.9),
    'behaves, long failures, agent able': replace(ABLE, watched='belief'),
    'behaves, long failures, agent not able': replace(
        UNABLE, watched='belief'),
    'behaves, long failures, agent not able, 40,000 steps': replace(
        LONGER, watched='belief'),
    'late, agent not able': Case(
        at(.05), turn(0, .95), 'used', .03, length=20, steps=20_000),
    'behaves until proven': replace(HALF, watched='belief'),
    'behaves until the gate is open': replace(HALF, watched='gate'),
    'until the gate is open, long failures, agent able': replace(
        ABLE, watched='gate'),
    'until the gate is open, long failures, agent not able': replace(
        UNABLE, watched='gate'),
    'until the gate is open, agent not able, 40,000 steps': replace(
        LONGER, watched='gate'),
    'until it seems better, agent not able, 40,000 steps': replace(
        LONGER, watched='chance'),
    # An agent that falls over once it is left to itself.
    'lapses, failures as long': Case(
        lambda n: .05 if n < 1500 else .95, at(.98), 'lost', .1,
        length=20, steps=12_000, episodes=10_000, lapses=True),
    'lapses, long failures': Case(
        lambda n: .002 if n < 1500 else .06, at(.09), 'lost', .1,
        length=250, early=True, steps=12_000, episodes=10_000, late=.9,
        lapses=True),
    'lapses, advice turned meanwhile': Case(
        lambda n: .002 if n < 1500 else .06, at(.09), 'turned', .1,
        length=250, early=True, steps=12_000, episodes=10_000, late=.9,
        lapses=True, turned=True),
    'courts dense signals': Case(
        at(0), at(0), 'share', .02, length=200, steps=40_000, courts=True),
}


class Lapse:
  """An agent that may fall over.

  Attributes:
    fallen: Whether it has, and has not learned again.
  """

  def __init__(self, case):
    self.case = case
    self.fallen = self.over = False
    self.shut = self.drawn = 0

  def chances(self, now, gate, held):
    """Returns the chances of success of advised steps, and of the agent's.

    Args:
      now: The steps taken.
      gate: How far the gate is held open.
      held: Whether what ends good advice lasts.
    """
    case, alone = self.case, self.case.alone(now)
    advised = 0.0 if case.watched and held else case.advised(now)
    if not case.lapses:
      return advised, alone
    self._step(gate)
    if not self.fallen:
      return advised, alone
    alone = 0.01 * alone
    if case.turned:
      return 0.0, alone
    return (advised if gate >= OPEN else alone), alone

  def _step(self, gate):
    if self.fallen:
      self.drawn += gate >= OPEN and not self.case.turned
      self.fallen = self.drawn < DRAWN
    elif gate >= OPEN:
      self.shut = 1
    else:
      self.shut += self.shut > 0
      self.fallen = self.shut > SHUT and not self.over
      self.over |= self.fallen


def believed(case, trust):
  """Returns how far the gate is held open, and whether an advisor may turn."""
  # Earlier rules held it open by their proof alone.
  gate = getattr(trust, 'gate', trust.proof)
  held = trust.proof > 0 or trust.shown > 0
  if case.watched == 'gate':
    return gate, gate > 0 or held
  if case.watched == 'chance':
    return gate, trust.better > 0.8 or held
  return gate, held


def play(case, rule, seed):
  """Plays a run.

  Returns:
    said: The first words of each kind and the episode after which they came.
    steps: Whether advice was followed, whether it was proven or said to help,
      whether its step was the last of an episode that succeeded, whether the
      agent had fallen over. [N, 4], bool.
  """
  trust = rule.Trust(seed=seed)
  rng = np.random.default_rng(seed + 1_000_000)
  left, follow = [0] * case.envs, [0.0] * case.envs
  met, pay, over = [0] * case.envs, [0.0] * case.envs, [False] * case.envs
  todo = [case.subgoals] * case.envs
  said, steps, episodes, held = {}, [], 0, False
  lapse, gate = Lapse(case), 0.0
  while episodes < case.episodes and len(steps) < case.steps:
    for env in range(case.envs):
      first = not left[env]
      if first:
        left[env], met[env], pay[env] = case.length + 1, 0, 0.0
        over[env], todo[env] = False, case.subgoals
      last = over[env] or left[env] == 1
      now = len(steps)
      advised, alone = lapse.chances(now, gate, held)
      reward, won = pay[env], pay[env]
      if last and not case.early:
        share = met[env] / case.length
        won = float(rng.random() < (
            share * advised + (1 - share) * alone))
        reward = case.returns(won, episodes, rng)
      state = now if case.courts and follow[env] else int(rng.integers(8))
      follow[env], _ = trust.step(
          env, state, False, reward, first, last)
      gate, held = believed(case, trust)
      steps.append((follow[env] > 0, held, last and won > 0, lapse.fallen))
      left[env] = 0 if last else left[env] - 1
      met[env] += follow[env] > 0
      if case.early and not last:
        known = todo[env] == case.subgoals
        chance = advised * known if follow[env] else alone
        todo[env] -= rng.random() < chance
        gone = 1 - left[env] / case.length
        pay[env] = float(not todo[env]) * (1 - case.late * gone)
        over[env] = not todo[env] or follow[env] * case.ends > rng.random()
      if last:
        episodes += 1
        word = trust.describe().split(':')[0].split(',')[0]
        if trust.proven.falls:
          said.setdefault('fell', episodes)
        if word in ('helps', 'harmful'):
          said.setdefault(word, episodes)
          if word == {'steps': 'helps'}.get(case.asks, case.asks):
            return said, np.array(steps)
  return said, np.array(steps)


class Alone:
  """The agent without advice, in the place of the rule."""

  class Trust:
    proof, shown, proven = 0.0, 0, types.SimpleNamespace(falls=0)

    def __init__(self, seed):
      pass

    def step(self, *args):
      return 0.0, None

    def describe(self):
      return ''


def measure(case, rule, seed):
  """Returns what a case asks of one run, nan where it never came."""
  said, steps = play(case, rule, seed)
  if case.asks == 'false':
    return float(bool(said.keys() - {'fell'}))
  if case.asks == 'fell':
    return float('fell' in said)
  if case.asks in said:
    return float(said[case.asks])
  if case.asks == 'steps':
    return float(len(steps)) if 'helps' in said else math.nan
  if case.asks == 'share':
    return float(steps[:, 0].sum())
  if case.asks == 'turned':
    when = steps[:, 3] if case.turned else True
    return float((steps[:, 0] & steps[:, 1] & when).sum())
  if case.asks == 'lost':
    lost = steps[:, 3]
    return math.nan if lost[-1] else float(lost.sum())
  if case.asks == 'regret':
    alone = play(replace(case, steps=len(steps)), Alone, seed)[1]
    return float(alone[:, 2].sum() - steps[:, 2].sum())
  if case.asks not in ('off', 'used'):
    return math.nan
  after = steps[TURN:]
  share = np.convolve(after[:, 0], np.ones(OVER) / OVER, 'valid')
  if case.asks == 'used':
    hits = np.flatnonzero(share > ON)
    return float(hits[0] + OVER) if len(hits) else math.nan
  # From here on neither used nor held for proven.
  busy = np.flatnonzero((share >= OFF) | after[:len(share), 1])
  return float(busy[-1] + 1) if len(busy) else 0.0


BETS = {
    'bets, 0.05': (at(.05), lambda won, k, rng: won),
    'bets, 0.5': (at(.5), lambda won, k, rng: won),
    'bets, learns': (learns, lambda won, k, rng: won),
    'bets, heavy tails': (at(.5), lambda won, k, rng: rng.standard_cauchy()),
    'bets, learns, scale grows': (learns, lambda won, k, rng: won * 1.05**k),
}


def bet(success, returns, module, seed):
  """Returns whether 500 episodes without any effect were called something."""
  rng, test = np.random.default_rng(seed), module.Evidence()
  last = [0.0, 0.0]
  for k in range(500):
    helps, harms = test.logs()
    lean = 0.5 + 0.15 * (helps - harms) + 0.2 * np.sign(last[1] - last[0])
    p = float(np.clip(lean, 0.03, 0.95))
    arm = int(rng.random() < p)
    won = float(rng.random() < success(3 * k))
    last[arm] = returns(won, k, rng)
    test.end(test.begin(arm, p), last[arm])
    if test.shown:
      return 1.0
  return 0.0


def table(files):
  """Prints the rows of files as Markdown."""
  found = []
  for name in files:
    opened = gzip.open if str(name).endswith('.gz') else open
    with opened(name, 'rt', encoding='utf-8') as f:
      rows = [json.loads(line) for line in f]
    found.append({
        x: [math.nan if y['value'] is None else y['value']
            for y in rows if y['case'] == x] for x in (*CASES, *BETS)})
  for name in (*CASES, *BETS):
    asks = CASES[name].asks if name in CASES else 'false'
    cells = [summary(x[name], asks) for x in found if x[name]]
    if cells:
      print(f'| {name} | {asks} | ' + ' | '.join(cells) + ' |')


def summary(values, asks):
  """Says in a cell what came of the runs of a case."""
  values = np.array(values, float)
  count = len(values)
  if asks in ('false', 'fell'):
    return f'{int(values.sum())} of {count}'
  known = np.where(np.isnan(values), np.inf, values)
  middle, high = np.quantile(known, (0.5, 0.9), method='lower')
  write = lambda x: 'never' if math.isinf(x) else f'{x:,.0f}'
  text = f'{write(middle)}, {write(high)}'
  missed = int(np.isnan(values).sum())
  return text + (f' ({missed} of {count} never)' if missed else '')


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('--runs', type=int, default=1000)
  parser.add_argument('--out', type=pathlib.Path, default='trust.jsonl')
  parser.add_argument('--checkout', type=pathlib.Path,
                      default=pathlib.Path(__file__).resolve().parents[1])
  parser.add_argument('--only', default='', help='Part of the cases\' names.')
  parser.add_argument('--bets', action='store_true')
  parser.add_argument('--table', nargs='+', type=pathlib.Path)
  args = parser.parse_args(argv)
  if args.table:
    return table(args.table)
  sys.path.insert(0, str(args.checkout))
  from lore_plugin.agent import trust as rule
  jobs = [
      (name, lambda seed, x=case: measure(x, rule, seed),
       max(1, round(case.runs * args.runs))) for name, case in CASES.items()]
  if args.bets:
    jobs = [
        (name, lambda seed, x=case: bet(*x, rule.evidence, seed),
         args.runs // len(BETS)) for name, case in BETS.items()]
  with args.out.open('w', encoding='utf-8') as f:
    for name, run, count in jobs:
      if args.only not in name:
        continue
      for seed in range(count):
        value = run(seed)
        row = {'case': name, 'seed': seed, 'value': (
            None if math.isnan(value) else round(value, 3))}
        f.write(json.dumps(row) + '\n')
        f.flush()
  return table([args.out])


if __name__ == '__main__':
  main()
