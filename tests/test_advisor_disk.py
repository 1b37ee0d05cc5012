"""A disk that is really full, and then isn't any more."""

import errno
import os
import pathlib
import resource
import subprocess
import sys

import numpy as np
import pytest

from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Description, Option

WORDS = ('left', 'right', 'forward')
OPTIONS = (Option('key', (0,)), Option('look', (1, 2)))


class Limit:
  """The system lets this process write to no file: EFBIG."""

  def __init__(self, folder):
    self.before = resource.getrlimit(resource.RLIMIT_FSIZE)

  def fill(self):
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, self.before[1]))

  def free(self):
    resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


class Filler:
  """Another file takes all that is left of a small disk: ENOSPC."""

  def __init__(self, folder):
    self.path = folder / 'filler'

  def fill(self):
    with open(self.path, 'ab', buffering=0) as f:
      for size in (4096, 1):
        try:
          while f.write(bytes(size)) == size:
            pass
        except OSError as e:
          assert e.errno == errno.ENOSPC

  def free(self):
    self.path.unlink()


def scenario(folder, disk):
  """An advisor before, while and after the disk is full."""
  folder = pathlib.Path(folder)
  disk = disk(folder)
  store = storelib.Store(folder / 'advice.sqlite')
  provider = Mock(paid=True)
  # No failure may stop the asking: what is tested is the store.
  advisor = service.Advisor(
      provider, 3, service.Settings(ask='sync', retries=0), store=store)

  def step(text):
    states = Description(
        text, 'm', WORDS, OPTIONS, version='t-1').encode(256)[None]
    advisor.consider(states, [0], [0.0], [0.0], [False], [False])
    prior, valid = advisor.lookup(states)
    assert np.isfinite(prior).all()
    return bool(valid[0])

  assert all([step(f'before {i}') for i in range(5)])
  # It fills up after the call was reserved, and before it is settled.
  provider.queue.append(lambda query: disk.fill() or (0.0, -1.0))
  assert not step('paid')
  assert len(provider.queries) == 6
  # What isn't on disk isn't used, nothing else is asked, the run goes on.
  for i in range(2 * service.NEWS):
    assert not step('paid') and not step(f'during {i}')
    assert step(f'before {i % 5}')
  stats = advisor.stats()
  assert len(provider.queries) == stats['calls'] == 6
  assert stats['failures_store'] == 1
  assert stats['refused_unsettled'] > service.NEWS
  assert 'failures_internal' not in stats
  disk.free()
  for _ in range(service.NEWS):
    step('before 0')
  assert step('paid'), advisor.stats()
  assert step('after'), advisor.stats()
  assert advisor.stats()['calls'] == len(provider.queries) == 7
  advisor.close()
  # Nothing was lost, nothing was paid twice.
  store = storelib.Store(folder / 'advice.sqlite')
  texts = [x['text'] for x in store.load(advisor.sources[0].identity)]
  assert texts == [*(f'before {i}' for i in range(5)), 'paid', 'after']
  assert store.spent('run')['calls'] == 7
  assert store.query('pragma integrity_check') == [('ok',)]
  store.close()


def run(folder, disk):
  """Runs the scenario in a process of its own, whose limits are its own."""
  code = (
      f'import sys; sys.path.insert(0, {os.path.dirname(__file__)!r});'
      f'import {__name__} as m; m.scenario({str(folder)!r}, m.{disk})')
  result = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True,
      timeout=120, check=False)
  assert result.returncode == 0, result.stderr


def test_no_more_may_be_written(tmp_path):
  run(tmp_path, 'Limit')


def test_disk_is_full(tmp_path):
  done = subprocess.run(
      ['mount', '-t', 'tmpfs', '-o', 'size=2m', 'none', str(tmp_path)],
      capture_output=True, text=True, check=False)
  if done.returncode:
    pytest.skip(f'No disk can be mounted here: {done.stderr.strip()}')
  try:
    run(tmp_path, 'Filler')
  finally:
    subprocess.run(['umount', str(tmp_path)], check=True)
