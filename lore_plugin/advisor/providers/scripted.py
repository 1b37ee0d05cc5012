"""Good advice without a model, from what the agent sees. A control.

Reads the subgoals' names and the text, like any other provider: the key if it
isn't carried, then the door, then the goal, else look around. It knows no
more than the description says, so it errs where that says too little.
"""

import re

import numpy as np

from .. import ground
from .. import types

STRENGTH = 4.0  # Nats between the best candidate and the others.


class Scripted(types.Provider):
  """Prefers one candidate clearly. Free, and deterministic."""

  name = 'scripted'
  model = 'rules-1'

  def __init__(self, config=None, seed=0):
    del config, seed

  def ask(self, query):
    return types.Reply(tuple(score(query).tolist()), raw='scripted')


def score(query):
  """Returns the scores of the rules. Shape [K], f64."""
  best = choose(query.description)
  if query.mode == 'subgoal':
    marked = {best.name} if best else set()
  else:
    words = query.description.actions
    marked = {words[a] for a in best.actions} if best else set()
  return STRENGTH * np.array([float(x in marked) for x in query.candidates])


def choose(description):
  """Returns the option that the rules prefer, or None if none applies."""
  options = [
      types.Option(option.name, acts) for option, acts in zip(
          description.options, ground.legal(description)) if acts]
  return max(
      options, key=lambda x: rank(x.name, description.text), default=None)


def rank(name, text):
  """Returns how much an option matters now; higher is better."""
  name, text = name.lower(), text.lower()
  carrying = re.search(r'\bcarry(?:ing)?\b[^.]*\bkey\b', text) is not None
  locked = re.search(r'\blocked\b', text) is not None
  if re.search(r'\bgoal\b', name):
    return 4
  if re.search(r'\bdoor\b', name):
    return 3 if carrying or not locked else -1
  if re.search(r'\bkey\b', name):
    return -1 if carrying else 2
  if re.search(r'\b(explore|look|search)\b', name):
    return 1
  return 0


def rank_world(name, mission, facts, choices):
  """Returns how much a choice of a world matters now; higher is better."""
  held = re.search(r'You carry ([^.]*)\.', facts).group(1)
  known = facts.partition('You know of ')[2]
  reach = lambda thing: re.search(thing + r'(,|\.)', known) is not None
  aim = re.search(r'the (red object|red door|goal)', mission)
  aim = aim.group(0) if aim else 'nothing'
  verb, _, rest = name.partition(' ')
  if verb in ('say', 'put') or (
      verb in ('go', 'take', 'open') and name.endswith(aim)):
    return 20
  blocked = 'out of reach' in known
  if verb == 'drop':
    if mission.startswith('put') and held == aim:
      return 4.5 if blocked else 0
    if held in (aim, ELSE):
      return 10
    # The key of a door: what is wanted needs the hand, or the way is blocked.
    return 10 if reach(aim) and mission.startswith('pick') else (
        4.5 if blocked else 0)
  if verb == 'open' and rest.endswith('green door'):
    return 9
  if verb == 'move':
    return 8 if blocked else 4
  if verb == 'take' and rest.endswith(' key'):
    return 7
  if name == 'open a box':
    return 6
  if name in ('open a closed door', 'explore'):
    return 5
  return -1


ELSE = 'something else'
