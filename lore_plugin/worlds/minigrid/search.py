"""Shortest ways on the remembered map, turns included.

A pose is a cell and a compass. A set of cells is one whole number, with a bit
for each cell, row by row; a set of poses is four of these, one above another.
A shift moves all poses of a set at once, so that a search takes a few
operations for each step of a way, however large the map is.
"""

import copy
import dataclasses
from collections.abc import Collection, Iterable, Iterator

from .memory import AHEAD, BLOCKED, DOOR, FORWARD, LEFT, RIGHT, STRIDE, TOGGLE
from .memory import Memory

# Steps, the actions that begin the way, and what has to be moved first.
Way = tuple[int, tuple[int, ...], int | None]


class Board:
  """The map as sets, with a rim of unseen cells around what was seen.

  Attributes:
    bits: The bit of each seen cell, by position.
    area: Bits of a set of cells.
    poses: All poses.
    free: Poses on cells that one walks onto.
    doors: Poses on closed doors, which must be opened first.
    things: Position of each thing that can be moved, and the poses on it.
    frontier: Poses that look at an unseen cell.

  Args:
    memory: The map.
  """

  def __init__(self, memory: Memory):
    places = [divmod(x + STRIDE // 2, STRIDE) for x in memory.cells]
    top, left = (min(x) - 1 for x in zip(*places))
    bottom, right = (max(x) + 1 for x in zip(*places))
    self.width = width = right - left + 1
    self.area = area = width * (bottom - top + 1)
    self.bits = bits = {
        pos: 1 << (row - top) * width + column - left
        for pos, (row, column) in zip(memory.cells, places)}
    cells = (1 << area) - 1
    self.poses = self.on(cells)
    self.compasses = [cells << i * area for i in range(4)]
    costs: dict[int, list[int]] = {1: [], DOOR: [], BLOCKED: []}
    for pos, cost in memory.costs.items():
      costs[cost].append(pos)
    self.free = self.on(sum(bits[x] for x in costs[1]))
    self.doors = self.on(sum(bits[x] for x in costs[DOOR]))
    self.things = [(x, self.on(bits[x])) for x in costs[BLOCKED]]
    self.frontier = self.facing(cells - sum(bits.values()))

  def on(self, cells: int) -> int:
    """Returns the poses on some cells."""
    cells |= cells << self.area
    return cells | cells << 2 * self.area

  def facing(self, cells: int) -> int:
    """Returns the poses that look at some cells."""
    width, area = self.width, self.area
    return (cells >> 1 | cells >> width << area
            | cells << 2 * area + 1 | cells << 3 * area + width)

  def left(self, poses: int) -> int:
    """Returns poses turned to the left, and some that don't exist."""
    return poses >> self.area | poses << 3 * self.area

  def right(self, poses: int) -> int:
    """Returns poses turned to the right, and some that don't exist."""
    return poses << self.area | poses >> 3 * self.area

  def ahead(self, poses: int) -> int:
    """Returns poses moved one cell ahead."""
    right, down, left, up = self.compasses
    return ((poses & right) << 1 | (poses & down) << self.width
            | (poses & left) >> 1 | (poses & up) >> self.width)

  def without(self, pos: int) -> 'Board':
    """Returns the board as if something lay on a free cell."""
    board = copy.copy(self)
    poses = self.on(self.bits[pos])
    board.free = self.free & ~poses
    board.things = [*self.things, (pos, poses)]
    return board


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
  """Poses that are equally far.

  Attributes:
    steps: Actions to them; a thing to be moved counts as `BLOCKED`.
    block: Position of what has to be moved first; 0 for nothing.
    door: Whether the way leads through a closed door.
    poses: The poses.
    first: Those to which a shortest way begins with a turn to the left, with
      one to the right, and ahead.
  """
  steps: int
  block: int
  door: bool
  poses: int
  first: list[int]


class Ways:
  """All ways from where the agent is, the nearest first.

  They lead through closed doors, which must be opened first, and through
  things that can be moved, where there is no way around them. How far they
  were followed is kept; what nobody asks for is not searched.

  Args:
    memory: The map.
    board: The same as sets; None makes them.
  """

  def __init__(self, memory: Memory, board: Board | None = None):
    self.board = board = board or memory.keep('board', lambda: Board(memory))
    shut = memory.costs.get(memory.front) == DOOR
    self.actions = LEFT, RIGHT, TOGGLE if shut else FORWARD
    start = board.bits[memory.place] << memory.compass * board.area
    self.layers = [Layer(0, 0, False, start, [0, 0, 0])]
    self.unknown = board.poses & ~start
    # Poses of the layers to come, by steps; as in a `Layer`.
    self.queue: dict[int, dict[tuple[int, bool], list[int]]] = {}
    self._leave(
        0, 0, False, [board.left(start), board.right(start), 0],
        [0, 0, board.ahead(start)])

  def __iter__(self) -> Iterator[Layer]:
    """Yields each `Layer`, the nearest first."""
    index = 0
    while index < len(self.layers) or self._advance():
      yield self.layers[index]
      index += 1

  def _advance(self):
    """Finds the next poses. Returns whether there are any."""
    board, before = self.board, len(self.layers)
    while self.queue and len(self.layers) == before:
      steps = min(self.queue)
      # Ways on which nothing has to be moved or opened come first.
      for (block, door), first in sorted(self.queue.pop(steps).items()):
        first = [x & self.unknown for x in first]
        poses = first[0] | first[1] | first[2]
        if poses:
          self.unknown ^= poses
          self.layers.append(Layer(steps, block, door, poses, first))
          self._leave(
              steps, block, door,
              [board.left(x) | board.right(x) for x in first],
              [board.ahead(x) for x in first])
    return len(self.layers) > before

  def _leave(self, steps, block, door, turned, ahead):
    """Queues what is one turn, one step, one door or one thing further."""
    board = self.board
    self._add(steps + 1, block, door, [
        x | y & board.free for x, y in zip(turned, ahead)])
    met = ahead[0] | ahead[1] | ahead[2]
    if met & board.doors:
      self._add(
          steps + DOOR, block, True, [x & board.doors for x in ahead])
    for pos, poses in board.things:
      if met & poses:
        self._add(
            steps + BLOCKED, block or pos, door, [x & poses for x in ahead])

  def _add(self, steps, block, door, first):
    groups = self.queue.setdefault(steps, {})
    old = groups.get((block, door))
    groups[block, door] = first if old is None else [
        x | y for x, y in zip(old, first)]

  def _way(self, layer, poses):
    """Returns what `facing` does, for poses of a layer."""
    actions = tuple(
        x for x, y in zip(self.actions, layer.first) if y & poses)
    return layer.steps, actions, layer.block or None

  def facing(
      self, targets: Iterable[int], final: int | None = None) -> Way | None:
    """Finds the nearest pose that faces one of some positions.

    Args:
      targets: Positions.
      final: The action once the agent faces it, None for none.

    Returns:
      Steps to it, the actions that begin the way (empty if the agent faces it
      and there is no final action), and the position of what has to be moved
      first, or None. None if there is no way.
    """
    bits, cells = self.board.bits, 0
    for pos in targets:
      cells |= bits.get(pos, 0)
    wanted = cells and self.board.facing(cells)
    for layer in self if wanted else ():
      if layer.poses & wanted:
        if not layer.steps and final is not None:
          return 0, (final,), None
        return self._way(layer, wanted)
    return None

  def explore(self) -> tuple[int, tuple[int, ...], int | None, bool] | None:
    """Returns how to see more, as `facing` does.

    Doors are opened if nothing else is left to see, things moved if nothing
    but that is.

    Returns:
      As `facing` does, and whether a door must be opened.
    """
    found: dict[tuple[bool, bool], Layer] = {}
    for layer in self:
      if layer.block and found:
        break
      if layer.poses & self.board.frontier:
        found.setdefault((layer.block > 0, layer.door), layer)
        if not layer.door:
          break
    if not found:
      return None
    layer = found[min(found)]
    return *self._way(layer, self.board.frontier), layer.door


def clear_spots(memory: Memory) -> list[int]:
  """Returns empty cells where a thing blocks nothing."""
  spots = memory.keep('clear', lambda: [
      pos for pos, kind in memory.cells.items()
      if kind == 'empty' and _clear(pos, memory)])
  return [pos for pos in spots if pos != memory.place]


def _clear(pos, memory):
  cells, costs = memory.cells, memory.costs
  for step in AHEAD:
    # It may be the only way to a door or a thing, or beyond an unseen cell.
    if pos + step not in cells or pos + step in memory.things:
      return False
  ring = []
  for i in range(4):
    side, corner = AHEAD[i], AHEAD[i] + AHEAD[(i + 1) % 4]
    ring += [costs.get(pos + side, BLOCKED) < BLOCKED,
             costs.get(pos + corner, BLOCKED) < BLOCKED]
  # The free sides must hang together around the cell.
  parts = sum(
      ring[i] and not ring[i - 1] and (i % 2 == 0 or ring[(i + 1) % 8])
      for i in range(8))
  return parts <= 1


def least_harm(memory: Memory, ways: Ways, aims: Collection[int]) -> list[int]:
  """Returns the cells that cut off the least if something lies there.

  Args:
    memory: The map.
    ways: The ways on it.
    aims: Positions that should stay in reach.
  """
  board = ways.board
  found: dict[int, tuple[bool, int]] = {}
  for layer in ways:
    if layer.steps >= BLOCKED or len(found) == MOST:
      break
    faced = board.ahead(layer.poses)
    for pos, bit in board.bits.items():
      if (faced & board.on(bit) and memory.cells[pos] == 'empty'
          and pos not in found and len(found) < MOST):
        found[pos] = _reach(Ways(memory, board.without(pos)), aims)
  best = max(found.values(), default=None)
  return [pos for pos, reach in found.items() if reach == best]


def _reach(ways, aims):
  """Returns whether aims are in reach, and how many poses are."""
  way = ways.facing(aims)
  return way is not None and way[2] is None, sum(
      x.poses.bit_count() for x in ways if x.steps < BLOCKED)


# Cells that `least_harm` looks at; each of them takes a search.
MOST = 16
