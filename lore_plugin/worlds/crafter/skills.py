"""Ways to what a Crafter player can do, on the map that it remembers.

One search from where the player stands finds the nearest place for each skill
at once, and ends when all have one.
"""

import heapq
from collections.abc import Collection, Iterable, Mapping

from . import memory as memorylib

CODE, SIZE = memorylib.CODE, memorylib.SIZE
OFFSETS = tuple((dx * SIZE + dy, name) for name, (dx, dy) in (
    memorylib.DIRECTIONS.items()))
WALK = frozenset(memorylib.WALKABLE)
STONE = CODE['stone']
# Steps that it takes to walk into a cell of stone: one to mine it, one to go.
MINE = 2
# Cells that one search looks at. What is farther than that is not offered.
MOST = 3000
# Steps added for a cell beside lava, where a slip is the end.
LAVA = 6


class Search:
  """The nearest ways from where the player is.

  Args:
    memory: A `memory.Memory`.
    wanted: For each name the cells to act on, as flat indices; the player
      stands beside one of them.
    stand: For each name the cells to stand on, as flat indices.
    frontier: Whether to look for the nearest cell beside unknown ground.

  Attributes:
    found: By name the pair (cell to stand on, cell to act on or None).
  """

  def __init__(
      self, memory: memorylib.Memory, wanted: Mapping[str, Collection[int]],
      stand: Mapping[str, Collection[int]], frontier: bool = True):
    self.memory = memory
    self.start = memory.pos[0] * SIZE + memory.pos[1]
    self.found: dict[str, tuple[int, int | None]] = {}
    self.parents: dict[int, int | None] = {self.start: None}
    self._run(wanted, stand, frontier)

  def _run(self, wanted, stand, frontier):
    flat, blocked = self.memory.flat, {
        x * SIZE + y for x, y in self.memory.objects}
    digs = self.memory.inventory.get('wood_pickaxe', 0) > 0
    targets = {}
    for name, cells in wanted.items():
      for cell in cells:
        targets.setdefault(cell, []).append(name)
    places = {}
    for name, cells in stand.items():
      for cell in cells:
        places.setdefault(cell, []).append(name)
    left = {*(k for k, v in wanted.items() if v),
            *(k for k, v in stand.items() if v)}
    if frontier:
      left.add('explore')
    queue, dist, looked = [(0, self.start)], {self.start: 0}, 0
    while queue and left and looked < MOST:
      steps, cell = heapq.heappop(queue)
      if steps > dist[cell]:
        continue
      looked += 1
      for name in places.get(cell, ()):
        if name in left:
          left.discard(name)
          self.found[name] = cell, None
      for offset, _ in OFFSETS:
        other = cell + offset
        for name in targets.get(other, ()):
          if name in left:
            left.discard(name)
            self.found[name] = cell, other
        kind = flat[other]
        if kind == 0 and 'explore' in left:
          left.discard('explore')
          self.found['explore'] = cell, other
        if other in blocked:
          continue
        if kind in WALK:
          cost = 1 + LAVA * self._hot(flat, other)
        elif digs and kind == STONE:
          cost = MINE
        else:
          continue
        if steps + cost < dist.get(other, 1 << 30):
          dist[other] = steps + cost
          self.parents[other] = cell
          heapq.heappush(queue, (steps + cost, other))

  @staticmethod
  def _hot(flat, cell):
    return any(flat[cell + o] == CODE['lava'] for o, _ in OFFSETS)

  def act(self, name: str, final: str | None = 'do') -> tuple[str, ...]:
    """Returns the actions that begin the way to a skill, by the game's names.

    Args:
      name: Of what was searched for.
      final: What to do beside the cell, or on the place to stand on.

    Returns:
      Names of actions; () where there is no way.
    """
    if name not in self.found:
      return ()
    place, target = self.found[name]
    if place != self.start:
      return (self._step(self._first(place)),)
    if target is None:
      return (final,) if final else ()
    if target == self._front():
      # Unknown ground lies there: to see it is to go there.
      return (final,) if final else (self._toward(target),)
    return (self._toward(target),)

  def to(self, cell: memorylib.Cell) -> str:
    """Returns the first action of the way to a cell, '' if there is none."""
    place = cell[0] * SIZE + cell[1]
    if place == self.start or place not in self.parents:
      return ''
    return self._step(self._first(place))

  def _front(self):
    x, y = self.memory.front
    return x * SIZE + y

  def _first(self, place):
    while self.parents[place] != self.start:
      place = self.parents[place]
    return place

  def _step(self, cell):
    """Goes to a cell beside the player, through stone if need be."""
    if self.memory.flat[cell] == STONE and cell == self._front():
      return 'do'
    return self._toward(cell)

  def _toward(self, cell):
    return next(name for o, name in OFFSETS if self.start + o == cell)


def flat(cells: Iterable[memorylib.Cell]) -> list[int]:
  """Returns positions as flat indices."""
  return [x * SIZE + y for x, y in cells]


def beside(memory: memorylib.Memory, *names: str) -> set[int]:
  """Returns cells from which all of some materials are within one cell.

  Args:
    memory: A `memory.Memory`.
    *names: Materials, such as 'table'.

  Returns:
    Set of flat indices.
  """
  out: set[int] | None = None
  for name in names:
    cells: set[int] = set()
    for place in places(memory, name):
      cells.update(
          place + dx * SIZE + dy for dx in (-1, 0, 1) for dy in (-1, 0, 1))
    out = cells if out is None else out & cells
  return {x for x in out or () if memory.flat[x] in (*WALK, STONE)}


def places(memory: memorylib.Memory, name: str) -> list[int]:
  """Returns where a material is known to be, as flat indices."""
  return (memory.cells.reshape(-1) == CODE[name]).nonzero()[0].tolist()


def place(memory: memorylib.Memory, where: Iterable[str]) -> tuple[str, ...]:
  """Returns the actions that begin to place something in front.

  Args:
    memory: A `memory.Memory`.
    where: Materials that it may be placed on.

  Returns:
    'place' if the cell in front will do, else moves that turn to one that may.
  """
  codes = {CODE[x] for x in where if x in CODE}
  good = lambda cell: (
      memory.cells[cell] in codes and cell not in memory.objects)
  if good(memory.front):
    return ('place',)
  return tuple(
      name for name, (dx, dy) in memorylib.DIRECTIONS.items()
      if good((memory.pos[0] + dx, memory.pos[1] + dy))
      and memory.cells[memory.pos[0] + dx, memory.pos[1] + dy] in WALK)
