"""The words for what is known and what can be done, by the part it plays.

Colours and kinds are those of a part, not those on the screen: what the
mission is about is always the red object (or the red door, if it is to be
opened), what it is put next to the blue object, a door that needs a key the
green door. What plays no part is 'something else'. So a question is the same
whatever the layout, and a reply serves all of them.

Whoever changes a word changes `world.MiniGridWorld.version`.
"""

from collections.abc import Collection, Iterable

from . import search
from .memory import AHEAD, DONE, DROP, FORWARD, LEFT, PICKUP, PORTABLE
from .memory import RIGHT, TOGGLE, Memory
from .mission import Clause

ELSE = 'something else'
READY = ('go to', 'put', 'open the', 'say')
GOAL, AIM, BESIDE = 'the goal', 'the red object', 'the blue object'


class Scene:
  """What there is to say about one step.

  Attributes:
    mission: What is to be done now.
    facts: What is known of, in words.
    options: Actions by choice.
    held: What is carried, in words.

  Args:
    memory: The map.
    clause: What is to be done now; None if the mission is not understood.
    mission: The mission as the task words it.
    asks_done: Whether the task is over by the action 'done'.
  """

  def __init__(
      self, memory: Memory, clause: Clause | None, mission: str = '',
      asks_done: bool = False):
    self.memory = memory
    self.clause = clause
    self.mission = mission
    self.asks_done = asks_done
    self.ways = search.Ways(memory)
    self.facts: list[str] = []
    self.options: dict[str, tuple[int, ...]] = {}
    self.blocks: set[int] = set()
    self.used: set[int] = set()  # Positions of what plays a part.
    self.aims: Collection[int] = ()  # Positions of what matters most.
    self.hand = memory.carried
    self.held = 'nothing' if self.hand is None else ELSE
    if clause:
      # What can be reached at once needs no doors, keys and boxes.
      if not self._mission():
        self._lock()
        self._boxes()
    else:
      self._everything()
    self._rest()

  def offer(
      self, name: str, targets: Iterable[int], final: int | None) -> bool:
    """Offers a choice if there is a way. Returns whether there is one."""
    way = self._way(targets, final)
    # The agent faces it already, and must do so anew for it to count.
    if way:
      self.options[name] = way[1] or (LEFT, RIGHT)
    return way is not None

  def know(self, name: str, reachable: bool = True) -> None:
    self.facts.append(name if reachable else f'{name} out of reach')

  def _way(self, targets, final=None):
    """Returns a way with nothing to be moved on it, or None."""
    way = self.ways.facing(targets, final)
    if way and way[2] is not None:
      self.blocks.add(way[2])
      return None
    return way

  def _find(self, target):
    memory = self.memory
    return [p for p, x in memory.things.items() if target.fits(x, memory)]

  def _mission(self):
    """What the mission is about. Returns whether it can be done at once."""
    clause, memory = self.clause, self.memory
    spots = self.aims = self._find(clause.target)
    self.used.update(spots)
    holds = self.hand is not None and clause.target.fits(self.hand, memory)
    if holds:
      self.held = AIM
    if clause.verb == 'open':
      self.mission = 'open the red door'
      return self._open(spots)
    if clause.verb == 'put':
      others = self._find(clause.other)
      self.used.update(others)
      if holds:
        return self._put(others)
      # What already lies there does not count.
      spots = self.aims = [p for p in spots if p not in others] or spots
      if self._barred(others):
        return True
    if clause.verb in ('take', 'put'):
      self.mission = f'take {AIM}'
      return bool(spots) and self._take(AIM, spots)
    name = GOAL if clause.target.kind == 'goal' else AIM
    self.mission = f'go to {name}'
    if self.asks_done and memory.front in spots:
      self.facts.append(f'{name} right here')
      self.options[f'say that you are at {name}'] = (DONE,)
      return True
    final = FORWARD if name == GOAL else None
    if not spots:
      return False
    found = self.offer(f'go to {name}', spots, final)
    self.know(name, found)
    return found

  def _take(self, name, spots):
    """What is to be taken. Returns whether there is a way to it."""
    if self.hand is None:
      found = self.offer(f'take {name}', spots, PICKUP)
    else:
      found = self._way(spots) is not None
    self.know(name, found)
    return found

  def _put(self, others):
    """What is carried is to be put next to something."""
    self.mission = f'put {AIM} next to {BESIDE}'
    self.aims = self._beside(others)
    if not others:
      return False
    found = self.offer(self.mission, self.aims, DROP)
    self.know(BESIDE, found)
    return found

  def _barred(self, others):
    """Returns whether a place to put things has to be made accessible."""
    if others:
      barred = self._way(self._beside(others)) is None and self.blocks
    else:
      way = self.ways.explore()
      barred = way is not None and way[2] is not None
    if barred:
      self.mission = f'clear the way to {BESIDE}'
      self.know(BESIDE, False)
    return barred

  def _beside(self, others):
    """Returns where something can be put next to others."""
    memory = self.memory
    return [
        p + step for p in others for step in AHEAD
        if memory.cells.get(p + step) == 'empty' and p + step != memory.place]

  def _open(self, spots):
    """A door that the mission wants open. Returns whether it can be now."""
    things = self.memory.things
    # A door that stands open is closed first: opening it is what counts.
    for state in ('closed', 'locked', 'open'):
      doors = [p for p in spots if things[p].state == state]
      if doors and state == 'locked':
        return self._key('red', doors)
      if doors:
        found = self.offer('open the red door', doors, TOGGLE)
        self.know('the red door', found)
        return found
    return False

  def _key(self, colour, doors):
    """Doors that need a key. Returns whether they can be opened now."""
    things, hand = self.memory.things, self.hand
    fitting = {things[p].colour for p in doors}
    door, key = f'the locked {colour} door', f'the {colour} key'
    if hand and hand.kind == 'key' and hand.colour in fitting:
      self.held = key
      found = self.offer(
          f'open the {colour} door',
          [p for p in doors if things[p].colour == hand.colour], TOGGLE)
      self.know(door, found)
      return found
    self.know(door, self._way(doors) is not None)
    keys = [p for p, x in things.items()
            if x.kind == 'key' and x.colour in fitting]
    if keys:
      self._take(key, keys)
      self.used.update(keys)
    return False

  def _lock(self):
    """The most promising door that needs a key and isn't the mission's."""
    things, hand = self.memory.things, self.hand
    keys = {x.colour for x in things.values() if x.kind == 'key'}
    held = hand.colour if hand and hand.kind == 'key' else ''
    doors = {}
    for pos, thing in things.items():
      if thing.state == 'locked' and pos not in self.used:
        doors.setdefault(thing.colour, []).append(pos)
    if doors and not any('locked' in x for x in self.facts):
      colour = min(sorted(doors), key=lambda x: (x != held, x not in keys))
      self._key('green', doors[colour])

  def _boxes(self):
    """Boxes, where a key is missing or nothing else is left to be seen."""
    locked = [x for x in self.facts if 'locked' in x]
    missing = locked and not any(
        ' key' in x for x in (*self.facts, self.held))
    boxes = [p for p, x in self.memory.things.items()
             if x.kind == 'box' and p not in self.used]
    if boxes and (missing or self.ways.explore() is None):
      self.used.update(boxes)
      self.know('a box', self.offer('open a box', boxes, TOGGLE))

  def _everything(self):
    """All that has a name, where nobody knows what matters."""
    names = {}
    for pos, thing in sorted(self.memory.things.items()):
      self.used.add(pos)
      key = (thing.kind, thing.colour, thing.state)
      names.setdefault(key, []).append(pos)
    if self.hand is not None:
      self.held = f'the {self.hand.colour} {self.hand.kind}'
    for (kind, colour, state), spots in sorted(names.items())[:8]:
      name = f'the {colour} {kind}'
      self.facts.append(f'the {state} {colour} door' if state else name)
      if kind == 'goal':
        self.offer('go to the goal', spots, FORWARD)
        continue
      self.offer(f'go to {name}', spots, None)
      if kind in PORTABLE and self.hand is None:
        self.offer(f'take {name}', spots, PICKUP)
      hand = self.hand
      fits = hand and (hand.kind, hand.colour) == ('key', colour)
      if kind == 'box' or state == 'closed' or (state == 'locked' and fits):
        self.offer(f'open {name}', spots, TOGGLE)

  def _rest(self):
    """What can be done whatever the mission is."""
    self._explore()
    # What blocks the way to nothing that is wanted may lie where it is.
    wanted = any('out of reach' in x for x in self.facts)
    if self.blocks and not self.asks_done and (wanted or not self.options):
      self.facts.append('something in the way')
      if self.hand is None:
        self.offer('move what is in the way', self.blocks, PICKUP)
    # What is carried is wanted, or hinders nobody, where one of these is next.
    ready = self.clause and any(x.startswith(READY) for x in self.options)
    if self.hand is not None and not ready:
      self._drop()
    if not self.options:
      self.options['wait'] = (LEFT,)

  def _explore(self):
    """How to see more; doors are opened if nothing else is left."""
    way = self.ways.explore()
    if way is None or (self.asks_done and way[3]):
      return
    if way[2] is not None:
      self.blocks.add(way[2])
    else:
      self.options['explore'] = way[1]

  def _drop(self):
    """A place for what is carried, where it blocks nothing."""
    memory = self.memory
    way = self.ways.facing(search.clear_spots(memory), DROP)
    if way is None or way[2] is not None:
      spots = memory.keep('spots', lambda: search.least_harm(
          memory, self.ways, self.aims))
      way = self.ways.facing(spots, DROP)
    if way is not None and way[2] is None:
      self.options[f'drop {self.held}'] = way[1]

  def text(self) -> str:
    """Returns the facts in words."""
    known = ', '.join(self.facts) or 'nothing that matters'
    return f'You carry {self.held}. You know of {known}.'
