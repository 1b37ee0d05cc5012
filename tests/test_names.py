"""What is saved later has a later name, and the last one is never removed."""

import elements
import elements.utils
import embodied
import numpy as np
import pytest

from lore_plugin.upstream import adapt
from lore_plugin.upstream import checkpoint

FUTURE = '20990101T000000F000000'


class Clock:
  """A clock that is set by hand, in place of the one that names."""

  def __init__(self, *times):
    self.times = list(times)

  def __call__(self, millis):
    assert millis
    return self.times.pop(0) if len(self.times) > 1 else self.times[0]


class Value:
  def __init__(self, value=0):
    self.value = value

  def save(self):
    return self.value

  def load(self, value):
    self.value = value


@pytest.fixture
def names(monkeypatch):
  adapt.install()
  found = elements.timestamp.names
  monkeypatch.setattr(found, 'last', '')
  return found


def saver(folder, value, **kwargs):
  result = elements.Checkpoint(folder, **kwargs)
  result.step = value
  return result


def test_names_only_rise():
  names = adapt.Names(Clock(
      '20260101T000002F000000', '20260101T000001F999999',
      '20260101T000001F999999', '20260101T000003F000000'))
  assert [names.next() for _ in range(4)] == [
      '20260101T000002F000000', '20260101T000002F000001',
      '20260101T000002F000002', '20260101T000003F000000']
  names.rise(['best', FUTURE + '-000000000300', '20260101', 'latest'])
  assert names.next() == '20990101T000000F000001'
  names.rise(['99991231T235959F999999'])
  assert names.next() == '99991231T235959F999999'


def test_names_carry_over():
  names = adapt.Names(Clock('20260101T000000F000000'))
  names.rise(['20261231T235959F999999'])
  assert names.next() == '20270101T000000F000000'


def test_only_the_time_of_now_is_ours(names):
  import datetime
  time = datetime.datetime(2000, 1, 2, 3, 4, 5)
  assert elements.timestamp(time, millis=True) == '20000102T030405F000000'
  assert elements.timestamp() == elements.utils.timestamp()
  assert 'F' not in elements.timestamp()


@pytest.mark.parametrize('keep', [1, 2, 5])
def test_a_clock_that_was_set_back_loses_nothing(names, monkeypatch,
                                                  tmp_path, keep):
  value = Value()
  saver(tmp_path, value).save()
  [first] = [x.name for x in tmp_path.iterdir() if x.name != 'latest']
  # Another process, a day earlier by its clock.
  monkeypatch.setattr(names, 'last', '')
  monkeypatch.setattr(names, 'now', Clock('20000101T000000F000000'))
  written = [first]
  for value.value in (1, 2, 3):
    saver(tmp_path, value, keep=keep).save()
    written.append((tmp_path / 'latest').read_text())
  assert written == sorted(written) and len(set(written)) == 4
  kept = sorted(x.name for x in tmp_path.iterdir() if x.name != 'latest')
  assert kept == written[-keep:]
  assert checkpoint.newest(tmp_path).name == written[-1]
  loaded = Value()
  saver(tmp_path, loaded).load()
  assert loaded.value == 3 == checkpoint.step(checkpoint.newest(tmp_path))


def test_folders_of_others_stay(names, tmp_path):
  for name in ('best', 'replay', '00'):
    (tmp_path / name).mkdir()
  for value in (1, 2):
    saver(tmp_path, Value(value)).save()
  found = {x.name for x in tmp_path.iterdir()}
  assert found >= {'best', 'replay', '00', 'latest'} and len(found) == 5


def test_interrupted_saves_are_removed(names, tmp_path):
  (tmp_path / '20260101T000000F000000').mkdir()
  saver(tmp_path, Value()).save()
  assert len(list(tmp_path.iterdir())) == 2


def test_chunks_of_a_later_run_are_later(names, monkeypatch, tmp_path):
  def chunks():
    return {x.name for x in tmp_path.glob('*.npz')}
  def play(value):
    replay = embodied.replay.Replay(
        1, capacity=4, directory=tmp_path, chunksize=4, save_wait=True)
    for _ in range(4):
      replay.add({'x': np.float32(value)})
    replay.save()
  play(1)
  before = chunks()
  monkeypatch.setattr(names, 'last', '')
  monkeypatch.setattr(names, 'now', Clock('20000101T000000F000000'))
  play(2)
  assert max(before) < min(chunks() - before)
  # Of what there is room for, the newest.
  replay = embodied.replay.Replay(1, capacity=4, directory=tmp_path)
  replay.load()
  assert set(replay.sample(64)['x'].flatten()) == {2}
