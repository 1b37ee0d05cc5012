"""Missions of MiniGrid and BabyAI: what is to be done, one after another."""

import dataclasses
import re

from .memory import COLOURS, DROP, PICKUP, PORTABLE, TOGGLE
from .memory import Memory, Thing

NOUNS = ('ball', 'box', 'key', 'door', 'object', 'goal')
PLACES = {
    'in front of you': 'front', 'behind you': 'behind', 'on your left': 'left',
    'on your right': 'right'}


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
  """What a mission names; '' fits anything.

  Attributes:
    kind: 'ball', 'box', 'key', 'door', 'goal', or 'object' for what can be
      taken.
    colour: In words.
    side: 'front', 'behind', 'left' or 'right' of where the agent began, in
      the room where it began.
  """
  kind: str
  colour: str = ''
  side: str = ''

  def fits(self, thing: Thing, memory: Memory) -> bool:
    """Tells whether a `Thing` may be meant, as far as is known."""
    if self.kind == 'object':
      if thing.kind not in PORTABLE:
        return False
    elif thing.kind != self.kind:
      return False
    if self.colour and thing.colour != self.colour:
      return False
    if not self.side:
      return True
    ahead, right = memory.side(thing.origin)
    return thing.origin in memory.room() and {
        'front': ahead > 0, 'behind': ahead < 0,
        'right': right > 0, 'left': right < 0}[self.side]


@dataclasses.dataclass(frozen=True, slots=True)
class Clause:
  """One thing to do.

  Attributes:
    verb: 'go', 'take', 'open' or 'put'.
    target: What to go to, take, open or put somewhere.
    other: What it is put next to, None for other verbs.
  """
  verb: str
  target: Target
  other: Target | None = None

  def done(self, memory: Memory, action: int, held: Thing | None) -> bool:
    """Tells whether the last step has done it.

    Args:
      memory: The map after the step.
      action: The step's action.
      held: What was carried before it.
    """
    front = memory.things.get(memory.front)
    fits = lambda thing: bool(thing) and self.target.fits(thing, memory)
    if self.verb == 'go':
      return fits(front)
    if self.verb == 'take':
      return action == PICKUP and not held and fits(memory.carried)
    if self.verb == 'open':
      return (
          action == TOGGLE and fits(front) and front is not None
          and front.state == 'open')
    around = [memory.things.get(memory.front + x) for x in _AROUND]
    return (
        action == DROP and fits(held) and not memory.carried
        and self.other is not None
        and any(x and self.other.fits(x, memory) for x in around))


_AROUND = (1, -1, 1 << 12, -(1 << 12))

_NOUN = (
    r'(?:(?:a|an|the) )?(?:(?P<c{0}>' + '|'.join(COLOURS) + ') )?'
    r'(?P<k{0}>' + '|'.join(NOUNS) + r')(?: square)?'
    r'(?: (?P<s{0}>' + '|'.join(PLACES) + '))?')
_FORMS = (
    ('put', re.compile(
        r'(?:put|move|place) ' + _NOUN.format(0)
        + r' (?:next to|near|beside) ' + _NOUN.format(1))),
    ('take', re.compile(
        r'(?:pick up|take|get|fetch|grab|find) ' + _NOUN.format(0))),
    ('open', re.compile(r'(?:open|unlock) ' + _NOUN.format(0))),
    ('go', re.compile(r'(?:go to|get to|reach|find) ' + _NOUN.format(0))),
)
_ROOM = re.compile(r'from the (%s) room' % '|'.join(COLOURS))


def parse(mission: str) -> tuple[Clause, ...]:
  """Returns what a mission asks for, in order; nothing if that is unclear."""
  text = ' '.join(mission.lower().replace('.', ' ').split())
  first, after, second = text.partition(' after you ')
  if after:
    return parse(second) + parse(first)
  found: list[Clause] = []
  for part in re.split(r', then |, and | and then | then |, | and ', text):
    found += _clauses(part, found)
  # A door on the way to the goal is opened if it must be.
  if any(x.target.kind == 'goal' for x in found) and 'room' not in text:
    found = [x for x in found if x.target.kind == 'goal']
  return tuple(found)


def _clauses(part, before):
  """Reads one part of a mission."""
  for verb, form in _FORMS:
    match = form.search(part)
    if not match:
      continue
    groups = match.groupdict()
    target = _target(groups, 0)
    if target.kind == 'goal':
      return [Clause('go', target)]
    if verb == 'take' and target.kind == 'door':
      continue
    other = _target(groups, 1) if verb == 'put' else None
    room = _ROOM.search(part)
    way = [Clause('open', Target('door', room.group(1)))] if room else []
    return [*way, Clause(verb, target, other)]
  # 'open the red door then the blue door'
  match = re.fullmatch(_NOUN.format(0), part)
  if match and before:
    return [dataclasses.replace(
        before[-1], target=_target(match.groupdict(), 0))]
  return []


def _target(groups, index):
  side = groups.get(f's{index}')
  colour = groups.get(f'c{index}') or ''
  kind = groups[f'k{index}']
  return Target(
      kind, '' if kind == 'goal' else colour, PLACES[side] if side else '')
