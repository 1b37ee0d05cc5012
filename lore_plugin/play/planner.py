"""An optimal planner on MiniGrid's full state: the judge of advice.

For tests and tools only: it sees the whole grid, which no agent and no
advisor does. It knows tasks that end on the goal (DoorKey, Empty, FourRooms,
LavaGap, ...), by opening the door (Unlock) and by taking an object
(UnlockPickup, KeyCorridor, ...).

  python -m lore_plugin.play.planner DoorKey-5x5

prints how many layouts and states a task has.
"""

import argparse
import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

from .. import errors

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE = range(6)
ACTIONS = range(6)
MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))
OPEN, CLOSED, LOCKED = range(3)
MOVABLE = ('key', 'ball', 'box')


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
  """What no action changes.

  Attributes:
    size: Width and height of the grid in cells.
    cells: What stands where: 'wall', 'goal', 'lava' or 'floor' with its
      position; sorted.
    doors: Position and colour of each door; D entries.
    objects: Kind and colour of each movable object; N entries.
    aim: ('goal',), ('open', index of a door) or ('take', index of an object).
  """
  size: tuple[int, int]
  cells: tuple[tuple[tuple[int, int], str], ...]
  doors: tuple[tuple[tuple[int, int], str], ...]
  objects: tuple[tuple[str, str], ...]
  aim: tuple


@dataclasses.dataclass(frozen=True, slots=True)
class State:
  """What actions change.

  Attributes:
    agent: Column, row and direction of the agent.
    carried: Index of the carried object, or -1.
    spots: Position of each object; None if it is carried or gone; N entries.
    doors: 0 open, 1 closed, 2 locked; D entries.
  """
  agent: tuple[int, int, int]
  carried: int
  spots: tuple[tuple[int, int] | None, ...]
  doors: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
  """One state of a task, judged.

  Attributes:
    layout: The layout.
    state: The state.
    actions: The optimal actions; empty where the goal is out of reach.
    distance: Steps to the goal, or None.
  """
  layout: Layout
  state: State
  actions: frozenset[int]
  distance: int | None


def optimal_actions(env: Any) -> tuple[frozenset[int], int | None]:
  """Returns the optimal actions in the environment's current state.

  Args:
    env: A gymnasium MiniGrid environment, or ours.

  Returns:
    The set of actions that start a shortest way to success, and its length
    in steps; an empty set and None if there is none.

  Raises:
    EnvError: The task ends in a way that the planner does not know.
  """
  layout, state = read(env)
  return plan(layout, state)


def plan(layout: Layout, state: State) -> tuple[frozenset[int], int | None]:
  """Returns the optimal actions and the distance of a state."""
  _, dists = _solve(layout, state)
  best = dists.get(state)
  if best is None:
    return frozenset(), None
  actions = frozenset(
      action for action in ACTIONS
      for after, ends in [advance(layout, state, action)]
      if (best == 1 if ends else dists.get(after) == best - 1))
  return actions, best


def advance(
    layout: Layout, state: State, action: int) -> tuple[State | None, bool]:
  """Returns the next state and whether the action ends in success.

  A step into lava returns None for the state.
  """
  x, y, d = state.agent
  dx, dy = MOVES[d]
  front = (x + dx, y + dy)
  fixed = _cells(layout).get(front)
  door = _doors(layout).get(front, -1)
  thing = state.spots.index(front) if front in state.spots else -1
  if action in (LEFT, RIGHT):
    turn = (d + (1 if action == RIGHT else -1)) % 4
    return dataclasses.replace(state, agent=(x, y, turn)), False
  if action == FORWARD:
    shut = door >= 0 and state.doors[door] != OPEN
    if fixed == 'wall' or shut or thing >= 0:
      return state, False
    if fixed == 'lava':
      return None, False
    moved = dataclasses.replace(state, agent=(*front, d))
    return moved, fixed == 'goal' and layout.aim == ('goal',)
  if action == PICKUP and thing >= 0 and state.carried < 0:
    spots = _put(state.spots, thing, None)
    after = dataclasses.replace(state, carried=thing, spots=spots)
    return after, layout.aim == ('take', thing)
  if action == DROP and state.carried >= 0:
    if fixed is None and door < 0 and thing < 0:
      spots = _put(state.spots, state.carried, front)
      return dataclasses.replace(state, carried=-1, spots=spots), False
  if action == TOGGLE and door >= 0:
    status = state.doors[door]
    if status == LOCKED:
      key = ('key', layout.doors[door][1])
      if state.carried < 0 or layout.objects[state.carried] != key:
        return state, False
    status = CLOSED if status == OPEN else OPEN
    after = dataclasses.replace(state, doors=_put(state.doors, door, status))
    return after, status == OPEN and layout.aim == ('open', door)
  if action == TOGGLE and thing >= 0 and layout.objects[thing][0] == 'box':
    spots = _put(state.spots, thing, None)
    return dataclasses.replace(state, spots=spots), False
  return state, False


