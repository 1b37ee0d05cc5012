"""Which episodes are for training, and which for judging."""

from collections.abc import Iterator

import numpy as np

from .. import errors


def episode_seeds(seed: int, index: int, heldout: bool) -> Iterator[int]:
  """Returns the seeds of one environment's episodes, without end.

  Training has the even numbers and held-out evaluation the odd ones, so no
  seed is in both, whatever the seeds of the runs. Small tasks draw the
  same layout by many seeds: DoorKey-5x5 has 48 starts, and training soon sees
  all of them.

  Args:
    seed: Seed of the run, at least 0.
    index: Which of the run's environments, at least 0.
    heldout: Whether to return held-out seeds.

  Raises:
    EnvError: The seed or the index is negative.
  """
  if seed < 0 or index < 0:
    raise errors.EnvError(
        f'The seed is {seed} and the environment {index}; neither may be '
        f'negative. Set --seed 0.')
  return _draw(np.random.SeedSequence((seed, index)), heldout)


def drawn(task: str) -> str:
  """Says in a word what the seeds of a task draw: MiniGrid's draw layouts."""
  return 'layouts' if task.startswith('minigrid_') else 'episodes'


def _draw(sequence, heldout):
  rng = np.random.default_rng(sequence)
  while True:
    yield 2 * int(rng.integers(2 ** 30)) + int(heldout)
