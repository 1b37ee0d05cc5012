"""Ways on the map that a Crafter player remembers."""

import numpy as np
import pytest

from lore_plugin.worlds.crafter import memory as memorylib
from lore_plugin.worlds.crafter import skills

CODE, SIZE = memorylib.CODE, memorylib.SIZE
X, Y = memorylib.START
WOOD = 'collect wood'


def field(trees=(), facing=(0, 1), unknown=False):
  """A player on grass without end, and trees so far from where it stands."""
  memory = memorylib.Memory()
  memory.cells[:] = CODE['grass']
  memory.facing = facing
  for dx, dy in trees:
    memory.cells[X + dx, Y + dy] = CODE['tree']
  if unknown:
    memory.cells[X - 3, :] = memory.cells[:, Y + 4] = 0
  return memory


def ways(memory, name=WOOD, **options):
  search = skills.Search(
      memory, {WOOD: skills.places(memory, 'tree')}, {}, **options)
  return search.act(name, **({'final': None} if name == 'explore' else {}))


def test_every_shortest_way_counts():
  """A tree at (2, 3) is as near by either axis, one at (3, 0) by one."""
  assert ways(field([(2, 3)])) == ('move_down', 'move_right')
  assert ways(field([(3, 0)])) == ('move_right',)
  # Two that are as near as each other, and a third that is farther.
  assert ways(field([(3, 0), (-3, 0), (0, 5)])) == ('move_left', 'move_right')


def test_what_is_in_front_is_acted_on():
  """To turn to another tree beside the player would take a step more."""
  beside = [(1, 0), (0, -1)]
  assert ways(field(beside, facing=(1, 0))) == ('do',)
  assert ways(field(beside, facing=(0, 1))) == ('move_right', 'move_up')


def test_unknown_ground_is_looked_for_where_it_is_nearest():
  assert ways(field(unknown=True), 'explore') == ('move_left',)


def brute(memory, cells):
  """First steps of all shortest ways to stand beside cells, by relaxation."""
  cost = np.full((SIZE, SIZE), np.inf)
  walk = np.isin(memory.cells, memorylib.WALKABLE)
  cost[walk] = 1
  if memory.inventory.get('wood_pickaxe'):
    cost[memory.cells == CODE['stone']] = skills.MINE
  for cell in memory.objects:
    cost[cell] = np.inf
  # Steps that are left from each cell to one beside a target.
  left = np.full((SIZE, SIZE), np.inf)
  for x, y in cells:
    for dx, dy in memorylib.DIRECTIONS.values():
      spot = x + dx, y + dy
      if np.isfinite(cost[spot]) or spot == memory.pos:
        left[spot] = 0
  for _ in range(60):
    for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
      left = np.minimum(left, np.roll(left + cost, shift, axis))
  total = {
      name: cost[X + dx, Y + dy] + left[X + dx, Y + dy]
      for name, (dx, dy) in memorylib.DIRECTIONS.items()}
  least = min(total.values())
  return tuple(sorted(k for k, v in total.items() if v == least)), (
      left[memory.pos], least)


@pytest.mark.parametrize('seed', range(20))
def test_first_steps_are_those_of_all_shortest_ways(seed):
  """On random maps of 15 by 15, against costs relaxed over the whole map."""
  rng = np.random.default_rng(seed)
  memory = field()
  memory.cells[:] = CODE['water']
  memory.cells[X - 7:X + 8, Y - 7:Y + 8] = rng.choice(
      [CODE['grass'], CODE['water'], CODE['stone'], CODE['tree']],
      (15, 15), p=[0.6, 0.15, 0.2, 0.05])
  memory.cells[X, Y] = CODE['grass']
  memory.inventory = {'wood_pickaxe': seed % 2}
  for x, y in rng.integers(-7, 8, (4, 2)):
    if x or y:
      memory.objects[X + int(x), Y + int(y)] = 'cow'
  trees = list(zip(*(memory.cells == CODE['tree']).nonzero()))
  expected, (here, least) = brute(memory, trees)
  found = ways(memory, frontier=False)
  if here == 0:
    return
  if not np.isfinite(least):
    assert found == ()
    return
  # Stone in front is mined before it is entered.
  front = memory.front
  if memory.cells[front] == CODE['stone'] and 'move_down' in expected:
    expected = tuple(sorted({*expected, 'do'} - {'move_down'}))
  assert found == expected