def read(env: Any) -> tuple[Layout, State]:
  """Returns the layout and the state of an environment.

  Raises:
    EnvError: The task ends in a way that the planner does not know.
  """
  inner = _inner(env)
  cells, doors, statuses = [], [], []
  things: list[tuple[Any, tuple[int, int] | None]] = []
  for y in range(inner.grid.height):
    for x in range(inner.grid.width):
      thing = inner.grid.get(x, y)
      if thing is None:
        continue
      if thing.type == 'door':
        doors.append(((x, y), thing.color))
        statuses.append(thing.encode()[2])
      elif thing.type in MOVABLE:
        things.append((thing, (x, y)))
      else:
        cells.append(((x, y), thing.type))
  if inner.carrying:
    things.append((inner.carrying, None))
  # Sorting by the first position keeps an object's index over an episode.
  first = lambda x: tuple(x.init_pos) if x.init_pos else (-1, -1)
  things.sort(key=lambda x: (x[0].type, x[0].color, first(x[0])))
  objects = [(thing.type, thing.color) for thing, _ in things]
  spots = [spot for _, spot in things]
  if any(thing.contains for thing, _ in things):
    raise errors.EnvError(
        f'{_name(inner)} hides objects in boxes. The planner does not know '
        f'that; use a task without boxes, such as DoorKey-5x5.')
  carried = next(
      (i for i, (thing, _) in enumerate(things) if thing is inner.carrying),
      -1)
  layout = Layout(
      (inner.grid.width, inner.grid.height), tuple(cells), tuple(doors),
      tuple(objects), _aim(inner, doors, things))
  column, row = (int(x) for x in inner.agent_pos)
  agent = column, row, int(inner.agent_dir)
  state = State(agent, carried, tuple(spots), tuple(statuses))
  return layout, state


def restore(env: Any, layout: Layout, state: State) -> dict[str, Any]:
  """Puts an environment into a state; the time limit starts anew.

  Args:
    env: An environment of the same task; it must have been reset before.
    layout: The layout.
    state: The state.

  Returns:
    What MiniGrid shows there: a dict of image, direction and mission.
  """
  from minigrid.core import grid, world_object
  inner = _inner(env)
  kinds = {
      'wall': world_object.Wall, 'goal': world_object.Goal,
      'lava': world_object.Lava, 'floor': world_object.Floor,
      'key': world_object.Key, 'ball': world_object.Ball,
      'box': world_object.Box}
  inner.grid = grid.Grid(*layout.size)
  for pos, kind in layout.cells:
    inner.grid.set(*pos, kinds[kind]())
  for index, (pos, colour) in enumerate(layout.doors):
    status = state.doors[index]
    door = world_object.Door(colour, status == OPEN, status == LOCKED)
    door.init_pos = door.cur_pos = pos
    inner.grid.set(*pos, door)
    if layout.aim == ('open', index):
      inner.door = door
  inner.carrying = None
  for index, (kind, colour) in enumerate(layout.objects):
    thing = kinds[kind](colour)
    thing.init_pos = thing.cur_pos = (index, -1)
    if layout.aim == ('take', index):
      inner.obj = thing
    if state.carried == index:
      inner.carrying = thing
    elif (spot := state.spots[index]) is not None:
      inner.grid.set(*spot, thing)
  inner.agent_pos = state.agent[:2]
  inner.agent_dir = state.agent[2]
  inner.step_count = 0
  return inner.gen_obs()


