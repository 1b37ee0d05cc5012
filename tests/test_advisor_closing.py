"""A reservation that can't be closed when its call ends, but later."""

import sqlite3

import helpers
import numpy as np
import pytest
from advising import consider

from lore_plugin import errors
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import asker as askerlib
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.providers.mock import Mock

FAILURES = [
    errors.RefusedCall('budget'), errors.BusyCall('later', 0.0),
    errors.FailedCall('gone'), errors.ParseError('words')]


@pytest.fixture
def other(tmp_path):
  """Another program, which may hold the file locked."""
  db = sqlite3.connect(
      tmp_path / 'advice.sqlite', isolation_level=None,
      check_same_thread=False)
  yield db
  db.close()


@pytest.fixture
def make(tmp_path, monkeypatch):
  monkeypatch.setattr(askerlib, 'AGAIN', 0.0)
  monkeypatch.setattr(service, 'ELSEWHERE', 0.0)
  made = []
  def fn(*replies):
    made.append(service.Advisor(
        Mock(replies=replies, paid=True), 4,
        service.Settings(ask='sync', retries=0),
        store=storelib.Store(tmp_path / 'advice.sqlite', patience=0.1)))
    return made[-1]
  yield fn
  for advisor in made:
    advisor.close()


def locking(other, answer):
  """Returns an answer in whose time the file becomes locked."""
  def fn(query):
    other.execute('begin immediate')
    return answer
  return fn


@pytest.mark.parametrize('error', FAILURES, ids=lambda x: type(x).__name__)
def test_its_question_is_asked_again(make, other, error):
  advisor = make(locking(other, error))
  paid = isinstance(error, errors.FailedCall | errors.ParseError)
  assert not consider(advisor, 'a')[1][0]
  stats = advisor.stats()
  assert stats['failures_store'] == 1 and 'failures_internal' not in stats
  # It counts meanwhile, whatever comes.
  assert advisor.spent()['calls'] == 1
  assert not consider(advisor, 'a')[1][0]
  assert len(advisor.sources[0].provider.queries) == 1
  other.execute('rollback')
  helpers.until(lambda: consider(advisor, 'a')[1][0], 30)
  assert len(advisor.sources[0].provider.queries) == 2
  assert advisor.spent()['calls'] == 1 + paid
  rows = advisor.store.query('select status from ledger order by id')
  assert rows == [('failed',)] * paid + [('settled',)]


def test_a_reply_that_was_kept_is_not_paid_twice(make, other):
  advisor = make(locking(other, (0.0, -1.0)))
  assert not consider(advisor, 'a')[1][0]
  assert not consider(advisor, 'a')[1][0]
  other.execute('rollback')
  prior, _ = helpers.until(lambda: (
      lambda found: found[1][0] and found)(consider(advisor, 'a')), 30)
  assert np.isfinite(prior).all() and prior.any()
  assert len(advisor.sources[0].provider.queries) == 1
  assert advisor.spent()['calls'] == 1
  assert advisor.store.query('select status from ledger') == [('settled',)]
