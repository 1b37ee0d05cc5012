"""MiniGrid's partial view in plain English, and the subgoals in it.

All words are in the constants and in `_text`, `_options`, `_name` and `_place`
below. Whoever changes them changes `ViewWorld.version`, since stored advice is
found by it.
"""

import functools

from ... import errors
from ...advisor.types import Option
from ..base import Question, Situation, World
from . import memory as memorylib

OBJECTS = (
    'unseen', 'empty', 'wall', 'floor', 'door', 'key', 'ball', 'box', 'goal',
    'lava', 'agent')
COLOURS = ('red', 'green', 'blue', 'purple', 'yellow', 'grey')
STATES = ('open', 'closed', 'locked')
ACTIONS = (
    'turn left', 'turn right', 'move forward', 'pick up', 'drop', 'toggle', '')
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)

NUMBERS = (
    'no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight',
    'nine', 'ten')
PORTABLE = ('key', 'ball', 'box')

# Only the nearest things are listed, so that the words fit a small model.
MAX_THINGS = 8
MAX_LAVA = 2

# Up, right, down and left in the view, whose first row is the farthest.
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))


class ViewWorld(World):
  """Describes what MiniGrid shows now: `image` and `mission`.

  Words and skills are those of one view; nothing is remembered but what the
  last step brought about. The compass is left out: it is of no use for
  egocentric advice and would quarter the use of stored advice.
  """

  version = 'minigrid-1'

  def __init__(self, env, task):
    super().__init__(env, task)
    if not hasattr(env, 'gen_obs'):
      raise errors.ConfigError(
          f'The world minigrid-view cannot read the task {task!r}. Set '
          f'--lore.world auto, or a task of the minigrid suite.')
    self.length = int(env.action_space.n)
    self.actions = (ACTIONS + ('',) * self.length)[:self.length]
    self.reset()

  def reset(self):
    self.memory = memorylib.Memory()

  def observe(self, obs, action=None):
    image = obs['image']
    self.memory.update(image, obs['direction'], action)
    text, options = _describe(
        image.tobytes(), image.shape[0], obs['mission'], self.length)
    return Situation(
        Question(obs['mission'], text, tuple(x.name for x in options)),
        tuple(x.actions for x in options), self.memory.events)


@functools.lru_cache(16384)
def _describe(data, width, mission, length):
  """Returns the text and the options of one view."""
  view = View(data, width)
  options = [
      Option(name, actions) for name, actions in _options(view, mission)
      if all(x < length and ACTIONS[x] for x in actions)]
  return _text(view), tuple(options)


