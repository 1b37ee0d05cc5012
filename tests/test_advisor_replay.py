import json

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.advisor import replay
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.policy import Limits
from lore_plugin.advisor.providers import flawed
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Description, Option

WORDS = ('left', 'right', 'forward')
OPTIONS = (Option('key', (0,)), Option('look', (1, 2)))
TEXTS = ['a', 'b', 'a', 'c', 'a', 'b', 'd', 'e', 'e', 'f', 'c', 'a']
LIMITS = Limits(cooldown=2)


def encode(text):
  return Description(
      text, 'm', WORDS, OPTIONS, version='t-1').encode(256)[None]


def scores(query):
  rng = np.random.default_rng(ord(query.description.text))
  return tuple(rng.normal(size=2))


def run(advisor, texts=TEXTS):
  """Returns the advice at each step, as bytes."""
  out = []
  for text in texts:
    states = encode(text)
    advisor.consider(states, [0], [0.0], [0.0], [False], [False])
    prior, valid = advisor.lookup(states)
    out.append((prior.tobytes(), bool(valid[0])))
  return out


def make(provider, store=None, strict=False, **kwargs):
  return service.Advisor(
      provider, len(WORDS), service.Settings(
          calibrate='always', strict=strict), store=store, limits=LIMITS,
      caps=storelib.Caps(calls=4), **kwargs)


@pytest.fixture
def recorded(tmp_path):
  path = tmp_path / 'a.sqlite'
  advisor = make(
      Mock(default=scores, calibrate=True), storelib.Store(path))
  advice = run(advisor)
  stats = advisor.stats()
  advisor.close()
  assert stats['calls'] == 4 and stats['refused_budget']
  return path, advice, stats


def repeat(path, **kwargs):
  provider = replay.Replay(path)
  provider.calibrate = True
  return make(provider, **kwargs)


class TestRepeat:

  def test_bit_for_bit(self, recorded):
    path, advice, stats = recorded
    before = path.read_bytes()
    advisor = repeat(path, strict=True)
    assert run(advisor) == advice
    assert advisor.stats() == stats
    advisor.close()
    assert path.read_bytes() == before

  def test_another_run_has_all_at_once(self, recorded):
    path, advice, _ = recorded
    advisor = make(
        Mock(default=scores, calibrate=True), storelib.Store(path))
    assert run(advisor) != advice
    advisor.close()

  def test_goes_on_after_a_restart(self, recorded):
    path, advice, stats = recorded
    first = repeat(path, strict=True)
    run(first, TEXTS[:5])
    saved = json.loads(json.dumps(first.save()), object_hook=numbers)
    first.close()
    second = repeat(path, strict=True)
    second.load(saved)
    assert run(second, TEXTS[5:]) == advice[5:]
    kept = ('calls', 'hits', 'misses', 'refused_budget', 'refused_cooldown')
    for name in kept:
      assert second.stats()[name] == stats[name]
    second.close()


def numbers(mapping):
  """JSON turns the numbers of environments into text."""
  return {int(k) if k.isdigit() else k: v for k, v in mapping.items()}


class TestUnknownState:

  def test_strict(self, recorded):
    advisor = repeat(recorded[0], strict=True)
    with pytest.raises(errors.ReplayError, match="'z'.*lenient"):
      run(advisor, ['a', 'a', 'z'])
    advisor.close()

  def test_lenient(self, recorded):
    advisor = repeat(recorded[0])
    got = run(advisor, ['z', 'a', 'a', 'a', 'z', 'z', 'z', 'z'])
    assert [x for _, x in got] == [
        False, False, True, True, False, False, False, False]
    stats = advisor.stats()
    assert stats['failures_replay'] == 1
    assert stats['calls'] == 1
    advisor.close()


class TestChoice:

  def test_empty_file(self, tmp_path):
    storelib.Store(tmp_path / 'a.sqlite').close()
    with pytest.raises(errors.ConfigError, match='holds: nothing'):
      replay.Replay(tmp_path / 'a.sqlite')

  def test_no_file(self, tmp_path):
    with pytest.raises(errors.StoreError, match='no file'):
      replay.Replay(tmp_path / 'a.sqlite')

  def test_several(self, recorded):
    path = recorded[0]
    provider = Mock()
    provider.model = 'other'
    advisor = make(provider, storelib.Store(path), account='other')
    run(advisor)
    advisor.close()
    with pytest.raises(errors.ConfigError, match="mock 'mock'.*mock 'other'"):
      replay.Replay(path)
    assert replay.Replay(path, 'mock', 'other').model == 'other'


def test_a_share_of_right_answers_finds_its_advisor(tmp_path):
  path = tmp_path / 'a.sqlite'
  provider = flawed.Flawed({'model': '0.50'}, 7)
  advisor = make(provider, storelib.Store(path))
  run(advisor)
  advisor.close()
  for model in ('0.5', '.5', 'rules-1-right-0.5-seed7', ''):
    found = replay.Replay(path, 'flawed', model)
    assert found.model == 'rules-1-right-0.5-seed7'
    found.close()
  for model in ('0.55', '0', 'half'):
    with pytest.raises(errors.ConfigError, match='0 in'):
      replay.Replay(path, 'flawed', model)


def test_weights_are_found_by_the_path_that_a_run_was_given(tmp_path):
  """A run with --lore.advisor.model /path/x.gguf can be evaluated."""
  path = tmp_path / 'a.sqlite'
  provider = Mock(default=scores)
  provider.name, provider.model = 'local', 'x.gguf:3:ab'
  advisor = make(provider, storelib.Store(path))
  run(advisor)
  advisor.close()
  for model in ('/nowhere/x.gguf', 'x.gguf:3:ab', ''):
    found = replay.Replay(path, 'local', model)
    assert found.model == 'x.gguf:3:ab'
    found.close()
  for model in ('/nowhere/y.gguf', 'x'):
    with pytest.raises(errors.ConfigError, match='0 in'):
      replay.Replay(path, 'local', model)
