"""What an agent remembers of a MiniGrid episode: a map by dead reckoning.

The agent's own pose is the origin of the map. Positions are whole numbers,
`row * STRIDE + column`, so that a step is one addition.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TypeVar

import numpy as np

T = TypeVar('T')

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
KINDS = (
    'unseen', 'empty', 'wall', 'floor', 'door', 'key', 'ball', 'box', 'goal',
    'lava', 'agent')
COLOURS = ('red', 'green', 'blue', 'purple', 'yellow', 'grey')
STATES = ('open', 'closed', 'locked')
PORTABLE = ('key', 'ball', 'box')

STRIDE = 1 << 12
HERE = STRIDE * STRIDE // 2  # Where an episode begins.
# Steps to the right, down, left and up, as MiniGrid's compass counts.
AHEAD = (1, STRIDE, -1, -STRIDE)

# What a step onto a cell costs in actions; one that is missing can't be made.
# What can be moved away costs more than any way around it.
DOOR, BLOCKED = 2, 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Thing:
  """Something that has a name.

  Attributes:
    kind: 'door', 'key', 'ball', 'box', 'goal' or 'thing'.
    colour: Its colour in words.
    state: 'open', 'closed' or 'locked' of a door, else ''.
    origin: Where it was when it was first seen.
  """
  kind: str
  colour: str
  state: str
  origin: int


class Memory:
  """The map of one episode.

  Attributes:
    cells: Kind of each cell that was seen, by position.
    things: `Thing` by position, of the cells that hold one.
    costs: What a step onto a cell costs, by position; see `BLOCKED`.
    place: Where the agent is.
    compass: Where it looks: 0 to 3 for right, down, left, up.
    start: Place and compass at the beginning.
    carried: The `Thing` that the agent carries, or None.
    events: What the last step brought about.
    changes: How often the map changed.

  Args:
    moving: Whether balls move by themselves: they can't be taken, and are
      believed only while they are seen.
  """

  def __init__(self, moving: bool = False):
    self.moving = moving
    self.cells: dict[int, str] = {}
    self.things: dict[int, Thing] = {}
    self.costs: dict[int, int] = {}
    self.place, self.compass = HERE, 0
    self.start = HERE, 0
    self.carried: Thing | None = None
    self.events: tuple[str, ...] = ()
    self.changes = 0
    self._kept: dict[str, tuple] = {}

  @property
  def front(self) -> int:
    return self.place + AHEAD[self.compass]

  @property
  def pose(self) -> int:
    """Place and compass in one number."""
    return self.place << 2 | self.compass

  def update(
      self, image: np.ndarray, compass: int,
      action: int | None = None) -> None:
    """Takes in what one step shows.

    Args:
      image: The agent's view. Shape [V, V, 3], u8.
      compass: Where the agent looks, 0 to 3.
      action: The action that led here, None at the beginning.
    """
    compass = int(compass)
    view, width = image.tobytes(), image.shape[0]
    front = self.front
    if not self.cells:
      self.start = self.place, compass
    elif action == FORWARD and self._walked(view, width, compass):
      self.place = front
    self.compass = compass
    if self.moving:
      for pos in [p for p, x in self.things.items() if x.kind == 'ball']:
        self._put(pos, 'empty', '', '')
    before = self.things.get(front)
    held = self.carried
    for index, step in _offsets(width, compass):
      kind = view[index]
      if kind and step:
        self._see(self.place + step, *view[index:index + 3])
    own = _entry(KINDS, view[_own(width)], 'thing')
    if own not in PORTABLE:
      self.carried = None
    elif held is None:
      colour = _entry(COLOURS, view[_own(width) + 1], 'grey')
      taken = before if action == PICKUP else None
      self.carried = Thing(
          own, colour, '', taken.origin if taken else self.place)
    if self.place not in self.cells:
      self._put(self.place, 'empty', '', '')
    self._note(front, before, held, action)

  def _walked(self, view, width, compass):
    """Returns whether a step ahead led onto the cell ahead."""
    if self.costs.get(self.front) is None:
      return self.cells.get(self.front) == 'lava'
    thing = self.things.get(self.front)
    if thing and thing.kind not in ('goal',) and thing.state != 'open':
      return False
    if not self.moving:
      return True
    # A ball may have come in between: whether the walls lie as they would.
    fixed, wrong = ('wall', 'goal'), [0, 0]
    for moved, place in enumerate((self.place, self.front)):
      for index, step in _offsets(width, compass):
        known = self.cells.get(place + step)
        if known and view[index] and step:
          wrong[moved] += (known in fixed) != (
              _entry(KINDS, view[index], 'thing') in fixed)
    ball = view[_own(width) - 3] == KINDS.index('ball')
    return wrong[1] < wrong[0] + (not ball)

  def _see(self, pos, kind, colour, state):
    kind = _entry(KINDS, kind, 'thing')
    if kind in ('empty', 'wall', 'floor', 'lava'):
      if self.cells.get(pos) != kind:
        self._put(pos, kind, '', '')
      return
    self._put(
        pos, kind, _entry(COLOURS, colour, 'grey'),
        _entry(STATES, state, 'open') if kind == 'door' else '')

  def _put(self, pos, kind, colour, state):
    """Writes a cell."""
    old = self.things.get(pos)
    if (self.cells.get(pos) == kind and
        (old is None or (old.colour, old.state) == (colour, state))):
      return
    self.changes += 1
    self.cells[pos] = kind
    self.costs.pop(pos, None)
    self.things.pop(pos, None)
    if kind in ('empty', 'floor', 'goal'):
      self.costs[pos] = 1
    elif kind == 'door' and state != 'locked':
      self.costs[pos] = 1 if state == 'open' else DOOR
    elif kind in PORTABLE and not (self.moving and kind == 'ball'):
      self.costs[pos] = BLOCKED
    if kind not in ('empty', 'floor', 'wall', 'lava'):
      origin = pos
      if old and (old.kind, old.colour) == (kind, colour):
        origin = old.origin
      elif (self.carried and pos == self.front and
            (self.carried.kind, self.carried.colour) == (kind, colour)):
        origin = self.carried.origin
      self.things[pos] = Thing(kind, colour, state, origin)

  def _note(self, front, before, held, action):
    """Names what the step brought about."""
    events = []
    if action is None:
      events.append('episode start')
    if self.carried and not held:
      events.append(f'{self.carried.kind} taken')
    if held and not self.carried:
      events.append('object dropped')
    after = self.things.get(front)
    box = before and before.kind == 'box'
    if action == TOGGLE and box and after != before:
      events.append('box opened')
    if action == TOGGLE and after and (after.kind, after.state) == (
        'door', 'open') and before and before.state != 'open':
      events.append('door opened')
    if action == FORWARD and self.place == front and before:
      events.append(
          {'door': 'room entered', 'goal': 'goal reached'}.get(
              before.kind, 'moved'))
    self.events = tuple(events)

  def keep(self, name: str, make: Callable[[], T]) -> T:
    """Returns make(), made anew only when the map has changed."""
    if self._kept.get(name, (-1,))[0] != self.changes:
      self._kept[name] = self.changes, make()
    return self._kept[name][1]

  def room(self) -> frozenset[int]:
    """Returns the known cells of the room in which the episode began.

    Doors in its walls are part of it.
    """
    return self.keep('room', self._flood)

  def _flood(self):
    found, queue = {self.start[0]}, [self.start[0]]
    for pos in queue:
      if self.cells.get(pos) == 'door' and pos != self.start[0]:
        continue
      for step in AHEAD:
        kind = self.cells.get(pos + step, 'wall')
        if kind != 'wall' and pos + step not in found:
          found.add(pos + step)
          queue.append(pos + step)
    return frozenset(found)

  def side(self, origin: int) -> tuple[int, int]:
    """Returns where a position lies as seen at the beginning.

    Returns:
      Cells ahead, and cells to the right; both may be negative.
    """
    place, compass = self.start
    rows, columns = divmod(origin - place + STRIDE // 2, STRIDE)
    columns -= STRIDE // 2
    dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[compass]
    return columns * dx + rows * dy, rows * dx - columns * dy


def _entry(table, index, other):
  """Returns a table's entry; packages may add what it does not know."""
  return table[index] if index < len(table) else other


def _own(width):
  """Returns the index of the agent's own cell in the bytes of a view."""
  return 3 * (width // 2 * width + width - 1)


@functools.cache
def _offsets(width, compass):
  """Returns for each cell of a view its index in the bytes, and its offset.

  The agent is in the middle of the last row of a view, and looks up.
  """
  ahead, right = AHEAD[compass], AHEAD[(compass + 1) % 4]
  return [
      (3 * (i * width + j),
       (width - 1 - j) * ahead + (i - width // 2) * right)
      for i in range(width) for j in range(width)]
