"""Keeps each environment's subgoal from one macro boundary to the next.

A boundary is the start of an episode, an event that the describer names, a
subgoal that is not offered any more, or one that was not offered before. In
between nothing is asked: the scores of the last answer are grounded in what
the agent sees now.
"""

import dataclasses

import numpy as np

from . import ground


@dataclasses.dataclass(slots=True)
class Plan:
  """What one environment is after.

  Attributes:
    options: Names of the subgoals offered when it was made.
    key: Address of the state that was asked about.
    scores: Score of each of them; empty while the answer is awaited.
    done: The preferred subgoals of this episode so far, in order.
  """
  options: frozenset = frozenset()
  key: str = ''
  scores: dict = dataclasses.field(default_factory=dict)
  done: list = dataclasses.field(default_factory=list)


class Plans:
  """The plans of all environments."""

  def __init__(self):
    self.plans = {}

  def step(self, env, state, is_first, event):
    """Takes note of a step. Returns whether a new plan is needed.

    Args:
      env: Number of the environment.
      state: The advisor's `State`.
      is_first: Whether an episode begins.
      event: Whether the describer named an event.
    """
    options = frozenset(state.query.candidates)
    plan = self.plans.setdefault(env, Plan())
    if is_first:
      plan.done = []
    if not (is_first or event) and options == plan.options:
      return False
    plan.options, plan.key, plan.scores = options, state.key, {}
    return True

  def waiting(self, env):
    """Returns the key of the state whose answer is awaited, '' if none."""
    plan = self.plans.get(env)
    return plan.key if plan and not plan.scores else ''

  def adopt(self, env, candidates, scores):
    """Makes a plan of an answer."""
    plan = self.plans[env]
    plan.scores = dict(zip(candidates, map(float, scores)))
    best = max(plan.scores, key=plan.scores.get)
    if plan.done[-1:] != [best]:
      plan.done.append(best)

  def logits(self, env, state, bias, smoothing):
    """Returns action logits by the plan, None if there is none. Shape [A]."""
    plan = self.plans.get(env)
    names = state.query.candidates
    if not plan or not plan.scores or not names or not (
        plan.options.issuperset(names)):
      return None
    scores = np.array([plan.scores[x] for x in names])
    return ground.ground(
        state.query.description, state.query.mode, names, scores, bias,
        smoothing)

  def done(self, env):
    """Returns the subgoals that were preferred in this episode, in order."""
    plan = self.plans.get(env)
    return list(plan.done) if plan else []