def enumerate_states(
    task: str, seeds: Iterable[int] = range(1000)) -> list[Case]:
  """Lists every state that the task's layouts can get into.

  Args:
    task: A task as `worlds.minigrid.env.MiniGrid` takes it, of at most
      some ten thousand states.
    seeds: Seeds of the layouts. A thousand find all 48 starts of DoorKey-5x5.

  Returns:
    A list of `Case`, without states in which the episode is over, in a fixed
    order.
  """
  from ..worlds.minigrid import env as minigrid
  env = minigrid.MiniGrid(task)
  starts: dict[tuple[Layout, State], None] = {}
  for seed in seeds:
    env.env.reset(seed=seed)
    starts.setdefault(read(env))
  reached: dict[tuple[Layout, State], None] = {}
  for layout, state in starts:
    if (layout, state) not in reached:
      for other in _solve(layout, state)[0]:
        reached.setdefault((layout, other))
  env.close()
  # What was solved earlier must not show in the order.
  return [Case(*x, *plan(*x)) for x in sorted(reached, key=repr)]


def main(argv: Sequence[str] | None = None) -> None:
  """Prints how many layouts and states a task has."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  parser.add_argument('task', nargs='?', default='DoorKey-5x5')
  parser.add_argument('--seeds', type=int, default=1000)
  args = parser.parse_args(argv)
  cases = enumerate_states(args.task, range(args.seeds))
  distances = [x.distance for x in cases if x.distance is not None]
  print(f'task            {args.task}')
  print(f'layouts         {len({x.layout for x in cases})}')
  print(f'states          {len(cases)}')
  print(f'  out of reach  {len(cases) - len(distances)}')
  print(f'  farthest      {max(distances, default=0)} steps')


# Solved layouts: the states reached, and their distances. A few are enough,
# as an episode stays in one.
_SOLVED: dict[Layout, tuple[dict, dict]] = {}
_KEEP = 16


def _solve(layout, start):
  """Returns all states reachable from one, and their steps to success.

  Returns:
    The states in order of discovery, as a dict; and the distances, without
    the states from which there is no way.
  """
  known = _SOLVED.get(layout)
  if known and start in known[0]:
    return known
  before, dists = {start: []}, {}
  queue = [start]
  for state in queue:
    for action in ACTIONS:
      after, ends = advance(layout, state, action)
      if ends:
        dists[state] = 1
      elif after is not None and after is not state:
        if after not in before:
          before[after] = []
          queue.append(after)
        before[after].append(state)
  queue = list(dists)
  for state in queue:
    for earlier in before[state]:
      if earlier not in dists:
        dists[earlier] = dists[state] + 1
        queue.append(earlier)
  if len(_SOLVED) >= _KEEP:
    _SOLVED.pop(next(iter(_SOLVED)))
  _SOLVED[layout] = dict.fromkeys(before), dists
  return _SOLVED[layout]


def _aim(inner, doors, things):
  """Tells how an episode succeeds."""
  name = type(inner).__name__
  if 'Pickup' in name or name in ('KeyCorridorEnv', 'BlockedUnlockPickupEnv'):
    index = next(
        (i for i, (x, _) in enumerate(things) if x is inner.obj), None)
    return ('take', index)
  if name == 'UnlockEnv':
    pos = [x for x, _ in doors]
    return ('open', pos.index(tuple(int(x) for x in inner.door.cur_pos)))
  known = (
      'DoorKeyEnv', 'EmptyEnv', 'FourRoomsEnv', 'CrossingEnv', 'LavaGapEnv',
      'DistShiftEnv', 'MultiRoomEnv')
  if name not in known:
    raise errors.EnvError(
        f'The planner does not know how {_name(inner)} ends. It knows '
        f'DoorKey, Empty, FourRooms, Crossing, LavaGap, DistShift, MultiRoom, '
        f'Unlock, UnlockPickup and KeyCorridor.')
  return ('goal',)


@functools.lru_cache(256)
def _cells(layout):
  return dict(layout.cells)


@functools.lru_cache(256)
def _doors(layout):
  return {pos: index for index, (pos, _) in enumerate(layout.doors)}


def _put(items, index, item):
  return items[:index] + (item,) + items[index + 1:]


def _inner(env):
  inner = env
  if not hasattr(type(inner), 'unwrapped'):
    inner = inner.env
  return inner.unwrapped


def _name(inner):
  return inner.spec.id if inner.spec else type(inner).__name__


if __name__ == '__main__':
  main()
