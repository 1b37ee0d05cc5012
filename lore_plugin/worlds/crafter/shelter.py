"""A room in rock, closed behind the player, to spend the night in.

Nothing can be placed but in front, and to look somewhere is to walk there
unless it is blocked. So the player digs two cells into rock, steps back, which
turns it towards the way it came, and closes that with a stone:

    C B A     from C mine B, go there, mine A, go there, back to B, and a stone
              on C. What lies around B and A has to be solid.
"""

from collections.abc import Callable, Collection

from . import memory as memorylib

CODE = memorylib.CODE
OPEN = frozenset((CODE['dark'], CODE['outside'], *memorylib.WALKABLE))
# Cells that a closed room may have.
LARGEST = 4
# How far from the player a place is looked for.
REACH = 14


def closed(
    memory: memorylib.Memory, extra: Collection[memorylib.Cell] = ()) -> bool:
  """Whether the player is in a small room without a way in.

  Args:
    memory: A `memory.Memory`.
    extra: Cells to think of as solid.
  """
  seen, todo = {memory.pos}, [memory.pos]
  while todo:
    x, y = todo.pop()
    for dx, dy in memorylib.DIRECTIONS.values():
      cell = x + dx, y + dy
      if cell in seen or cell in extra or memory.cells[cell] not in OPEN:
        continue
      if len(seen) >= LARGEST or cell in memory.objects:
        return False
      seen.add(cell)
      todo.append(cell)
  return True


class Shelter:
  """Where a room is to be dug, kept until it stands or can't be dug.

  Attributes:
    plan: Cell to begin at and direction to dig in, or None.
  """

  def __init__(self):
    self.plan = None

  def action(
      self, memory: memorylib.Memory,
      walk: Callable[[memorylib.Cell], str]) -> str:
    """Returns the next action towards a closed room.

    Args:
      memory: A `memory.Memory`.
      walk: Called with a cell; returns the first action of the way there, ''
        where there is none.

    Returns:
      The game's name of an action; 'sleep' once the room is closed, '' if
      there is nowhere to dig or nothing to dig with.
    """
    if closed(memory):
      self.plan = None
      return 'sleep'
    stones = memory.inventory.get('stone', 0)
    if stones and memory.front not in memory.objects and (
        memory.cells[memory.front] in memorylib.WALKABLE) and closed(
            memory, (memory.front,)):
      return 'place_stone'
    if not memory.inventory.get('wood_pickaxe'):
      return ''
    if self.plan is None or not _solid(memory, *self.plan):
      self.plan = _find(memory)
    return self._follow(memory, walk) if self.plan else ''

  def _follow(self, memory, walk):
    start, way = self.plan
    first, second = _ahead(start, way), _ahead(start, way, 2)
    into = next(k for k, v in memorylib.DIRECTIONS.items() if v == way)
    out = next(k for k, v in memorylib.DIRECTIONS.items()
               if v == (-way[0], -way[1]))
    if memory.pos == second:
      return out
    if memory.pos == first and memory.facing != way and (
        memory.cells[second] in memorylib.WALKABLE):
      # Back from the end: something stands where the stone is to go.
      return 'do' if memory.front in memory.objects else out
    if memory.pos in (start, first):
      target = first if memory.pos == start else second
      if memory.cells[target] in memorylib.WALKABLE:
        return into
      return 'do' if memory.facing == way else into
    action = walk(start)
    if not action:
      self.plan = None
    return action


def _ahead(cell, way, steps=1):
  return cell[0] + way[0] * steps, cell[1] + way[1] * steps


def _solid(memory, start, way):
  """Whether a room can be dug from a cell in a direction."""
  first, second = _ahead(start, way), _ahead(start, way, 2)
  room = {first, second}
  diggable = (CODE['stone'], CODE['path'])
  if any(memory.cells[x] not in diggable or (
      x in memory.objects) for x in room):
    return False
  around = {
      _ahead(x, d) for x in room for d in memorylib.DIRECTIONS.values()}
  return all(
      memory.cells[x] not in OPEN and memory.cells[x] != CODE['lava']
      for x in around - room - {start})


def _find(memory):
  """Returns the nearest place for a room: cell and direction, or None."""
  px, py = memory.pos
  block = memory.cells[px - REACH:px + REACH + 1, py - REACH:py + REACH + 1]
  best, least = None, 1 << 30
  for x, y in zip(*(block == CODE['stone']).nonzero()):
    cell = int(x) + px - REACH, int(y) + py - REACH
    far = abs(cell[0] - px) + abs(cell[1] - py)
    if far >= least:
      continue
    for way in memorylib.DIRECTIONS.values():
      start = cell[0] - way[0], cell[1] - way[1]
      if memory.cells[start] in memorylib.WALKABLE and _solid(
          memory, start, way):
        best, least = (start, way), far
        break
  return best
