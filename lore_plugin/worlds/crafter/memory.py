"""What a Crafter player remembers of an episode: places, and what it did.

Positions are counted from where the episode began. The player knows where it
is by its own moves: it sees the cell in front of it also at night, so it knows
whether it could walk there.
"""

import numpy as np

from . import sight

# Wide enough that a player who starts in the middle never leaves it: the
# world is 64 cells across.
SIZE = 160
START = SIZE // 2, SIZE // 2
Cell = tuple[int, int]
DIRECTIONS = {
    'move_left': (-1, 0), 'move_right': (1, 0), 'move_up': (0, -1),
    'move_down': (0, 1)}
CODE = {name: i for i, name in enumerate(sight.MATERIALS)}
UNKNOWN = CODE['dark']
WALKABLE = tuple(CODE[x] for x in ('grass', 'path', 'sand'))
# Steps for which a cow is believed to be near where it was last seen. It
# walks every other step, and where it likes.
COW = 40
# Steps after which a sapling is ripe, as long as the player is near enough for
# the game to let it grow.
RIPE, NEAR = 300, 18


class Memory:
  """Places and deeds of one episode.

  Attributes:
    cells: Material of each cell as a number of `sight.MATERIALS`, 'dark' where
      nothing was seen. Shape [160, 160], u8, flat view in `flat`.
    pos: Where the player is.
    facing: Step that it looks at.
    inventory: What it owns, by name.
    sleeping: Whether it sleeps.
    night: Whether it is dark.
    objects: What is in view and moves or blocks, by position.
    cows: Step at which a cow was last seen, by position.
    plants: Steps that a sapling has grown for while the player was near, by
      position; from `RIPE` on it is ripe, or was seen to be.
    done: Achievements that the player knows it has unlocked.
    steps: Steps of the episode.
  """

  def __init__(self):
    self.cells = np.zeros((SIZE, SIZE), np.uint8)
    self.flat = memoryview(self.cells).cast('B')
    self.pos = START
    self.facing = (0, 1)
    self.inventory = {}
    self.sleeping = False
    self.night = False
    self.objects = {}
    self.cows = {}
    self.plants = {}
    self.done = set()
    self.steps = 0
    self._seen = None

  def observe(self, seen: sight.Sight, action: str | None = None) -> list[str]:
    """Takes in one picture.

    Args:
      seen: A `sight.Sight`.
      action: The game's name of the action that led to it; None in the first
        step of an episode.

    Returns:
      Achievements that this step unlocked, as far as the player can tell.
    """
    events = []
    if self._seen is not None and action is not None:
      self.steps += 1
      self._move(action)
      events = self._deeds(action, seen)
    self.facing = seen.facing
    self.inventory = dict(seen.inventory)
    self.sleeping = seen.sleeping
    self.night = seen.night
    self._look(seen)
    self._seen = seen
    new = [x for x in events if x not in self.done]
    self.done.update(new)
    return new

  @property
  def asleep(self) -> bool:
    """Whether the next action will be replaced by sleep."""
    return self.sleeping and self.inventory['energy'] < 9

  @property
  def front(self) -> Cell:
    """The cell that the player looks at."""
    return self.pos[0] + self.facing[0], self.pos[1] + self.facing[1]

  def free(self, cell: Cell) -> bool:
    """Whether the player could walk to a cell, as far as it knows."""
    return self.cells[cell] in WALKABLE and cell not in self.objects

  def around(self) -> list[Cell]:
    """Returns the four cells beside the player."""
    x, y = self.pos
    return [(x + dx, y + dy) for dx, dy in DIRECTIONS.values()]

  def near(self, *names: str) -> bool:
    """Whether all of some materials are within one cell, diagonals too."""
    x, y = self.pos
    there = set(self.cells[x - 1:x + 2, y - 1:y + 2].reshape(-1).tolist())
    return all(CODE[x] in there for x in names)

  def _move(self, action):
    if action not in DIRECTIONS or self.asleep:
      return
    dx, dy = DIRECTIONS[action]
    target = self.pos[0] + dx, self.pos[1] + dy
    if self.free(target):
      self.pos = target

  def _deeds(self, action, seen):
    """Says what the last action achieved, from what changed by it."""
    old, new = self._seen.inventory, seen.inventory
    more = {k for k in new if new[k] > old.get(k, 0)}
    # What the player looked at when it acted.
    front = self.front
    thing = self.objects.get(front, '')
    if action == 'do' and not self._seen.sleeping:
      return self._struck(front, thing, more, seen)
    if action.startswith('make_') and action.removeprefix('make_') in more:
      return [action]
    if action.startswith('place_'):
      item = action.removeprefix('place_')
      used = any(new[k] < old[k] for k in ('wood', 'stone', 'sapling'))
      if used and item == 'plant':
        self.plants[front] = 0
      return [action] if used else []
    if self._seen.sleeping and not seen.sleeping and (
        new['energy'] >= 9 and new['health'] >= old['health']):
      return ['wake_up']
    return []

  def _struck(self, front, thing, more, seen):
    """Says what a blow at the cell in front achieved."""
    if thing == 'ripe plant':
      self.plants[front] = 0
      return ['eat_plant']
    if thing in ('cow', 'zombie', 'skeleton'):
      deed = 'eat_cow' if thing == 'cow' else f'defeat_{thing}'
      return [deed] if self._gone(seen, front, thing) else []
    material = sight.MATERIALS[self.cells[front]]
    if thing or material == 'water':
      # One who is not thirsty drinks as well, and has no more of it after.
      return [] if thing else ['collect_drink']
    item = {'tree': 'wood', 'grass': 'sapling'}.get(material, material)
    return [f'collect_{item}'] if item in more else []

  def _gone(self, seen, front, thing):
    """Whether what was struck is no longer beside the player."""
    x, y = (a - b + c for a, b, c in zip(front, self.pos, sight.HERE))
    around = seen.objects[max(0, x - 1):x + 2, max(0, y - 1):y + 2]
    return not (around == sight.OBJECTS.index(thing)).any()

  def _look(self, seen):
    left, top = (p - h for p, h in zip(self.pos, sight.HERE))
    block = self.cells[left:left + sight.WIDE, top:top + sight.HIGH]
    known = seen.materials != UNKNOWN
    block[known] = seen.materials[known]
    self.objects = {}
    for x, y in zip(*np.nonzero(seen.objects)):
      cell = int(left + x), int(top + y)
      name = sight.OBJECTS[seen.objects[x, y]]
      if name != 'player':
        self.objects[cell] = name
    self._remember(known, left, top)

  def _remember(self, known, left, top):
    """Notes cows and plants, and forgets those that are gone."""
    for places, kinds in (
        (self.cows, ('cow',)), (self.plants, ('plant', 'ripe plant'))):
      for cell in list(places):
        x, y = cell[0] - left, cell[1] - top
        inside = 0 <= x < sight.WIDE and 0 <= y < sight.HIGH
        if inside and known[x, y] and self.objects.get(cell) not in kinds:
          del places[cell]
    for cell, name in self.objects.items():
      if name == 'cow':
        self.cows[cell] = self.steps
      elif name == 'ripe plant':
        self.plants[cell] = RIPE
      elif name == 'plant':
        # It is not ripe, whatever was thought of it.
        self.plants[cell] = min(self.plants.get(cell, 0), RIPE - 1)
    for (x, y), age in self.plants.items():
      if abs(x - self.pos[0]) + abs(y - self.pos[1]) < NEAR:
        self.plants[x, y] = age + 1
    for cell in [
        k for k, when in self.cows.items() if self.steps - when > COW]:
      del self.cows[cell]
