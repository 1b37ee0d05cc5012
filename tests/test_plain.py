"""A checkpoint that somebody sent is data, never a program."""

import os
import pickle

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.upstream import plain


class Bad:

  def __reduce__(self):
    return os.system, ('touch executed',)


def test_arrays_and_plain_values(tmp_path):
  data = {
      'params': {'a': np.arange(6, dtype=np.float32).reshape(2, 3)},
      'counters': {'updates': np.int64(3)}, 'words': ['ä', None, (1, 2.0)],
      'empty': np.zeros((0, 3)), 'bytes': b'x', 'set': {1, 2}}
  path = tmp_path / 'agent.pkl'
  for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
    path.write_bytes(pickle.dumps(data, protocol))
    found = plain.load(path)
    np.testing.assert_array_equal(found['params']['a'], data['params']['a'])
    assert found['words'] == data['words'] and found['set'] == {1, 2}
    assert found['counters']['updates'] == 3


@pytest.mark.parametrize('value', [Bad(), {'x': [Bad()]}, os.system, print])
def test_nothing_is_executed(tmp_path, monkeypatch, value):
  monkeypatch.chdir(tmp_path)
  path = tmp_path / 'agent.pkl'
  path.write_bytes(pickle.dumps(value))
  with pytest.raises(errors.ConfigError, match='nothing that could execute'):
    plain.load(path)
  assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('data', [b'', b'\x80\x04', b'no pickle'])
def test_what_is_cut_off_is_said(tmp_path, data):
  path = tmp_path / 'agent.pkl'
  path.write_bytes(data)
  with pytest.raises(errors.ConfigError, match='agent.pkl'):
    plain.load(path)
