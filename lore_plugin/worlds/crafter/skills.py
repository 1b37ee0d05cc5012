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
    found: By name the nearest places, all those that are as near: pairs (cell
      to stand on, cell to act on or None).
  """

  def __init__(
      self, memory: memorylib.Memory, wanted: Mapping[str, Collection[int]],
      stand: Mapping[str, Collection[int]], frontier: bool = True):
    self.memory = memory
    self.start = memory.pos[0] * SIZE + memory.pos[1]
    self.found: dict[str, list[tuple[int, int | None]]] = {}
    # By cell the cells beside the player through which the shortest ways go.
    self.firsts: dict[int, set[int]] = {self.start: set()}
    self._run(wanted, stand, frontier)

  def _run(self, wanted, stand, frontier):
    flat, blocked = self.memory.flat, {
        x * SIZE + y for x, y in self.memory.objects}
    digs = self.memory.inventory.get('wood_pickaxe', 0) > 0
    targets, places = _by_cell(wanted), _by_cell(stand)
    names = {k for x in (wanted, stand) for k, v in x.items() if v}
    if frontier:
      names.add('explore')
    queue, dist, looked = [(0, self.start)], {self.start: 0}, 0
    firsts = self.firsts
    # Steps to the nearest place, by name.
    level = {}
    # What is as near as the last that was looked for counts as well.
    while queue and looked < MOST and (
        len(level) < len(names) or (
            queue[0][0] <= max(level.values(), default=0))):
      steps, cell = heapq.heappop(queue)
      if steps > dist[cell]:
        continue
      looked += 1
      for name in places.get(cell, ()):
        self._note(level, name, steps, (cell, None))
      for offset, _ in OFFSETS:
        other = cell + offset
        for name in targets.get(other, ()):
          self._note(level, name, steps, (cell, other))
        kind = flat[other]
        if kind == 0 and frontier:
          self._note(level, 'explore', steps, (cell, other))
        if other in blocked:
          continue
        if kind in WALK:
          cost = steps + 1 + LAVA * self._hot(flat, other)
        elif digs and kind == STONE:
          cost = steps + MINE
        else:
          continue
        known = dist.get(other, 1 << 30)
        if cost > known:
          continue
        first = firsts[cell] or {other}
        if cost < known:
          dist[other], firsts[other] = cost, first
          heapq.heappush(queue, (cost, other))
        elif first != firsts[other]:
          firsts[other] = firsts[other] | first

  def _note(self, level, name, steps, place):
    if level.setdefault(name, steps) == steps:
      self.found.setdefault(name, []).append(place)

  @staticmethod
  def _hot(flat, cell):
    return any(flat[cell + o] == CODE['lava'] for o, _ in OFFSETS)

  def act(self, name: str, final: str | None = 'do') -> tuple[str, ...]:
    """Returns the actions that begin a shortest way to a skill.

    Args:
      name: Of what was searched for.
      final: What to do beside the cell, or on the place to stand on.

    Returns:
      The game's names of these actions; () where there is no way.
    """
    found = self.found.get(name, ())
    if any(target == self._front() for place, target in found
           if place == self.start) and final:
      return (final,)
    steps = {
        action for place, target in found
        for action in self._toward_place(place, target, final)}
    return tuple(sorted(steps))

  def to(self, cell: memorylib.Cell) -> str:
    """Returns the first action of a way to a cell, '' if there is none."""
    place = cell[0] * SIZE + cell[1]
    first = self.firsts.get(place)
    return self._step(min(first)) if first else ''

  def _toward_place(self, place, target, final):
    if place != self.start:
      return [self._step(x) for x in self.firsts[place]]
    if target is None:
      return [final] if final else []
    # To look at unknown ground is to go there.
    return [self._toward(target)]

  def _front(self):
    x, y = self.memory.front
    return x * SIZE + y

  def _step(self, cell):
    """Goes to a cell beside the player, through stone if need be."""
    if self.memory.flat[cell] == STONE and cell == self._front():
      return 'do'
    return self._toward(cell)

  def _toward(self, cell):
    return next(name for o, name in OFFSETS if self.start + o == cell)


def _by_cell(cells):
  """Returns names by cell, from cells by name."""
  out = {}
  for name, places in cells.items():
    for cell in places:
      out.setdefault(cell, []).append(name)
  return out


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