class View:
  """The cells that the agent sees, by (column, row), and how to walk them.

  Attributes:
    cells: (object, colour, state) in words by position; unseen cells are
      missing, and the agent's own cell counts as empty.
    carried: (object, colour, state) of what the agent carries, or None.
    here: Where the agent stands: the middle of the last row.
    front: The position in front of it.
  """

  def __init__(self, data, width):
    self.width = width
    self.here = (width // 2, width - 1)
    self.front = (width // 2, width - 2)
    self.cells = {}
    for index in range(width * width):
      kind, colour, state = data[3 * index: 3 * index + 3]
      if kind:
        self.cells[divmod(index, width)] = (
            _entry(OBJECTS, kind, 'thing'), _entry(COLOURS, colour, 'grey'),
            _entry(STATES, state, 'open'))
    own = self.cells.get(self.here)
    self.carried = own if own and own[0] in PORTABLE else None
    self.cells[self.here] = ('empty', 'red', 'open')

  def things(self):
    """Returns positions of all that has a name, the nearest first."""
    found = [
        pos for pos, (kind, _, _) in self.cells.items()
        if kind in ('door', 'goal', 'lava', *PORTABLE)]
    return sorted(found, key=lambda pos: (self.distance(pos), pos[0]))

  def distance(self, pos):
    return abs(pos[0] - self.here[0]) + abs(pos[1] - self.here[1])

  def free(self, pos):
    """Tells whether the agent can be sure to walk onto a cell."""
    kind, _, state = self.cells.get(pos, ('unseen', '', ''))
    return kind in ('empty', 'floor') or (kind, state) == ('door', 'open')

  def maybe(self, pos):
    """Tells whether a cell is free, or unseen and near the view."""
    near = all(-3 <= x < self.width + 3 for x in pos)
    return self.free(pos) or (near and pos not in self.cells)

  def approach(self, targets, final):
    """Returns the best actions to face one of the targets and then act.

    The way leads over cells that are seen to be free; if there is none, over
    unseen ones.

    Args:
      targets: Positions; the one that is reached first counts.
      final: The action once the agent faces it; None for nothing.

    Returns:
      All actions that start a shortest way; empty if there is no way.
    """
    for passable in (self.free, self.maybe):
      # Distances of poses (column, row, direction) to facing a target.
      dists = {}
      queue = []
      for x, y in targets:
        for d, (dx, dy) in enumerate(MOVES):
          if passable((x - dx, y - dy)):
            dists[(x - dx, y - dy, d)] = 0
            queue.append((x - dx, y - dy, d))
      for pose in queue:
        x, y, d = pose
        dx, dy = MOVES[d]
        before = [(x, y, (d + 1) % 4), (x, y, (d - 1) % 4)]
        if passable((x, y)) and passable((x - dx, y - dy)):
          before.append((x - dx, y - dy, d))
        for other in before:
          if other not in dists:
            dists[other] = dists[pose] + 1
            queue.append(other)
      start = (*self.here, 0)
      if start not in dists:
        continue
      if not dists[start]:
        return () if final is None else (final,)
      steps = {
          LEFT: (*self.here, 3), RIGHT: (*self.here, 1),
          FORWARD: (*self.front, 0)}
      return tuple(
          action for action, pose in steps.items()
          if dists.get(pose, -1) == dists[start] - 1)
    return ()

  def explore(self):
    """Returns the best actions to see more.

    The agent goes forward while that leads to an unseen cell beside a free
    one. Otherwise it turns, always to the right: a describer has no memory,
    and what lies to the left of one view and to the right of the next would
    turn the agent back and forth.
    """
    start = self.walk((*self.here, 0))
    ahead = self.walk((*self.front, 0)) if self.free(self.front) else {}
    for (x, y, d), dist in ahead.items():
      target = (x + MOVES[d][0], y + MOVES[d][1])
      # What lies beside or behind the agent is seen by turning.
      unseen = target not in self.cells and target[1] < self.here[1]
      if unseen and dist + 1 == start[(x, y, d)]:
        return (FORWARD,)
    return (RIGHT,)

  def walk(self, pose):
    """Returns the steps from a pose to all others over free cells."""
    dists, queue = {pose: 0}, [pose]
    for pose in queue:
      x, y, d = pose
      front = (x + MOVES[d][0], y + MOVES[d][1])
      after = [(x, y, (d + 1) % 4), (x, y, (d - 1) % 4)]
      for other in after + [(*front, d)] * self.free(front):
        if other not in dists:
          dists[other] = dists[pose] + 1
          queue.append(other)
    return dists


def _entry(table, index, other):
  """Returns a table's entry; packages may add what it does not know."""
  return table[index] if index < len(table) else other


def _text(view):
  held = view.carried
  sentences = [f'You carry {_name(held) if held else "nothing"}.']
  front = view.cells.get(view.front)
  if front is None or front[0] in ('empty', 'floor'):
    sentences.append('The way ahead is clear.')
  else:
    sentences.append(f'Right in front of you is {_name(front)}.')
  shown = lava = 0
  for pos in view.things():
    if pos == view.front or shown == MAX_THINGS:
      continue
    if view.cells[pos][0] == 'lava':
      lava += 1
      if lava > MAX_LAVA:
        continue
    shown += 1
    name = _name(view.cells[pos])
    sentences.append(f'{name[0].upper()}{name[1:]} is {_place(view, pos)}.')
  if not shown:
    sentences.append('You see nothing else.')
  return ' '.join(sentences)


def _options(view, mission):
  """Yields the name and the actions of each subgoal, in canonical order."""
  groups = {}
  for pos in view.things():
    kind, colour, state = view.cells[pos]
    key = (kind, colour, (kind, state) == ('door', 'open'))
    # Things of one name are one subgoal: the nearest of them.
    if kind != 'lava' and (key in groups or len(groups) < MAX_THINGS):
      groups.setdefault(key, []).append(pos)
  held = view.carried
  visit = any(x in f' {mission} ' for x in (' go to ', ' near ', ' next to '))
  goal = any(kind == 'goal' for kind, _, _ in groups)
  kinds = (*PORTABLE, 'door', 'goal')
  order = lambda x: (kinds.index(x[0]), COLOURS.index(x[1]), x[2])
  for kind, colour, is_open in sorted(groups, key=order):
    spots = groups[(kind, colour, is_open)]
    thing = f'the {colour} {kind}'
    if kind == 'goal':
      yield f'go to {thing}', view.approach(spots, FORWARD)
      continue
    if kind == 'door' and not is_open:
      yield f'open {thing}', view.approach(spots, TOGGLE)
    elif kind == 'door' and not goal:
      yield f'go through {thing}', view.approach(spots, FORWARD)
    elif kind in PORTABLE and not held:
      yield f'take {thing}', view.approach(spots, PICKUP)
    if kind == 'box':
      yield f'open {thing}', view.approach(spots, TOGGLE)
    if visit and not (is_open and (kind, colour, False) in groups):
      spots = spots + groups.get((kind, colour, True), [])
      yield f'go to {thing}', view.approach(spots, None)
  others = any(kind in PORTABLE for kind, _, _ in groups)
  if held and (others or visit or ' drop ' in f' {mission} '):
    room = [x for x, (kind, _, _) in view.cells.items() if kind == 'empty']
    yield f'drop the {held[1]} {held[0]}', view.approach(room, DROP)
  yield 'explore', view.explore()


def _name(cell):
  """Returns the words for a cell: 'a locked yellow door'."""
  kind, colour, state = cell
  if kind in ('wall', 'lava', 'thing'):
    return 'lava' if kind == 'lava' else f'a {kind}'
  if kind == 'door':
    return f'{"an" if state == "open" else "a"} {state} {colour} door'
  return f'{"the" if kind == "goal" else "a"} {colour} {kind}'


def _place(view, pos):
  """Returns where a cell is: 'two steps ahead and one to the left'."""
  ahead = view.here[1] - pos[1]
  side = pos[0] - view.here[0]
  hand = 'left' if side < 0 else 'right'
  count = lambda n: NUMBERS[n] if n < len(NUMBERS) else str(n)
  steps = lambda n: f'{count(n)} step{"s" if n > 1 else ""}'
  if not side:
    return f'{steps(ahead)} ahead'
  if not ahead:
    return f'{steps(abs(side))} to the {hand}'
  return f'{steps(ahead)} ahead and {count(abs(side))} to the {hand}'
