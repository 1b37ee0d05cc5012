"""Good advice without a model, from what the agent sees. A control.

Reads mission, facts and choices, like any other provider: what the mission
asks for if it can be done, else what is missing for it, else look around. It
knows the words of MiniGrid and of Crafter, and no more than they say.
"""

import re
from typing import Any

import numpy as np

from ...worlds.crafter import rules
from .. import ground
from .. import types

STRENGTH = 4.0  # Nats between the best candidate and the others.


class Scripted(types.Provider):
  """Prefers one candidate clearly. Free, and deterministic."""

  name = 'scripted'
  model = 'rules-1'

  def __init__(self, config: Any = None, seed: int = 0):
    del config, seed

  def ask(self, query: types.Query) -> types.Reply:
    return types.Reply(tuple(score(query).tolist()), raw='scripted')


def score(query: types.Query) -> np.ndarray:
  """Returns the scores of the rules. Shape [K], f64."""
  if query.description.version.startswith('crafter'):
    order = rules.ranking(query.description.text)
    return -STRENGTH * np.array([
        float(order.index(x)) if x in order else len(order)
        for x in query.candidates])
  best = choose(query.description)
  if query.mode == 'subgoal':
    marked = {best.name} if best else set()
  else:
    words = query.description.actions
    marked = {words[a] for a in best.actions} if best else set()
  return STRENGTH * np.array([float(x in marked) for x in query.candidates])


def choose(description: types.Description) -> types.Option | None:
  """Returns the option that the rules prefer, or None if none applies."""
  options = [
      types.Option(option.name, acts) for option, acts in zip(
          description.options, ground.legal(description)) if acts]
  scene = Scene(description.mission, description.text)
  return max(options, key=lambda x: scene.rank(x.name), default=None)


class Scene:
  """What the rules read out of a mission and the facts.

  Args:
    mission: The task in words.
    text: The facts: 'You carry the green key. You know of the goal.'
  """

  def __init__(self, mission: str, text: str):
    carried = re.search(r'\bcarry ([^.]*)\.', text)
    self.held = carried.group(1) if carried else 'nothing'
    self.known = text.partition('You know of ')[2]
    self.mission = mission
    aim = re.search(r'the (red object|red door|goal)\b', mission)
    self.aim = aim.group(0) if aim else ''
    self.blocked = 'out of reach' in self.known

  def rank(self, name: str) -> float:
    """Returns how much a choice matters now; higher is better."""
    verb, _, thing = name.partition(' ')
    if verb in ('say', 'put') or (self.aim and name.endswith(self.aim)
                                  and verb in ('go', 'take', 'open')):
      return 9
    if verb == 'drop':
      return self.drop()
    if verb == 'open' and thing.endswith((' green door', ' red door')):
      return 7
    if verb == 'move':
      return 6 if self.blocked else 2
    if verb == 'take' and thing.endswith(' key'):
      return 5 if self.held == 'nothing' else 0
    if name == 'open a box':
      return 4
    if name == 'explore':
      return 3
    return 0

  def drop(self) -> float:
    """Returns how much it matters to have the hand free."""
    if self.mission.startswith('put') and self.held == self.aim:
      return 1
    if not self.held.endswith(' key'):
      return 8
    # A key is kept, unless the hand is wanted for what is within reach, or
    # for what blocks the way to its door.
    within = re.search(re.escape(self.aim) + r'[,.]', self.known)
    if self.mission.startswith('take') and self.aim and within:
      return 8
    return 2.5 if self.blocked else 1
