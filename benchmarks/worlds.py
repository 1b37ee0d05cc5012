"""Advice alone on all levels of MiniGrid and BabyAI that LoRe is judged by.

  python benchmarks/worlds.py [--out results/worlds/levels.json.gz]
      [--advice local uniform scripted adversarial] [--episodes 50] [--seed 0]

Each is `python -m lore_plugin judge LEVEL --advice NAME --episodes 50`. A
result is written as soon as it is there, and what the file has is not played
again. Ends with the table in Markdown; `--episodes 0` prints it alone.
"""

import argparse
import gzip
import json
import pathlib
import subprocess

from lore_plugin import config as configlib
from lore_plugin.play import judge
from lore_plugin.worlds.minigrid.world import MiniGridWorld

LEVELS = (
    'DoorKey-5x5', 'DoorKey-8x8', 'DoorKey-16x16', 'Unlock', 'UnlockPickup',
    'BlockedUnlockPickup', 'KeyCorridorS3R1', 'KeyCorridorS3R3',
    'KeyCorridorS6R3', 'MultiRoom-N2-S4', 'MultiRoom-N4-S5', 'MultiRoom-N6',
    'ObstructedMaze-1Dl', 'ObstructedMaze-1Dlh', 'ObstructedMaze-1Dlhb',
    'ObstructedMaze-2Dlh', 'Fetch-8x8-N3', 'GoToDoor-8x8',
    'GoToObject-8x8-N2', 'PutNear-8x8-N3', 'LavaCrossingS9N2', 'FourRooms',
    'RedBlueDoors-8x8', 'BabyAI-GoToLocal-v0', 'BabyAI-PickupLoc-v0',
    'BabyAI-PutNextLocal-v0', 'BabyAI-UnlockPickup-v0',
    'BabyAI-GoToSeqS5R2-v0', 'BabyAI-Synth-v0')
OUT = 'results/worlds/levels.json.gz'
ADVICE = ('local', 'uniform', 'scripted', 'adversarial')
GOAL = 0.95


def read(path):
  """Returns the results of a file; none where there is no file."""
  if not path.exists():
    return []
  return json.loads(gzip.decompress(path.read_bytes()))


def write(path, results):
  """Writes results; the same ones give the same bytes."""
  path.parent.mkdir(parents=True, exist_ok=True)
  data = gzip.compress(json.dumps(results, indent=1).encode(), mtime=0)
  part = path.with_suffix('.part')
  part.write_bytes(data)
  part.replace(path)


def commit():
  found = subprocess.run(
      ['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True)
  return found.stdout.strip() or None


def table(results):
  """Returns the results in Markdown: a row a level, a column an advice."""
  found = {(x['task'], x['advice']): x for x in results}
  names = [x for x in ADVICE if any(key[1] == x for key in found)]
  lines = [
      '| level | ' + ' | '.join(f'{x}: solved' for x in names)
      + ' | questions | ms a step |',
      '|---' * (len(names) + 3) + '|']
  for level in LEVELS:
    rows = [found.get((f'minigrid_{level}', x)) for x in names]
    cells = ['' if x is None else f'{x["success"]:.2f}' for x in rows]
    rows = [x for x in rows if x]
    if rows:
      lines.append(
          f'| {level} | ' + ' | '.join(cells)
          + f' | {max(x["questions"] for x in rows)}'
          f' | {min(x["step_ms"] for x in rows):.2f} |')
  good = [
      sum(x['success'] >= GOAL for x in results if x['advice'] == name)
      for name in names]
  lines.append(
      f'| **levels with {GOAL} or more** | '
      + ' | '.join(f'**{x}**' for x in good) + ' | | |')
  return '\n'.join(lines)


def main():
  parser = argparse.ArgumentParser(
      description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path(OUT))
  parser.add_argument('--advice', nargs='+', default=ADVICE)
  parser.add_argument('--episodes', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  results = read(args.out)
  blocks = configlib.load()
  told = {
      'episodes': args.episodes, 'seed': args.seed,
      'world': MiniGridWorld.version}
  for name in args.advice if args.episodes else ():
    for level in LEVELS:
      key = {'task': f'minigrid_{level}', 'advice': name, **told}
      if any(key.items() <= x.items() for x in results):
        continue
      config = configlib.resolve(
          ['--task', key['task'], '--lore.world', 'minigrid'], blocks)
      found = judge.judge(config, name, args.episodes, args.seed)
      results.append({**found, **told, 'commit': commit()})
      write(args.out, results)
      print(judge.table([found]), flush=True)
  print(table(results))


if __name__ == '__main__':
  main()
