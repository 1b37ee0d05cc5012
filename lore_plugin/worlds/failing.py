"""What is said when an environment or a world fails in mid-episode."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import errors

FLOATS = (np.float32, np.float64)
REPAIR = (
    'Repair it; a run that was training goes on with the same --logdir.')


def call(
    who: str, where: str, fn: Callable[..., Any], *args: Any,
    **kwargs: Any) -> Any:
  """Returns fn(*args, **kwargs).

  Args:
    who: Whose function it is, in words: "The environment of 'Maze-v0'".
    where: When it is called, in words: 'step 3 of an episode'.

  Raises:
    EnvError: It raised; says who, where and what. Errors of ours pass.
  """
  try:
    return fn(*args, **kwargs)
  except errors.LoreError:
    raise
  except Exception as e:
    raise errors.EnvError(
        f'{who} failed in {where}: {type(e).__name__}: {e}. {REPAIR}') from e


def check(who: str, where: str, obs: Mapping[str, Any]) -> None:
  """Raises an EnvError unless all numbers that a step returned are finite."""
  wrong = [
      f'{k} {v}'[:80] for k, v in obs.items()
      if getattr(v, 'dtype', None) in FLOATS and not k.startswith('log/')
      and not np.isfinite(v).all()]
  if wrong:
    raise errors.EnvError(
        f'{who} returned a number that is not finite in {where}: '
        f'{", ".join(wrong)}. Nothing can be learned from it. {REPAIR}')
