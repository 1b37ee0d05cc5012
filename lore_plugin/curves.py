"""The arithmetic of learning curves: windows, steps to a goal, intervals."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

WINDOW = 1000
MARKS = (6000, 8000, 10000)
GOAL = 0.9
# Episodes that a window needs before its rate counts as reached. Failures end
# late: the first to end in a run are the lucky ones.
ENOUGH = 10


def windows(
    steps: ArrayLike, scores: ArrayLike, end: int,
    width: int = WINDOW) -> np.ndarray:
  """Success rate of each window of environment steps.

  Args:
    steps: Steps at which episodes ended. [N], i64.
    scores: What they came to; above 0 is a success. [N], f64.
    end: Environment steps of the run.
    width: Steps a window spans; window k is (k * width, (k + 1) * width].

  Returns:
    Rate of each whole window; nan where no episode ended. [end // width], f64.
  """
  return means(steps, np.asarray(scores) > 0, end, width)


def means(
    steps: ArrayLike, values: ArrayLike, end: int,
    width: int = WINDOW) -> np.ndarray:
  """Mean of each window of environment steps; see `windows`."""
  index, values = (np.asarray(steps) - 1) // width, np.asarray(values)
  return np.array([
      values[index == k].mean() if (index == k).any() else np.nan
      for k in range(int(end) // width)], np.float64)


def cumulative(steps: ArrayLike, scores: ArrayLike, end: int) -> float:
  """Success rate of all episodes that ended by a step; nan if none did."""
  done = np.asarray(steps) <= end
  return (np.asarray(scores)[done] > 0).mean() if done.any() else np.nan


def steps_to(
    steps: ArrayLike, scores: ArrayLike, end: int, goal: float = GOAL,
    width: int = WINDOW) -> int | None:
  """First step of the first window that reaches the goal, or None.

  Windows with fewer than 10 episodes are passed over.

  Args:
    steps: Steps at which episodes ended. [N], i64.
    scores: Their returns; above 0 is a success. [N], f64.
    end: Environment steps of the run.
    goal: Success rate to reach, in [0, 1].
    width: Steps a window spans.
  """
  rates = windows(steps, scores, end, width)
  counts = np.bincount(
      (np.asarray(steps, int) - 1) // width, minlength=len(rates))
  hits = np.flatnonzero((rates >= goal) & (counts[:len(rates)] >= ENOUGH))
  return int(hits[0]) * width if len(hits) else None


def wilson(
    successes: float, count: float,
    z: float = 1.959964) -> tuple[float, float]:
  """Wilson score interval of a proportion.

  Source: Wilson 1927, Probable inference, eq. 5. Covers 95 % by default.

  Args:
    successes: Number of successes, in [0, count].
    count: Number of trials, at least 1.
    z: Normal quantile of the confidence level.

  Returns:
    Lower and upper bound in [0, 1].
  """
  p, zz = successes / count, z * z / count
  centre = (p + zz / 2) / (1 + zz)
  half = z * math.sqrt(p * (1 - p) / count + zz / count / 4) / (1 + zz)
  return max(0.0, centre - half), min(1.0, centre + half)


def crafter_score(rates: ArrayLike) -> float:
  """Returns the Crafter score: a geometric mean over achievements.

  Source: Hafner 2021, Benchmarking the Spectrum of Agent Capabilities, eq. 1:
  exp(mean_i log(1 + s_i)) - 1, with s_i the share of episodes in per cent.

  Args:
    rates: Share of episodes that unlocked each achievement, in [0, 1]. [N].

  Returns:
    The score in per cent, in [0, 100].
  """
  return float(np.expm1(np.log1p(100 * np.asarray(rates)).mean()))


def unlocked(rates: Mapping[str, float]) -> str:
  """Tells in what share of the episodes each achievement was unlocked."""
  return ', '.join(f'{k.replace("_", " ")} {v:.2f}' for k, v in rates.items())


def cut(found: Mapping[str, Any]) -> str:
  """Says how many episodes of an evaluation were cut; '' for none.

  Args:
    found: What `play.rollout.proportion` returned.
  """
  count = found.get('cut', 0)
  if not count:
    return ''
  return (
      f'{count:,} of {found["episodes"]:,} episodes were cut, as they went on '
      'for too long')
