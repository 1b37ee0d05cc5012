"""Whether LoRe is as good as the better of RL only and the advice alone.

  python -m lore_plugin ablate best-of-both --out runs --jobs 2
  python benchmarks/best_of_both.py runs/results/best-of-both --play
  python benchmarks/best_of_both.py runs/results/best-of-both

The first command trains beside advice that is right in a share of the
questions. The second plays that advice alone, without an agent and without
experience, on 100 held-out layouts a task, rule, share and seed, and writes
advice.csv.gz into the folder, a row as soon as it is known; started again it
goes on. The third prints, for each task, as Markdown, and draws
best-of-both.png and .svg into the folder:

  training  success of the episodes that began before the longest could no
            longer have ended; mean over seeds, and the worst seed
  alone     success of the agent alone at the end of the run, likewise
  advice    success of the advice alone, its best action taken
  sampled   the same, actions drawn from the softmax of beta_max / T times the
            advice, as LoRe draws them where an agent is uniform itself
  return    mean return of the episodes of training, and of the advice alone
  of the better  the mean as a share of that of the better of RL only and the
            advice (training), and of RL only (alone); failed below 0.9
  of the best    of the training likewise, beside the better of RL only, the
            advice and the advice sampled

Where an arm has an adversary, which spoils what is advised step by step, the
advised action is taken; else the best choice, kept until the question changes
(`python -m lore_plugin judge`).
"""

import argparse
import collections
import csv
import gzip
import math
import pathlib
import types
from collections.abc import Iterable
from typing import Any

import numpy as np

from lore_plugin import config as configlib
from lore_plugin import worlds
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import ground
from lore_plugin.advisor.providers import flawed
from lore_plugin.play import judge
from lore_plugin.report import load
from lore_plugin.report import look as looklib
from lore_plugin.runs import adversaries
from lore_plugin.runs import results

ADVICE = 'advice.csv.gz'
COLUMNS = (
    'task', 'rule', 'share', 'seed', 'episodes', 'success', 'score', 'sampled')
# What an arm without an adversary has as its rule.
FLAWED = 'flawed'
BASE, ARM = 'rl-only', 'right-'
EPISODES = 100
ENOUGH = 0.9


def share(arm: str) -> float:
  """The share of questions that an arm's advice answers rightly."""
  return float(arm.removeprefix(ARM)) / 100


def rule(about: Any) -> str:
  """What spoils the advice of a run: the rule of its adversary, or `FLAWED`.
  """
  return (about.replaced or {}).get('adversary', FLAWED)


def read(path: pathlib.Path) -> list[dict[str, str]]:
  """Returns what is known of the advice alone; [] where nothing is.

  Earlier files have no rules, as all advice in them was flawed, and none of
  actions that were drawn.
  """
  if not path.is_file():
    return []
  with gzip.open(path, 'rt', encoding='utf-8', newline='') as f:
    return [
        {'rule': FLAWED, 'sampled': '', **x} for x in csv.DictReader(f)]


def play(runs: list[load.Run], path: pathlib.Path) -> None:
  """Plays the advice of each run alone where it has not been played yet."""
  known = {tuple(x[k] for k in COLUMNS[:4]): x for x in read(path)}
  for run in runs:
    about = run.about
    if not about.arm.startswith(ARM):
      continue
    key = (
        about.task, rule(about), f'{share(about.arm):g}', str(about.seed))
    row = known.setdefault(key, dict(zip(COLUMNS, key), sampled=''))
    if row['sampled']:
      continue
    advice = (about.task, key[2], int(about.seed), about.replaced or {})
    if 'success' not in row:
      success, score = alone(*advice)
      row.update(
          episodes=str(EPISODES), success=f'{success:g}',
          score=f'{score:.4f}')
    row['sampled'] = f'{followed(*advice, best=False)[0]:g}'
    results.write_table(path, COLUMNS, sorted(
        [x[k] for k in COLUMNS] for x in known.values()))
    print(f'{key[0]}, {key[1]}, right in {key[2]}, seed {key[3]}: '
          f'{float(row["success"]):.2f}, drawn {float(row["sampled"]):.2f}',
          flush=True)


def alone(
    task: str, right: str, seed: int,
    replaced: dict[str, str]) -> tuple[float, float]:
  """Returns success and mean return of advice without an agent."""
  if replaced:
    return followed(task, right, seed, replaced, best=True)
  found = judge.judge(configured(task, right, seed), FLAWED, EPISODES, seed)
  return found['success'], found['return']


