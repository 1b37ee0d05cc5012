"""Shortest ways on the remembered map, turns included."""

from .memory import AHEAD, BLOCKED, DOOR, FORWARD, LEFT, RIGHT, TOGGLE


class Ways:
  """All ways from where the agent is.

  A pose is a position and a compass in one number, as in `Memory.pose`. Ways
  lead through closed doors, which must be opened first, and through things
  that can be moved, where there is no way around them.

  Attributes:
    steps: Actions to each pose; a thing to be moved counts as `BLOCKED`.
    first: Bits of the actions that begin a shortest way to each pose.
    doors: The poses whose way leads through a closed door.
    blocks: What has to be moved first on the way to a pose, by pose.
    frontiers: (steps, pose) of poses that face an unseen cell, the nearest
      first.

  Args:
    memory: The map.
  """

  def __init__(self, memory):
    self.start = start = memory.pose
    self.steps, self.first = {start: 0}, {start: 0}
    self.doors, self.blocks, self.frontiers = set(), {}, []
    later, now, queue = {}, 0, [start]
    while queue or later:
      # What is reached through a door or a thing waits for its turn.
      queue += [x for x in later.pop(now, ()) if self.steps[x] == now]
      queue = self._spread(queue, now, memory.cells, memory.costs, later)
      now = now + 1 if queue else min(later, default=0)

  def _spread(self, queue, now, cells, costs, later):
    """Takes the next step from the poses that are `now` away."""
    steps, first, doors, blocks = (
        self.steps, self.first, self.doors, self.blocks)
    found, after = [], now + 1
    for pose in queue:
      compass, known = pose & 3, first[pose]
      gated = pose in doors or pose in blocks
      base = pose - compass
      ahead = (pose >> 2) + AHEAD[compass]
      cost = costs.get(ahead)
      edges = [(base + (compass + 3 & 3), known or 1 << LEFT),
               (base + (compass + 1 & 3), known or 1 << RIGHT)]
      if cost == 1:
        edges.append(((ahead << 2) + compass, known or 1 << FORWARD))
      elif cost is None:
        if ahead not in cells:
          self.frontiers.append((now, pose))
      else:
        self._pass(pose, (ahead << 2) + compass, now, cost, later)
      for other, action in edges:
        old = steps.get(other)
        if old is None or after < old:
          steps[other] = after
          first[other] = action
          found.append(other)
          if gated:
            self._inherit(pose, other)
        elif old == after:
          first[other] |= action
    return found

  def _pass(self, pose, other, now, cost, later):
    """Takes a step through a closed door, or onto what must be moved."""
    after, door = now + cost, cost == DOOR
    if self.steps.get(other, after + 1) <= after:
      return
    self.steps[other] = after
    self.first[other] = self.first[pose] or 1 << (TOGGLE if door else FORWARD)
    later.setdefault(after, []).append(other)
    self._inherit(pose, other)
    if door:
      self.doors.add(other)
    else:
      self.blocks.setdefault(other, other >> 2)

  def _inherit(self, pose, other):
    if pose in self.doors:
      self.doors.add(other)
    if pose in self.blocks:
      self.blocks[other] = self.blocks[pose]

  def facing(self, targets, final=None):
    """Finds the nearest pose that faces one of some positions.

    Args:
      targets: Positions.
      final: The action once the agent faces it, None for none.

    Returns:
      Steps to it, the actions that begin the way (empty if the agent faces it
      and there is no final action), and the position of what has to be moved
      first, or None. None if there is no way.
    """
    best, bits, block = None, 0, None
    for target in targets:
      for compass in range(4):
        pose = (target - AHEAD[compass]) << 2 | compass
        steps = self.steps.get(pose)
        if steps is None or (best is not None and steps > best):
          continue
        first = self.first[pose]
        if pose == self.start and final is not None:
          first = 1 << final
        bits = bits | first if steps == best else first
        best, block = steps, self.blocks.get(pose)
    return None if best is None else (best, actions(bits), block)

  def explore(self):
    """Returns how to see more, as `facing` does.

    Doors are opened if nothing else is left to see, things moved if nothing
    but that is.

    Returns:
      As `facing` does, and whether a door must be opened.
    """
    order = lambda x: (x[1] in self.blocks, x[1] in self.doors, x[0])
    found = min(self.frontiers, key=order, default=None)
    if found is None:
      return None
    # Where several are as near, all of them may be meant.
    bits = 0
    for other in self.frontiers:
      if order(other) == order(found):
        bits |= self.first[other[1]]
    return (
        found[0], actions(bits), self.blocks.get(found[1]),
        found[1] in self.doors)


_ACTIONS = [
    tuple(x for x in range(8) if bits >> x & 1) for bits in range(256)]


def actions(bits):
  """Returns the actions of a set of bits, sorted."""
  return _ACTIONS[bits]


def clear_spots(memory):
  """Returns empty cells where a thing blocks nothing."""
  return [pos for pos, kind in memory.cells.items()
          if kind == 'empty' and pos != memory.place and _clear(pos, memory)]


def _clear(pos, memory):
  cells, costs = memory.cells, memory.costs
  for step in AHEAD:
    # It may be the only way to a door or a thing, or beyond an unseen cell.
    if pos + step not in cells or pos + step in memory.things:
      return False
  ring = []
  for i in range(4):
    side, corner = AHEAD[i], AHEAD[i] + AHEAD[(i + 1) % 4]
    ring += [costs.get(pos + side, BLOCKED) < BLOCKED,
             costs.get(pos + corner, BLOCKED) < BLOCKED]
  # The free sides must hang together around the cell.
  parts = sum(
      ring[i] and not ring[i - 1] and (i % 2 == 0 or ring[(i + 1) % 8])
      for i in range(8))
  return parts <= 1


def least_harm(memory, ways, aims):
  """Returns the cells that cut off the least if something lies there.

  Args:
    memory: The map.
    ways: The ways on it.
    aims: Positions that should stay in reach.
  """
  costs, found = memory.costs, {}
  for pose, steps in sorted(ways.steps.items(), key=lambda x: (x[1], x[0])):
    pos = (pose >> 2) + AHEAD[pose & 3]
    if steps >= BLOCKED or len(found) == MOST:
      break
    if memory.cells.get(pos) == 'empty' and pos not in found:
      cost = costs[pos]
      costs[pos] = BLOCKED
      after = Ways(memory)
      costs[pos] = cost
      way = after.facing(aims)
      found[pos] = (way is not None and way[2] is None, sum(
          x < BLOCKED for x in after.steps.values()))
  best = max(found.values(), default=None)
  return [pos for pos, reach in found.items() if reach == best]


# Cells that `least_harm` looks at; each of them takes a search.
MOST = 16
