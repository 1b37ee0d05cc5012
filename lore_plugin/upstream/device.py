"""Whether there is what `jax.platform` names, before jax is asked."""

import ctypes
import importlib.metadata
import importlib.util
from typing import Any

from .. import errors

PLUGINS = ('jax_cuda12_plugin', 'jax_cuda13_plugin', 'jax_cuda_plugin')
PLATFORMS = ('cpu', 'cuda', 'gpu', 'rocm', 'tpu', 'METAL')


def check(config: Any) -> None:
  """Refuses a platform that this machine lacks.

  Raises:
    ConfigError: With what is missing and how to compute without it.
  """
  platform = config.jax.platform
  if config.random_agent or config.script.endswith(
      ('_env', '_envs', '_replay')):
    return  # Nobody computes here.
  for name in filter(None, platform.split(',')):
    errors.choose(name, PLATFORMS, 'value of jax.platform')
  why = lacking(platform)
  if why:
    raise errors.ConfigError(
        f'jax.platform is {platform}, but {why}. Type --jax.platform cpu '
        '--jax.compute_dtype float32.')
  _check_numbers(config.jax)


def _check_numbers(jax):
  """Refuses devices that jax won't have, where their number is known."""
  if jax.platform != 'cpu':
    return
  count = max(1, jax.flat.get('mock_devices', 0))
  for key in ('policy_devices', 'train_devices'):
    numbers = jax.flat.get(key, (0,))
    if any(not 0 <= x < count for x in numbers):
      raise errors.ConfigError(
          f'jax.{key} is {" ".join(map(str, numbers))}, but on the CPU jax '
          f'has {count} device{"s" * (count > 1)}, counted from 0. Type '
          f'--jax.{key} 0, or --jax.mock_devices {max(*numbers, 1) + 1}.')


def lacking(platform: str) -> str:
  """Says why jax can't compute on a platform here; '' if nothing is known."""
  missing = lambda *names: not any(
      importlib.util.find_spec(x) for x in names)
  if platform == 'cuda' or (
      platform == 'gpu' and missing('jax_rocm60_plugin', 'jax_rocm7_plugin')):
    if gpus() == 0:
      return 'this machine has no NVIDIA GPU that its driver knows'
    if missing(*PLUGINS) and not importlib.metadata.entry_points(
        group='jax_plugins'):
      return (
          'jax is installed without CUDA (pip install '
          '\'lore-dreamerv3[cuda12]\' brings it)')
  if platform == 'tpu' and missing('libtpu'):
    return 'jax is installed without libtpu'
  return ''


def gpus() -> int:
  """Returns how many GPUs NVIDIA's driver counts; 0 without a driver.

  Asking the driver takes milliseconds, and unlike jax it settles nothing for
  this process.
  """
  for name in ('libcuda.so.1', 'nvcuda.dll'):
    try:
      driver = ctypes.CDLL(name)
      break
    except OSError:
      continue
  else:
    return 0
  count = ctypes.c_int()
  if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
    return 0
  return count.value