def configured(task: str, right: str, seed: int) -> Any:
  """Returns the configuration of advice that is right in a share."""
  return configlib.resolve(
      ['--configs', 'minigrid', 'lore', '--task', task,
       '--lore.advisor.provider', FLAWED, '--lore.advisor.model', right,
       '--seed', str(seed)], configlib.load())


def followed(
    task: str, right: str, seed: int, replaced: dict[str, str],
    best: bool) -> tuple[float, float]:
  """Returns success and mean return where each step asks for advice anew.

  Args:
    task: Of MiniGrid or BabyAI.
    right: Share of right answers, where nothing spoils the advice.
    seed: Of what is wrong, and of what is drawn.
    replaced: Perhaps the `adversary`, which spoils right answers.
    best: Whether the best action is taken; else actions are drawn from the
      softmax of beta_max / T times the advice.
  """
  config = configured(task, '1' if replaced else right, seed)
  sharp = math.inf if best else (
      config.lore.gate.beta_max / config.lore.temperature.value)
  env = worlds.make_as(True, config, 0, None, heldout=True)
  advisor = service.Advisor(
      flawed.Flawed(config.lore.advisor, seed),
      int(env.act_space['action'].classes))
  if replaced:
    advisor = adversaries.read(replaced['adversary'])(
        advisor, types.SimpleNamespace(taken=0, proof=0.0, shown=0), seed=seed)
  rng = np.random.default_rng(seed)
  wins, scores = [], []
  try:
    for _ in range(EPISODES):
      won, score = follow(env, advisor, rng, sharp)
      wins.append(won)
      scores.append(score)
  finally:
    env.close()
    advisor.close()
  return float(np.mean(wins)), float(np.mean(scores))


def follow(
    env: Any, advisor: Any, rng: Any, sharp: float) -> tuple[bool, float]:
  """Takes advised actions to the end of an episode."""
  obs, won, score = env.step({'action': 0, 'reset': True}), False, 0.0
  while not obs['is_last']:
    states = obs['lore/state'][None]
    each = [np.array([obs[k]]) for k in ('reward', 'is_first', 'is_last')]
    advisor.consider(
        states, [0], np.zeros(1, np.float32), *each, advised=np.array([True]))
    prior, valid = advisor.lookup(states, [0], np.array([True]))
    obs = env.step({
        'action': drawn(prior[0] * valid[0], rng, sharp), 'reset': False})
    score += float(obs['reward'])
    won = won or bool(obs['log/success'])
  return won, score


def drawn(advice: np.ndarray, rng: Any, sharp: float) -> int:
  """Draws an action from softmax(sharp * advice), advice of shape [A]."""
  if math.isinf(sharp):
    return int(rng.choice(np.flatnonzero(ground.foremost(advice))))
  return int(np.argmax(sharp * advice + rng.gumbel(size=len(advice))))


def measure(
    runs: list[load.Run], rows: list[dict[str, str]]) -> dict[str, dict]:
  """Returns the figures of one task by arm: values by seed, in their order.

  Args:
    runs: Finished ones of one task.
    rows: Of the advice alone, of any task.
  """
  stop = load.settled(runs)
  out: dict[str, dict] = {}
  for arm in sorted({x.about.arm for x in runs}, key=lambda x: (
      x != BASE, share(x) if x != BASE else 0)):
    own = sorted(
        (x for x in runs if x.about.arm == arm), key=lambda x: x.about.seed)
    alone = {
        int(y['seed']): y for x in own for y in rows
        if arm != BASE and y['task'] == x.about.task
        and y['rule'] == rule(x.about) and int(y['seed']) == x.about.seed
        and float(y['share']) == share(arm)}
    advice = [y for x in own if (y := alone.get(x.about.seed))]
    out[arm] = {
        'seeds': [x.about.seed for x in own],
        'training': np.array([x.between(0, stop) for x in own]),
        'alone': np.array([x.heldout(x.steps) for x in own], float),
        'return': np.array([
            x.episodes['score'][x.begins() <= stop].mean() for x in own]),
        'advice': np.array([float(y['success']) for y in advice]),
        'sampled': np.array([
            float(y['sampled']) for y in advice if y['sampled']]),
        'advice return': np.array([float(y['score']) for y in advice])}
  return out


def relative(
    found: dict[str, dict], arm: str) -> tuple[float, float, float]:
  """Means of an arm as shares of the better one's; see the module.

  inf where the better one never succeeds, as nothing is below 0.9 of that.
  """
  base, own = found[BASE], found[arm]
  mean = lambda x: x.mean() if len(x) else 0.0
  part = lambda x, y: float(x / y) if y else math.inf
  planned = max(base['training'].mean(), mean(own['advice']))
  return (
      part(own['training'].mean(), planned),
      part(own['training'].mean(), max(planned, mean(own['sampled']))),
      part(own['alone'].mean(), base['alone'].mean()))


