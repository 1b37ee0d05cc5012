"""What the picture of a Crafter game shows, as numbers.

A world may read the simulator in the place of pixels, but only what a person
can see in the picture: 9 cells across and 7 down around the player, what the
player owns, which way it looks, and whether it sleeps. At night noise covers
the cells towards the border.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

WIDE, HIGH = 9, 7
HERE = WIDE // 2, HIGH // 2
# What a cell can be made of. 'dark' is hidden by the night, 'outside' is
# beyond the border of the world.
MATERIALS = (
    'dark', 'outside', 'water', 'grass', 'stone', 'path', 'sand', 'tree',
    'lava', 'coal', 'iron', 'diamond', 'table', 'furnace')
OBJECTS = (
    '', 'player', 'cow', 'zombie', 'skeleton', 'arrow', 'plant', 'ripe plant')
# Deviation of the vignette that the simulator draws at night, with the view's
# half as the unit.
VIGNETTE = 0.5
# Daylight below which it draws noise.
NIGHT = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
  """One picture.

  Attributes:
    materials: Indices into `MATERIALS`. Shape [9, 7], across and down, u8.
    objects: Indices into `OBJECTS`. Shape [9, 7], u8.
    inventory: How much is owned of each item, 0 to 9, by the game's name.
    facing: Step that the player looks at: (1, 0) is to the right, (0, 1) down.
    sleeping: Whether it sleeps.
    night: Whether it is dark enough for noise in the picture.
  """
  materials: np.ndarray
  objects: np.ndarray
  inventory: dict[str, int]
  facing: tuple[int, int]
  sleeping: bool
  night: bool


def see(env: Any) -> Sight:
  """Returns the `Sight` of a `crafter.Env` as it is now.

  Args:
    env: The simulator. Neither it nor its random numbers change.
  """
  world, player = env._world, env._player
  materials = np.full((WIDE, HIGH), MATERIALS.index('outside'), np.uint8)
  objects = np.zeros((WIDE, HIGH), np.uint8)
  left, top = (int(p) - h for p, h in zip(player.pos, HERE))
  table = _numbers(tuple(world._mat_names.values()))
  area = world._mat_map.shape
  xs = slice(max(0, left), min(area[0], left + WIDE))
  ys = slice(max(0, top), min(area[1], top + HIGH))
  inside = (
      slice(xs.start - left, xs.stop - left),
      slice(ys.start - top, ys.stop - top))
  materials[inside] = table[world._mat_map[xs, ys]]
  for x, y in zip(*np.nonzero(world._obj_map[xs, ys])):
    thing = world._objects[world._obj_map[xs.start + x, ys.start + y]]
    objects[inside[0].start + x, inside[1].start + y] = OBJECTS.index(
        _name(thing))
  dark = hidden(float(world.daylight))
  materials[dark] = MATERIALS.index('dark')
  objects[dark] = 0
  return Sight(
      materials, objects, dict(player.inventory),
      (int(player.facing[0]), int(player.facing[1])), bool(player.sleeping),
      bool(world.daylight < NIGHT))


@functools.cache
def _numbers(names):
  """Numbers of ours by the simulator's number of a material."""
  return np.array([
      MATERIALS.index(x) if x in MATERIALS else 0 for x in names], np.uint8)


def _name(thing):
  name = type(thing).__name__.lower()
  if name == 'plant' and thing.ripe:
    return 'ripe plant'
  return name if name in OBJECTS else ''


def hidden(daylight: float) -> np.ndarray:
  """Returns which cells the night hides. Shape [9, 7], bool.

  The simulator blends the picture with noise and a dark blue, the more the
  farther from the middle. A cell counts as hidden where more of the noise is
  left than of the picture.

  Args:
    daylight: In [0, 1]; from `NIGHT` on there is no noise.
  """
  if daylight >= NIGHT:
    return np.zeros((WIDE, HIGH), bool)
  mask = 2 * (NIGHT - daylight) * _vignette()
  noise = (1 - daylight) * mask / 2
  picture = daylight + (1 - daylight) * (1 - mask) / 2
  return noise > picture


@functools.cache
def _vignette():
  x = (np.arange(WIDE) - HERE[0]) / (WIDE / 2)
  y = (np.arange(HIGH) - HERE[1]) / (HIGH / 2)
  square = x[:, None] ** 2 + y[None] ** 2
  return 1 - np.exp(-square / 2 / VIGNETTE ** 2)
