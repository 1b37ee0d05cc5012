"""Makes the agent of a run fall over, so that one sees how it gets up.

  python benchmarks/lapse.py LOGDIR COPY
  python -m dreamerv3 ... --logdir COPY --run.steps MORE
  python benchmarks/lapse.py --table COPY [COPY ...]

COPY is the run LOGDIR with another actor: each action's logit is that of the
one before, so that it is as sure as before, and wrong. All else is as it was:
world model, replay, and what the trust control knows. The same command as
before trains on from there. --table prints, in Markdown, how often the agent
alone succeeded on held-out layouts in the run's evaluations
(`lore.heldout_every`), how often advice was tried again, and how often it was
blamed.
"""

import argparse
import pathlib
import pickle
import shutil

import numpy as np

from lore_plugin import logdir as logdirlib
from lore_plugin.upstream import checkpoint

HEAD = 'pol/head/action/logits/'


def fall(logdir: pathlib.Path, copy: pathlib.Path) -> None:
  """Copies a run, with an actor that takes the next action for each."""
  shutil.copytree(logdir, copy)
  folder = checkpoint.resolve(copy)
  data = checkpoint.read(folder)
  params = data['params']
  for name in ('kernel', 'bias'):
    params[HEAD + name] = np.roll(params[HEAD + name], 1, -1)
  with (folder / 'agent.pkl').open('wb') as f:
    pickle.dump(data, f)


def table(logdirs: list[pathlib.Path]) -> None:
  """Prints a row for each run."""
  for logdir in logdirs:
    proven = checkpoint.read(checkpoint.resolve(logdir))['trust']['proven']
    cells = ', '.join(
        f'{x["step"]:,}: {x["success"]:.2f}'
        for x in logdirlib.read_alone(logdir))
    print(f'| {logdir.name} | {cells} | {proven.get("lapses", "")} '
          f'| {proven["falls"]} |')


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('runs', nargs='+', type=pathlib.Path)
  parser.add_argument('--table', action='store_true')
  args = parser.parse_args(argv)
  if args.table:
    return table(args.runs)
  fall(*args.runs)


if __name__ == '__main__':
  main()
