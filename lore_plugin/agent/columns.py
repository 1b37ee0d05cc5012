"""The format of what travels between the host and the device.

Each array costs its way, so that advice goes to the agent as one array, and
the numbers that come back are packed by their shape.

  host -> device   `lore/advice`: the logits, then one column for each of
                   `names`; put together by `join`, taken apart by `split`
  device -> host   `lore/packed/NAME,NAME,...`; by `pack` and `unpack`
"""

from collections.abc import Mapping, Sequence
from typing import Any

import elements
import jax.numpy as jnp
import numpy as np

f32 = jnp.float32

PRIOR, VALID = 'lore/prior', 'lore/valid'
TRUST, UPLIFT = 'lore/trust', 'lore/uplift'
# Observed only if the KL schedule follows it: how well the agent does alone,
# as a share of the range of returns, in [0, 1].
ALONE = 'lore/alone'
# All of these in one array, the logits first.
ADVICE = 'lore/advice'
# Within the agent only: whether the advice is learned, and how sure the prior
# network is of it.
FILLED, SURE = 'lore/filled', 'lore/sure'
# Before the names of numbers of one shape in one array.
PACKED = 'lore/packed/'


def names(lore: Any) -> tuple[str, ...]:
  """Names what stands behind the logits in what the agent observes.

  Args:
    lore: The section `lore` of the configuration.
  """
  result = [VALID, TRUST, UPLIFT]
  if lore.kl.schedule.mode == 'success':
    result.append(ALONE)
  return tuple(result)


def spaces(actions: int, lore: Any) -> dict[str, elements.Space]:
  """Returns what the agent observes besides the environment.

  Args:
    actions: Number of actions A.
    lore: The section `lore` of the configuration.
  """
  return {ADVICE: elements.Space(np.float32, actions + len(names(lore)))}


def join(advice: Mapping[str, Any], columns: Sequence[str]) -> np.ndarray:
  """Puts advice into the one array that the agent observes.

  Args:
    advice: Under `lore/prior` the advisor's logits, mean 0, of shape [..., A],
      f32; under each name numbers or bools of shape [...], or one for all.
    columns: What stands behind the logits, see `names`; N of them.

  Returns:
    Array of shape [..., A + N], f32.
  """
  prior = advice[PRIOR]
  rest = [np.full(prior.shape[:-1], advice[k], np.float32) for k in columns]
  return np.concatenate([prior, np.stack(rest, -1)], -1)


def split(
    obs: Mapping[str, Any], actions: int,
    columns: Sequence[str]) -> dict[str, Any]:
  """Names what `join` put together, on the device.

  Args:
    obs: What the agent observes; `lore/advice` has shape [..., A + N], f32.
    actions: Number of actions A.
    columns: As for `join`.

  Returns:
    The same, but with `lore/prior` of shape [..., A] and each column of shape
    [...] in its place.
  """
  obs = dict(obs)
  advice = obs.pop(ADVICE)
  obs[PRIOR] = advice[..., :actions]
  for i, name in enumerate(columns):
    obs[name] = advice[..., actions + i]
  obs[VALID] = obs[VALID] > 0
  return obs


def pack(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns numbers of one shape as one array under a name that tells them."""
  return {PACKED + ','.join(values): jnp.stack(
      [f32(x) for x in values.values()], -1)}


def unpack(outs: Mapping[str, Any], prefix: str) -> dict[str, Any]:
  """Takes apart what `pack` put together, on the host.

  Args:
    outs: What the agent returned, from the policy or from training.
    prefix: Stands before the names of what was packed.

  Returns:
    The same, but with the numbers one by one, each of the shape it had, f32.
  """
  result = {}
  for key, value in outs.items():
    if key.startswith(PACKED):
      packed = key.removeprefix(PACKED).split(',')
      columns = np.ascontiguousarray(value.T)
      result.update({prefix + k: v for k, v in zip(packed, columns)})
    else:
      result[key] = value
  return result
