"""Crafter as a world: what is worth doing, in words, and how to begin it."""

from typing import Any

from ... import errors
from ..base import Question, Situation, World
from . import memory as memorylib
from . import needs as needslib
from . import shelter as shelterlib
from . import sight
from . import skills

MISSION = (
    'stay alive and do each of the 22 things that the game rewards at least '
    'once')
# What a player can set out to do, in the order in which it is asked about.
FIGHT, SHOOT = 'fight the zombie', 'fight the skeleton'
DRINK, COW, PLANT = 'drink water', 'eat a cow', 'eat the ripe plant'
SLEEP, EXPLORE = 'sleep in a shelter', 'explore'
MAKE = {x: f'make the {x.replace("_", " ")}' for x in needslib.TOOLS}
PLACE = {
    'table': 'place a table', 'furnace': 'place a furnace',
    'stone': 'place a stone', 'plant': 'plant the sapling'}
COLLECT = {
    'tree': 'collect wood', 'stone': 'collect stone', 'coal': 'collect coal',
    'iron': 'collect iron', 'diamond': 'collect a diamond',
    'grass': 'collect a sapling'}
ITEM = {'tree': 'wood', 'grass': 'sapling'}
CHOICES = (
    FIGHT, SHOOT, DRINK, COW, PLANT, SLEEP, *MAKE.values(),
    *PLACE.values(), *COLLECT.values(), EXPLORE)


class CrafterWorld(World):
  """Remembers what the picture showed, read from the simulator.

  It asks for a ranking of all that one can set out to do, at a stage of the
  game: which tools are owned, what presses. Of the ranking the skills take
  what is possible now and still of use.
  """

  version = 'crafter-2'

  def __init__(self, env: Any, task: str):
    super().__init__(simulator(env), task)
    self.recipes = needslib.Recipes.read()
    self.names = tuple(self.env.action_names)
    self.actions = tuple(x.replace('_', ' ') for x in self.names)
    self.index = {x: i for i, x in enumerate(self.names)}
    self.reset()

  def reset(self) -> None:
    self.memory = memorylib.Memory()
    self.shelter = shelterlib.Shelter()

  def observe(
      self, obs: dict[str, Any], action: int | None = None) -> Situation:
    memory = self.memory
    events = memory.observe(
        sight.see(self.env), None if action is None else self.names[action])
    needs = needslib.Needs(memory, self.recipes)
    found = {} if memory.asleep else Options(
        memory, needs, self.shelter).found
    ways = tuple(
        tuple(sorted(self.index[x] for x in found.get(choice, ())))
        for choice in CHOICES)
    return Situation(
        Question(MISSION, facts(needs), CHOICES), ways,
        tuple(x.replace('_', ' ') for x in events))


def simulator(env: Any) -> Any:
  """Returns the simulator in an environment of ours or of upstream's.

  Raises:
    ConfigError: It is another game.
  """
  inner = env
  while inner is not None and not hasattr(inner, '_world'):
    inner = getattr(inner, 'env', None) or getattr(inner, '_env', None)
  if inner is None:
    raise errors.ConfigError(
        f'The world crafter can\'t read {type(env).__name__}. Set '
        '--lore.world auto, or --task crafter_reward.')
  return inner


def facts(needs: needslib.Needs) -> str:
  """Says which stage of the game this is, and what presses."""
  best, low = needs.pickaxe(), needs.low()
  parts = [f'Your best pickaxe is made of {best}.' if best
           else 'You have no pickaxe.']
  if low:
    parts.append(f'You are {listed(low)}.')
  if needs.memory.night:
    parts.append('It is night.')
  if needs.danger():
    parts.append('A zombie is beside you.')
  return ' '.join(parts)


def listed(words: list[str]) -> str:
  """Joins words by commas and 'and'."""
  return ' and '.join([', '.join(words[:-1]), words[-1]] if (
      len(words) > 1) else words)


