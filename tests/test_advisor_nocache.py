"""Advice without the cache: what an ablation takes away, and what it keeps."""

import numpy as np
import pytest
from advising import WORDS, consider, encode

from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Reply


@pytest.fixture
def make():
  made = []

  def fn(provider, calibrate='auto', **kwargs):
    made.append(service.Advisor(
        provider, len(WORDS), service.Settings(
            cache=False, calibrate=calibrate), **kwargs))
    return made[-1]
  yield fn
  for advisor in made:
    advisor.close()


def test_every_visit_costs_a_call(make):
  advisor = make(Mock())
  for number in range(1, 4):
    _, valid = consider(advisor, 'a')
    assert valid.all() and advisor.stats()['calls'] == number
  assert advisor.stats()['hits'] == 0
  assert advisor.store.spent('run')['calls'] == 3


def test_a_reply_serves_only_the_step_that_it_arrives_in(make):
  advisor = make(Mock())
  _, valid = consider(advisor, 'a')
  assert valid.all()
  # Another state's step: what is known of the first one is gone.
  consider(advisor, 'b')
  prior, valid = advisor.lookup(encode('a', 'b'))
  assert valid.tolist() == [False, True]


def test_environments_in_one_state_share_its_call(make):
  advisor = make(Mock())
  _, valid = consider(advisor, 'a', 'a')
  assert valid.all() and advisor.stats()['calls'] == 1


def test_the_budget_ends_advice(make):
  advisor = make(Mock(), caps=storelib.Caps(calls=2))
  seen = [bool(consider(advisor, 'a')[1].all()) for _ in range(5)]
  assert seen == [True, True, False, False, False]
  assert advisor.stats()['calls'] == 2


def test_the_newest_reply_counts_and_the_first_stays_stored(make, tmp_path):
  path = tmp_path / 'advice.sqlite'
  provider = Mock(replies=[Reply((2.0, 0.0), 'one'), Reply((0.0, 2.0), 'two')])
  advisor = make(provider, store=storelib.Store(path))
  first, _ = consider(advisor, 'a')
  second, _ = consider(advisor, 'a')
  assert first[0, 0] > 0 > second[0, 0]
  rows = advisor.store.load(advisor.sources[0].identity)
  assert [x['raw'] for x in rows] == ['one']
  # Nothing that was paid for is lost.
  raws = [x for x, in advisor.store.query(
      'select raw from ledger order by id')]
  assert raws == ['', 'two']


def test_stored_replies_give_no_advice(make, tmp_path):
  path = tmp_path / 'advice.sqlite'
  advisor = service.Advisor(Mock(), len(WORDS), store=storelib.Store(path))
  consider(advisor, 'a')
  advisor.close()
  advisor = make(Mock(), store=storelib.Store(path))
  assert not advisor.lookup(encode('a'))[1].any()
  _, valid = consider(advisor, 'a')
  assert valid.all() and advisor.stats()['calls'] == 1


def test_calibration_still_knows_all_replies(make):
  provider = Mock(replies=[Reply((3.0, 1.0), 'x'), Reply((1.0, 3.0), 'y')])
  advisor = make(provider, calibrate='always')
  consider(advisor, 'a')
  prior, _ = consider(advisor, 'b')
  # Means over both states are equal, so that the second prefers its second.
  assert np.isfinite(prior).all() and prior[0, 0] < 0
