"""Pickles that hold data and nothing else.

Upstream writes checkpoints with pickle, and a pickle may execute anything. A
folder that somebody sent is read by this, which makes arrays and plain values
and refuses everything else.
"""

import io
import os
import pathlib
import pickle
from typing import Any

from .. import errors

# What arrays are made of, by numpy 1 and 2, and the numbers of jax.
ALLOWED = {
    ('numpy', 'dtype'), ('numpy', 'ndarray'),
    *((f'numpy.{core}.{module}', name) for core in ('core', '_core')
      for module, name in (
          ('multiarray', '_reconstruct'), ('multiarray', 'scalar'),
          ('numeric', '_frombuffer'))),
    ('ml_dtypes', 'bfloat16'), ('collections', 'OrderedDict'),
    ('collections', 'deque'), ('_codecs', 'encode'),
    *((module, name) for module in ('builtins', '__builtin__')
      for name in ('set', 'frozenset', 'bytes', 'bytearray', 'complex'))}


class Reader(pickle.Unpickler):
  """Reads arrays and plain values."""

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) not in ALLOWED:
      raise pickle.UnpicklingError(
          f'it asks for {module}.{name}, which is no array')
    return super().find_class(module, name)


def load(path: str | os.PathLike) -> Any:
  """Reads a pickle that holds arrays and plain values.

  Raises:
    ConfigError: It holds something else, or can't be read.
  """
  try:
    return Reader(io.BytesIO(pathlib.Path(path).read_bytes())).load()
  except Exception as e:
    raise errors.ConfigError(
        f'Can\'t read {str(path)!r}: {e}. Only arrays, numbers and text are '
        'read from a checkpoint, nothing that could execute.') from e