class Options:
  """What can be set out to do now, and is of use.

  Args:
    memory: A `memory.Memory`.
    needs: Its `needs.Needs`.
    shelter: The `shelter.Shelter` of the episode.

  Attributes:
    found: Names of the actions that begin each choice, by choice.
  """

  def __init__(
      self, memory: memorylib.Memory, needs: needslib.Needs,
      shelter: shelterlib.Shelter):
    self.memory = memory
    self.needs = needs
    self.shelter = shelter
    self.items = memory.inventory
    self.stations = {
        x: skills.beside(memory, *needs.recipes.nearby[x])
        for x in needs.makeable()}
    self.tables = skills.places(memory, 'table')
    self.search = skills.Search(memory, self._targets(), {
        **{MAKE[k]: v for k, v in self.stations.items()},
        'table': skills.beside(memory, 'table')})
    self.found: dict[str, tuple[str, ...]] = {}
    self._fill()

  def _kind(self, *names):
    return skills.flat([
        k for k, v in self.memory.objects.items() if v in names])

  def _targets(self):
    """Cells that the search is to find, by choice."""
    needs, memory = self.needs, self.memory
    out = {}
    for material, name in COLLECT.items():
      item = ITEM.get(material, material)
      near = material != 'tree' or bool(self.tables)
      if material != 'grass' and needs.can(material) and needs.wants(
          item, near):
        out[name] = skills.places(memory, material)
    once = lambda need, deed: (
        self.items[need] <= needslib.SOON or deed not in memory.done)
    if once('drink', 'collect_drink'):
      out[DRINK] = skills.places(memory, 'water')
    if once('food', 'eat_cow'):
      out[COW] = skills.flat(memory.cows)
    if self.items['food'] < needslib.MOST:
      out[PLANT] = skills.flat(needslib.ripe(memory))
    out[FIGHT] = self._kind('zombie')
    if self.items['health'] > needslib.LOW:
      out[SHOOT] = self._kind('skeleton')
    return out

  def _fill(self):
    search = self.search
    for name in (
        *COLLECT.values(), DRINK, COW, PLANT, FIGHT, SHOOT):
      self._add(name, search.act(name))
    for tool in self.stations:
      self._add(MAKE[tool], search.act(MAKE[tool], f'make_{tool}'))
    self._add(SLEEP, self._sleep())
    for name in PLACE:
      self._add(PLACE[name], self._place(name))
    if self.needs.wants('sapling', True):
      self._add(COLLECT['grass'], self._sapling())
    self._add(EXPLORE, search.act('explore', final=None) or self._wander())

  def _add(self, name, actions):
    if actions:
      self.found[name] = actions

  def _sleep(self):
    memory = self.memory
    tired = self.items['energy'] < needslib.LOW
    first = 'wake_up' not in memory.done and (
        self.items['energy'] < needslib.MOST)
    hurt = self.items['health'] <= needslib.LOW
    if not (memory.night or tired or first or hurt):
      return ()
    action = self.shelter.action(memory, self.search.to)
    if action == 'sleep':
      # One who is rested can't sleep, but is safe here until the morning.
      return (action if self.items['energy'] < needslib.MOST else 'noop',)
    if not action and tired and not self._kind('zombie', 'skeleton'):
      return ('sleep',)
    return (action,) if action else ()

  def _place(self, name):
    recipes, done = self.needs.recipes, self.memory.done
    if not self.needs.has(recipes.place[name]):
      return ()
    new = f'place_{name}' not in done
    ready = any(x not in self.stations or not self.stations[x]
                for x in self.needs.makeable())
    if name == 'table' and not (new or (ready and 'table' not in (
        self.search.found)) or self._apart()):
      return ()
    if name == 'furnace':
      if not (new or self._apart()):
        return ()
      if not self.memory.near('table') and self.search.found.get('table'):
        return self.search.act('table')
    if name == 'stone' and not new:
      return ()
    if name == 'plant' and len(self.memory.plants) > 1:
      return ()
    return tuple(
        x if x != 'place' else f'place_{name}'
        for x in skills.place(self.memory, recipes.where[name]))

  def _apart(self):
    """Whether an iron tool lacks nothing but a place to work."""
    return any(
        'iron' in x and not self.stations[x] for x in self.needs.makeable())

  def _sapling(self):
    memory = self.memory
    grass = memorylib.CODE['grass']
    if memory.cells[memory.front] == grass and (
        memory.front not in memory.objects):
      return ('do',)
    return tuple(
        name for name, (dx, dy) in memorylib.DIRECTIONS.items()
        if memory.cells[memory.pos[0] + dx, memory.pos[1] + dy] == grass
        and memory.free((memory.pos[0] + dx, memory.pos[1] + dy)))

  def _wander(self):
    """Walks on where nothing unknown can be reached."""
    memory = self.memory
    if memory.free(memory.front):
      ahead = [k for k, v in memorylib.DIRECTIONS.items()
               if v == memory.facing]
      return tuple(ahead)
    return tuple(
        k for k, (dx, dy) in memorylib.DIRECTIONS.items()
        if memory.free((memory.pos[0] + dx, memory.pos[1] + dy)))
