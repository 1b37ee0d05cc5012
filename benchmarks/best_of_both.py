"""Whether LoRe is as good as the better of RL only and the advice alone.

  python -m lore_plugin ablate best-of-both --out runs --jobs 2
  python benchmarks/best_of_both.py runs/results/best-of-both --play
  python benchmarks/best_of_both.py runs/results/best-of-both

The first command trains, beside advice that is right in a share of the
questions. The second plays that advice alone, without an agent and without
experience, on 100 held-out layouts a task, share and seed, and writes
advice.csv.gz into the folder, a row as soon as it is known; started again it
goes on. The third prints, for each task, as Markdown, and draws best-of-both.png
and .svg into the folder:

  training  success of the episodes that began before the longest could no
            longer have ended; mean over seeds, and the worst seed
  alone     success of the agent alone at the end of the run, likewise
  advice    success of the advice alone
  of the better  the mean as a share of that of the better of RL only and the
            advice (training), and of RL only (alone); failed below 0.9
"""

import argparse
import csv
import gzip
import math
import pathlib
from typing import Any

import numpy as np

from lore_plugin import config as configlib
from lore_plugin.play import judge
from lore_plugin.report import load
from lore_plugin.report import look as looklib
from lore_plugin.runs import results

ADVICE = 'advice.csv.gz'
COLUMNS = ('task', 'share', 'seed', 'episodes', 'success')
BASE, ARM = 'rl-only', 'right-'
EPISODES = 100
ENOUGH = 0.9


def share(arm: str) -> float:
  """The share of questions that an arm's advice answers rightly."""
  return float(arm.removeprefix(ARM)) / 100


def read(path: pathlib.Path) -> list[dict[str, str]]:
  """Returns what is known of the advice alone; [] where nothing is."""
  if not path.is_file():
    return []
  with gzip.open(path, 'rt', encoding='utf-8', newline='') as f:
    return list(csv.DictReader(f))


def play(runs: list[load.Run], path: pathlib.Path) -> None:
  """Plays the advice of each run alone that has not been played yet."""
  rows = [[x[k] for k in COLUMNS] for x in read(path)]
  known = {tuple(x[:3]) for x in rows}
  wanted = sorted({
      (x.about.task, f'{share(x.about.arm):g}', str(x.about.seed))
      for x in runs if x.about.arm.startswith(ARM)})
  for task, right, seed in wanted:
    if (task, right, seed) in known:
      continue
    config = configlib.resolve(
        ['--task', task, '--lore.advisor.model', right], configlib.load())
    found = judge.judge(config, 'flawed', EPISODES, int(seed))
    rows.append([task, right, seed, str(EPISODES), str(found['success'])])
    results.write_table(path, COLUMNS, sorted(rows))
    print(f'{task}, right in {right}, seed {seed}: {found["success"]:.2f}',
          flush=True)


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
    out[arm] = {
        'seeds': [x.about.seed for x in own],
        'training': np.array([x.between(0, stop) for x in own]),
        'alone': np.array([x.heldout(x.steps) for x in own], float),
        'advice': np.array([
            float(y['success']) for x in own for y in rows
            if arm != BASE and y['task'] == x.about.task
            and float(y['share']) == share(arm)
            and int(y['seed']) == x.about.seed])}
  return out


def relative(found: dict[str, dict], arm: str) -> tuple[float, float]:
  """Means of an arm as shares of the better one's; see the module.

  inf where the better one never succeeds, as nothing is below 0.9 of that.
  """
  base, own = found[BASE], found[arm]
  better = max([base['training'].mean(), *([own['advice'].mean()] if (
      len(own['advice'])) else [])])
  part = lambda x, y: float(x / y) if y else math.inf
  return (
      part(own['training'].mean(), better),
      part(own['alone'].mean(), base['alone'].mean()))


def table(task: str, found: dict[str, dict]) -> str:
  """Returns one task's figures as Markdown."""
  cell = lambda x: f'{x.mean():.2f} ({x.min():.2f})' if len(x) else ''
  part = lambda x: ('all' if math.isinf(x) else f'{x:.2f}') + (
      ' FAILED' if x < ENOUGH else '')
  lines = [
      f'| {task} | seeds | training | advice | of the better | alone | of RL '
      'only |', '|' + '---|' * 7]
  for arm, x in found.items():
    told = ['', ''] if arm == BASE else map(part, relative(found, arm))
    one, two = told
    lines.append('| ' + ' | '.join([
        arm, str(len(x['seeds'])), cell(x['training']), cell(x['advice']), one,
        cell(x['alone']), two]) + ' |')
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
          f'({max(len(x["seeds"]) for x in found.values())} seeds)')
      column[1].set_xlabel('share of questions answered rightly')
    axes[0, 0].set_ylabel('success while training')
    axes[1, 0].set_ylabel('success of the agent alone')
    looklib.legend(fig, axes[0, 0])
    looklib.save(fig, out, 'best-of-both', 'light')


def panel(ax: Any, found: dict[str, dict], key: str, look: Any) -> None:
  """Draws LoRe, RL only and, while training, the advice alone."""
  arms = [x for x in found if x != BASE]
  at = np.array([share(x) for x in arms])
  line = dict(lw=2.0, ms=5)
  means = np.array([found[x][key].mean() for x in arms])
  ax.plot(at, means, color=look['colours'][0], marker='o', label='LoRe', **line)
  for x, arm in zip(at, arms):
    values = found[arm][key]
    ax.scatter(np.full(len(values), x), values, s=9, alpha=0.5,
               color=look['colours'][0])
  base = found[BASE][key]
  ax.axhline(base.mean(), color=look['base'], ls='--', label='RL only')
  ax.scatter(np.full(len(base), -0.06), base, s=9, alpha=0.5,
             color=look['base'])
  if key == 'training':
    have = [x for x in arms if len(found[x]['advice'])]
    ax.plot([share(x) for x in have],
            [found[x]['advice'].mean() for x in have], marker='D',
            color=look['colours'][1], ls=':', label='advice alone', **line)
    for arm in have:
      values = found[arm]['advice']
      ax.scatter(np.full(len(values), share(arm) + 0.02), values, s=9,
                 alpha=0.5, color=look['colours'][1])
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
  by = {
      task: found for task in dict.fromkeys(x.about.task for x in runs)
      if BASE in (found := measure(
          [x for x in runs if x.about.task == task], rows))}
  if not by:
    parser.error(f'No finished run of {BASE} in {args.folder}.')
  for task, found in by.items():
    print('\n' + table(task, found))
  draw(by, args.folder)


if __name__ == '__main__':
  main()