def table(task: str, found: dict[str, dict]) -> str:
  """Returns one task's figures as Markdown."""
  cell = lambda x: f'{x.mean():.2f} ({x.min():.2f})' if len(x) else ''
  part = lambda x: ('all' if math.isinf(x) else f'{x:.2f}') + (
      ' FAILED' if x < ENOUGH else '')
  lines = [
      f'| {task} | seeds | training | advice | of the better | sampled | of '
      'the best | alone | of RL only | return | of the advice |',
      '|' + '---|' * 11]
  for arm, x in found.items():
    one, two, three = [''] * 3 if arm == BASE else map(
        part, relative(found, arm))
    lines.append('| ' + ' | '.join([
        arm, str(len(x['seeds'])), cell(x['training']), cell(x['advice']), one,
        cell(x['sampled']), two, cell(x['alone']), three, cell(x['return']),
        cell(x['advice return'])]) + ' |')
  return '\n'.join(lines)


def draw(by: dict[str, dict[str, dict]], out: pathlib.Path) -> None:
  """Draws all tasks: above while training, below the agent alone."""
  with looklib.style('light') as look:
    fig, axes = looklib.canvas(2, len(by), height=6.2)
    for column, (task, found) in zip(axes.T, by.items()):
      for ax, key in zip(column, ('training', 'alone')):
        panel(ax, found, key, look)
      column[0].set_title(
          f'{task.removeprefix("minigrid_")} '
          f'({span(len(x["seeds"]) for x in found.values())})')
    axes[1, len(by) // 2].set_xlabel('share of questions with right advice')
    axes[0, 0].set_ylabel('success while training')
    axes[1, 0].set_ylabel('success of the agent alone')
    looklib.legend(fig, axes[0, 0])
    looklib.save(fig, out, 'best-of-both', 'light')


def span(counts: Iterable[int]) -> str:
  """Tells how many seeds arms have: '1 seed', '4 to 5 seeds'."""
  counts = list(counts)
  low, high = min(counts), max(counts)
  return (f'{low} to ' if low < high else '') + f'{high} seed{"s"[:high > 1]}'


def panel(ax: Any, found: dict[str, dict], key: str, look: Any) -> None:
  """Draws LoRe and RL only by seed, and in training means of the advice."""
  arms = [x for x in found if x != BASE]
  at = np.array([share(x) for x in arms])
  line = dict(lw=2.0, ms=5)
  means = np.array([found[x][key].mean() for x in arms])
  ax.plot(
      at, means, color=look['colours'][0], marker='o', label='LoRe', **line)
  for x, arm in zip(at, arms):
    values = found[arm][key]
    ax.scatter(np.full(len(values), x), values, s=9, alpha=0.5,
               color=look['colours'][0])
  base = found[BASE][key]
  ax.axhline(base.mean(), color=look['base'], ls='--', label='RL only')
  ax.scatter(np.full(len(base), -0.06), base, s=9, alpha=0.5,
             color=look['base'])
  if key == 'training':
    for part, mark, style, label in (
        ('advice', 'D', ':', 'advice alone, best action'),
        ('sampled', 's', '-.', 'advice alone, drawn')):
      have = [x for x in arms if len(found[x][part])]
      ax.plot([share(x) for x in have],
              [found[x][part].mean() for x in have], marker=mark,
              color=look['colours'][1], ls=style, label=label, **line)
  ax.set(xlim=(-0.09, 1.05), ylim=(-0.03, 1.05))


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('folder', type=pathlib.Path,
                      help='of results, as `ablate` writes it')
  parser.add_argument('--play', action='store_true',
                      help='play the advice alone')
  args = parser.parse_args(argv)
  runs, notes = load.load([args.folder])
  runs = [x for x in runs if x.finished]
  if args.play:
    return play(runs, args.folder / ADVICE)
  print(*notes, sep='\n')
  rows = read(args.folder / ADVICE)
  # The task with most runs first.
  tasks = collections.Counter(x.about.task for x in runs).most_common()
  by = {
      task: found for task, _ in tasks
      if BASE in (found := measure(
          [x for x in runs if x.about.task == task], rows))}
  if not by:
    parser.error(f'No finished run of {BASE} in {args.folder}.')
  for task, found in by.items():
    print('\n' + table(task, found))
  draw(by, args.folder)


if __name__ == '__main__':
  main()
