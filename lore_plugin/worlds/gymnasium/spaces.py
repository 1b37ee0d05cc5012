"""Gymnasium's spaces as flat dictionaries of `elements.Space`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import elements
import gymnasium
import numpy as np

from ... import errors

# Numbers that one entry may hold before a network of ours can't read it.
MOST_CLASSES = 10_000


def flatten(
    space: gymnasium.Space, name: str, size: tuple[int, ...],
    task: str) -> dict[str, tuple[elements.Space, Callable[[Any], Any]]]:
  """Turns an observation space into named spaces that upstream can encode.

  Args:
    space: Gymnasium's space. Dict and Tuple may be nested.
    name: Name of a space that has none of its own.
    size: Height and width in pixels to which images are resized.
    task: The task's name, for errors.

  Returns:
    Dictionary from names to pairs of a space and a function. The function
    takes what the environment returned for the whole of `space`, and returns
    the entry as an array of that space.

  Raises:
    EnvError: A space that can't be read, such as text or a graph.
  """
  spaces = gymnasium.spaces
  if isinstance(space, (spaces.Dict, spaces.Tuple)):
    parts: Any = space.spaces
    parts = parts.items() if isinstance(parts, dict) else enumerate(parts)
    out: dict[str, tuple[elements.Space, Callable[[Any], Any]]] = {}
    for key, part in parts:
      label = f'{name}_{key}' if isinstance(space, spaces.Tuple) else (
          str(key) if name == 'obs' else f'{name}_{key}')
      for child, (kind, read) in flatten(part, label, size, task).items():
        inner: Any = lambda x, k=key, f=read: f(x[k])
        out[child] = kind, inner
    return out
  return {_name(space, name): _leaf(space, name, size, task)}


def _name(space, name):
  # Upstream tells images from vectors by their shape, people by their name.
  return 'image' if name == 'obs' and is_image(space) else name


def is_image(space: gymnasium.Space) -> bool:
  """Whether a space holds pictures: bytes of shape [H, W, 1 or 3]."""
  return (
      isinstance(space, gymnasium.spaces.Box) and space.dtype == np.uint8
      and len(space.shape) == 3 and space.shape[-1] in (1, 3))


def _leaf(space, name, size, task):
  spaces = gymnasium.spaces
  if is_image(space):
    shape = (*size, space.shape[-1])
    return elements.Space(np.uint8, shape), lambda x: resize(x, size)
  if isinstance(space, spaces.Discrete) and space.n <= MOST_CLASSES:
    start = int(space.start)
    return (
        elements.Space(np.int32, (), 0, int(space.n)),
        lambda x: np.int32(int(x) - start))
  if isinstance(space, spaces.MultiBinary):
    count = int(np.prod(space.shape))
    return (
        elements.Space(np.int32, (count,), 0, 2),
        lambda x: np.asarray(x).reshape(-1).astype(np.int32))
  if isinstance(space, spaces.MultiDiscrete) and space.nvec.max() <= 256:
    high = space.nvec.reshape(-1)
    start = np.asarray(space.start).reshape(-1)
    return (
        elements.Space(np.int32, high.shape, 0, high),
        lambda x: (np.asarray(x).reshape(-1) - start).astype(np.int32))
  if isinstance(space, (
      spaces.Box, spaces.Discrete, spaces.MultiDiscrete)):
    count = int(np.prod(space.shape))
    return (
        elements.Space(np.float32, (count,)),
        lambda x: np.asarray(x).reshape(-1).astype(np.float32))
  raise errors.EnvError(
      f'The task {task!r} observes {name!r} as {space}, which the agent '
      'can\'t read. It reads Box, Discrete, MultiDiscrete, MultiBinary, and '
      'Dict or Tuple of these. Wrap the environment so that it shows one of '
      'them.')


def resize(image: Any, size: Sequence[int]) -> np.ndarray:
  """Returns an image [H, W, C], u8, in another size: [*size, C], u8."""
  image = np.asarray(image)
  if image.shape[:2] == tuple(size):
    return image
  import PIL.Image
  squeezed = image[..., 0] if image.shape[-1] == 1 else image
  out = PIL.Image.fromarray(squeezed).resize(
      (size[1], size[0]), PIL.Image.Resampling.BOX)
  return np.asarray(out).reshape((*size, image.shape[-1]))


def actions(space: gymnasium.Space, task: str) -> tuple[
    dict[str, elements.Space], Callable[[Mapping[str, Any]], Any]]:
  """Turns an action space into named spaces.

  Args:
    space: Gymnasium's action space.
    task: The task's name, for errors.

  Returns:
    Dictionary from names to `elements.Space`: `action`, or for MultiDiscrete
    `action0`, `action1` and so on; and a function from a dictionary of such
    actions to what the environment takes.

  Raises:
    EnvError: A space that the agent can't act in.
  """
  spaces = gymnasium.spaces
  if isinstance(space, spaces.Discrete):
    start = int(space.start)
    return (
        {'action': elements.Space(np.int32, (), 0, int(space.n))},
        lambda x: int(x['action']) + start)
  if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
    low, high = (np.broadcast_to(x, space.shape) for x in (
        space.low, space.high))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
      raise errors.EnvError(
          f'The task {task!r} takes actions without bounds: {space}. Wrap it '
          'in gymnasium.wrappers.RescaleAction or give its actions bounds.')
    return (
        {'action': elements.Space(np.float32, space.shape, low, high)},
        lambda x: np.clip(np.asarray(x['action'], space.dtype), low, high))
  if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
    shape = space.shape
    high = (
        space.nvec.reshape(-1) if isinstance(space, spaces.MultiDiscrete)
        else np.full(int(np.prod(shape)), 2))
    starts = np.asarray(getattr(space, 'start', 0))
    names = [f'action{i}' for i in range(len(high))]
    return (
        {k: elements.Space(np.int32, (), 0, int(n))
         for k, n in zip(names, high)},
        lambda x: (
            np.array([int(x[k]) for k in names]).reshape(shape) + starts
        ).astype(space.dtype))
  raise errors.EnvError(
      f'The task {task!r} takes actions {space}, in which the agent can\'t '
      'act. It acts in Discrete, MultiDiscrete, MultiBinary and bounded Box. '
      'Wrap the environment so that it takes one of them.')
