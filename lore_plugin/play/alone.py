"""Evaluates the agent alone while it trains.

Training does not notice: the agent's draws go on where they were, and its
environments, its advisor and its trust see nothing of it.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import elements

from .. import errors
from .. import lines
from .. import logdir as logdirlib
from . import rollout


def evaluate(
    agent: Any, config: elements.Config, make_env: Callable[..., Any],
    step: int) -> dict[str, Any]:
  """Plays episodes of new seeds without advice, and notes what came of them.

  The seeds are the same at each step.

  Args:
    agent: An `embodied.Agent`.
    config: The whole configuration.
    make_env: Makes an environment: make_env(config, index, **overrides).
    step: Environment step of training.

  Returns:
    As `rollout.proportion`.
  """
  # Nobody reads words there, and to find them takes longer than to act.
  silent = config.update({'lore.enabled': False})
  with undisturbed(agent):
    found = rollout.proportion(rollout.play(
        agent, lambda i: make_env(silent, i, heldout=True),
        config.lore.heldout))
  if config.lore.heldout_every and not logdirlib.is_remote(config.logdir):
    lines.append(
        pathlib.Path(config.logdir) / logdirlib.ALONE, {'step': step, **found})
  return found


@contextlib.contextmanager
def undisturbed(agent: Any) -> Iterator[None]:
  """Lets an agent go on afterwards as if nothing had been.

  Its random draws are numbered, and parameters that it has learned since its
  last action wait until it has taken the next one.
  """
  inner = getattr(agent, 'agent', agent)
  count = getattr(inner, 'n_actions', None)
  if count is None:  # A random agent.
    yield
    return
  before, waiting = int(count), inner.pending_sync
  inner.pending_sync = None
  try:
    yield
  finally:
    inner.pending_sync = waiting
    with count.lock:
      count.value = before


def failure(error: Exception) -> str:
  """Says why an evaluation failed, whose run goes on.

  Args:
    error: What it raised.

  Raises:
    KeyboardInterrupt: It failed as somebody ends the run: an environment may
      have caught that, and raised an error of its own.
  """
  cause: BaseException | None = error
  while cause:
    if isinstance(cause, (KeyboardInterrupt, SystemExit)):
      raise cause
    cause = cause.__cause__ or cause.__context__
  kind = '' if isinstance(error, errors.LoreError) else (
      f'{type(error).__name__}: ')
  return (
      'The agent alone was not evaluated: '
      f'{kind}{" ".join(str(error).split()).rstrip(".")}.')


class Regularly:
  """Evaluates at multiples of `lore.heldout_every` before the run's end.

  Where an evaluation fails, training goes on, and the next one is tried. Why
  it failed is said once.

  Args:
    config: The whole configuration.
    agent: Returns the agent, which need not be there yet.
    make_env: As of `evaluate`.
  """

  def __init__(
      self, config: elements.Config, agent: Callable[[], Any],
      make_env: Callable[..., Any]):
    self.config = config
    self.agent = agent
    self.make_env = make_env
    self.every = int(config.lore.heldout_every)
    self.done: int | None = None
    self.said = False

  def __call__(self, step: int) -> None:
    """Called at each environment step of training."""
    if self.done is None:
      # Where a run goes on, what came before is not evaluated again.
      self.done = max(0, step - 1) // self.every
    mark = step // self.every
    if mark > self.done and step < self.config.run.steps:
      self.done = mark
      try:
        evaluate(self.agent(), self.config, self.make_env, mark * self.every)
      except Exception as e:
        self._say(failure(e), mark * self.every)

  def _say(self, why, step):
    if not self.said:
      elements.print(
          f'{why} That was at step {step:,}; training goes on, and it is '
          f'tried again every {self.every:,} steps. Without it: '
          '--lore.heldout_every 0', color='red', flush=True)
    self.said = True
