"""What is worth doing in Crafter, and what the game asks for it.

All numbers come from the game's own tables (`crafter.constants`), which differ
from what has been written about it: a table takes two pieces of wood, a
furnace four stones.
"""

import dataclasses
from collections.abc import Mapping

from . import memory as memorylib

TOOLS = (
    'wood_pickaxe', 'wood_sword', 'stone_pickaxe', 'stone_sword',
    'iron_pickaxe', 'iron_sword')
# From this on a need is worth meeting where that is near, and from this on it
# is pressing.
SOON, LOW = 6, 4
# Steps to a table beyond which another one is worth its wood.
FAR = 30
# Stones kept for shelter.
SPARE = 2
MOST = 9


@dataclasses.dataclass(frozen=True, slots=True)
class Recipes:
  """The game's tables.

  Attributes:
    place: What is used up, by what is placed: {'table': {'wood': 2}}.
    where: Materials on which it may be placed.
    make: What is used up, by tool.
    nearby: What must be near to make a tool.
    require: What must be owned to collect a material.
  """
  place: dict
  where: dict
  make: dict
  nearby: dict
  require: dict

  @classmethod
  def read(cls) -> 'Recipes':
    """Reads the tables of the installed game."""
    from crafter import constants
    return cls(
        {k: dict(v['uses']) for k, v in constants.place.items()},
        {k: tuple(v['where']) for k, v in constants.place.items()},
        {k: dict(v['uses']) for k, v in constants.make.items()},
        {k: tuple(v['nearby']) for k, v in constants.make.items()},
        {k: tuple(v['require']) for k, v in constants.collect.items()})


class Needs:
  """What the player still needs, of what it remembers.

  Args:
    memory: A `memory.Memory`.
    recipes: The game's tables.
  """

  def __init__(self, memory: memorylib.Memory, recipes: Recipes):
    self.memory = memory
    self.recipes = recipes
    self.items = memory.inventory
    self.missing = [x for x in TOOLS if not self.items[x]]

  def has(self, uses: Mapping[str, int]) -> bool:
    """Whether enough is owned for a recipe."""
    return all(self.items[k] >= v for k, v in uses.items())

  def makeable(self) -> list[str]:
    """Returns the tools that the player has the materials for."""
    return [x for x in self.missing if self.has(self.recipes.make[x])]

  def can(self, material: str) -> bool:
    """Whether the player owns what collecting a material takes."""
    return all(self.items[x] for x in self.recipes.require.get(material, ()))

  def enough(self, item: str, tables: bool) -> int:
    """How much of an item is enough for what comes next, at most 9.

    Args:
      item: 'wood', 'stone', 'coal', 'iron', 'diamond' or 'sapling'.
      tables: Whether a table is at hand.
    """
    done = self.memory.done
    amount = sum(self.recipes.make[x].get(item, 0) for x in self.missing)
    if item == 'wood' and not tables:
      amount += self.recipes.place['table']['wood']
    if item == 'stone':
      amount += SPARE
      if 'place_furnace' not in done:
        amount += self.recipes.place['furnace']['stone']
    if item == 'sapling':
      amount = int(not self.memory.plants)
    once = int(f'collect_{item}' not in done)
    return min(MOST, max(amount, once))

  def wants(self, item: str, tables: bool) -> bool:
    """Whether more of an item is needed."""
    return self.items[item] < self.enough(item, tables)

  def low(self) -> list[str]:
    """Returns the needs that press, in words."""
    words = {'food': 'hungry', 'drink': 'thirsty', 'energy': 'tired',
             'health': 'hurt'}
    return [v for k, v in words.items() if self.items[k] <= (
        LOW - 1 if k == 'energy' else LOW)]

  def danger(self) -> bool:
    """Whether a zombie is beside the player."""
    objects = self.memory.objects
    return any(objects.get(x) == 'zombie' for x in self.memory.around())

  def pickaxe(self) -> str:
    """Returns what the best pickaxe is made of, '' if there is none."""
    kinds = ('iron', 'stone', 'wood')
    return next((x for x in kinds if self.items[f'{x}_pickaxe']), '')


def ripe(memory: memorylib.Memory) -> list[memorylib.Cell]:
  """Returns where plants are known or likely to be ripe."""
  return [k for k, age in memory.plants.items() if age >= memorylib.RIPE]
