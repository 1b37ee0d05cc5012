"""A server whose preferred provider fails: whose answers its clients store."""

import logging

import numpy as np
import pytest
import questions
from questions import consider, describe, named, query

import lore_plugin
from lore_plugin import errors
from lore_plugin import options
from lore_plugin.advisor import build
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.remote import client as clientlib
from lore_plugin.advisor.remote import serve
from lore_plugin.advisor.remote import server as serverlib
from lore_plugin.advisor.remote import wire


@pytest.fixture
def strong():
  return named(
      'anthropic', 'claude', paid=True, calibrate=True,
      default=errors.RejectedCall('credit balance is too low'))


@pytest.fixture
def weak():
  return named('local', 'tiny.gguf', default=(0.0, 5.0))


@pytest.fixture
def server(strong, weak):
  store = storelib.Store(':memory:')
  server = serverlib.Server(serve.askers([strong, weak], store))
  yield server
  server.close()
  store.close()


def connect(server, path, mode='subgoal'):
  """Returns an advisor as a run's behind a server."""
  return questions.connect(path, address=server.address, mode=mode)


def identities(store):
  return {(x.provider, x.model, x.prompt): n for x, n in store.identities()}


def test_an_answer_is_stored_as_theirs_who_gave_it(server, weak, tmp_path):
  advisor = connect(server, tmp_path)
  prior, valid = consider(advisor, 'a')
  assert valid.all()
  want = {('local', 'tiny.gguf', 'subgoal-1'): 1}
  assert identities(server.askers['subgoal'].store) == want
  assert identities(advisor.store) == want
  assert 'anthropic (claude)' in build.introduce(advisor)
  assert 'then local (tiny.gguf)' in build.introduce(advisor)
  advisor.close()
  # A run that goes on has the answer, and asks for nothing.
  again = connect(server, tmp_path)
  got, valid = again.lookup(describe('a').encode(256)[None])
  np.testing.assert_array_equal(got, prior)
  assert consider(again, 'a')[1].all() and len(weak.queries) == 1
  assert again.stats()['calls'] == 0
  again.close()


def test_the_preferred_ones_answers_are_its_own(server, strong, tmp_path):
  strong.default = (3.0, 0.0)
  advisor = connect(server, tmp_path)
  consider(advisor, 'a')
  # The second time the server has it in memory.
  assert clientlib.Remote(server.address).ask(query('a')).by == (
      'anthropic', 'claude', 'subgoal-1')
  assert identities(advisor.store) == {('anthropic', 'claude', 'subgoal-1'): 1}
  advisor.close()


def test_a_bias_is_that_of_one_model(server, tmp_path):
  """The preferred one's scores carry a bias, the other's do not."""
  advisor = connect(server, tmp_path, mode='action')
  assert [x.calibrate for x in advisor.sources] == [True, False]
  server.askers['action'].sources[1].provider.default = (0.0, 5.0, 0.0)
  consider(advisor, 'a')
  prior, valid = consider(advisor, 'b')
  # Without a bias taken off, what is liked in both states is still liked.
  assert valid.all() and prior[0].argmax() == 1
  assert advisor.table.bias == [{}, {}]
  advisor.close()


def test_a_server_that_was_started_with_another_provider(
    server, strong, tmp_path):
  strong.default = (3.0, 0.0)
  advisor = connect(server, tmp_path)
  consider(advisor, 'a')
  store = server.askers['subgoal'].store
  server.askers = serve.askers(
      [named('openai', 'new', default=(0.0, 1.0))], store)
  assert consider(advisor, 'b')[1].all()
  assert identities(advisor.store) == {
      ('anthropic', 'claude', 'subgoal-1'): 1,
      ('openai', 'new', 'subgoal-1'): 1}
  advisor.close()


def test_an_older_server_names_nobody(server, strong, tmp_path, monkeypatch):
  strong.default = (3.0, 0.0)
  monkeypatch.setattr(wire, 'FORMAT', 3)
  monkeypatch.setattr(
      server, '_know', lambda row, _: wire.Answer(
          scores=row['scores'], raw=row['raw']))
  advisor = connect(server, tmp_path)
  assert consider(advisor, 'a')[1].all()
  assert identities(advisor.store) == {('anthropic', 'claude', 'subgoal-1'): 1}
  advisor.close()


def test_only_the_server_is_asked(server, strong, weak, tmp_path):
  """Where it answers nothing, nobody behind it is asked from here."""
  advisor = connect(server, tmp_path)
  weak.default = errors.RejectedCall('no')
  assert not consider(advisor, 'a')[1].any()
  assert advisor.spent()['calls'] == 0
  advisor.sources[0].circuit.failed(errors.RejectedCall('no'))
  assert advisor.asker.blocked() == 'stopped'
  advisor.close()


def test_a_program_is_told_who_answered(server):
  with lore_plugin.Advisor(
      address=server.address, ask='sync', timeout=60.0) as advisor:
    assert advisor.ask(describe('a')).source == 'local (tiny.gguf)'
    server.askers = serve.askers(
        [named('openai', 'new')], server.askers['subgoal'].store)
    assert advisor.ask(describe('b')).source == 'openai (new)'


class TestGoesOn:
  """A run behind a server with a fallback, from a checkpoint."""

  @pytest.fixture
  def saved(self, server, strong, tmp_path):
    strong.default = (3.0, 0.0)
    advisor = connect(server, tmp_path)
    consider(advisor, 'a')
    data = advisor.save()
    advisor.close()
    assert [x[0] for x in data['sources']] == ['anthropic', 'local']
    data['failed'] = ['zzz']
    return data

  def go_on(self, server, path, data, caplog):
    """Returns what is in vain to ask; warnings are in `caplog`."""
    caplog.clear()
    advisor = connect(server, path)
    with caplog.at_level(logging.WARNING, 'lore_plugin'):
      advisor.load(data)
    failed = advisor.table.failed.save()
    advisor.close()
    return failed

  def test_whom_the_server_asks_besides_is_its_affair(
      self, server, tmp_path, saved, caplog):
    assert self.go_on(server, tmp_path, saved, caplog) == ['zzz']
    # Of earlier versions, which knew of the first one alone, or of both.
    del saved['asked']
    assert self.go_on(server, tmp_path, saved, caplog) == ['zzz']
    saved['sources'] = saved['sources'][:1]
    assert self.go_on(server, tmp_path, saved, caplog) == ['zzz']
    assert not caplog.records

  def test_the_second_one_may_be_exchanged(
      self, server, strong, tmp_path, saved, caplog):
    server.askers = serve.askers(
        [strong, named('openai', 'new')], server.askers['subgoal'].store)
    assert self.go_on(server, tmp_path, saved, caplog) == ['zzz']
    assert not caplog.records

  def test_another_first_one_is_said_with_a_way_back(
      self, server, weak, tmp_path, saved, caplog):
    server.askers = serve.askers([weak], server.askers['subgoal'].store)
    assert self.go_on(server, tmp_path, saved, caplog) == []
    assert (
        'was advised by anthropic (claude, subgoal-1) until now, and is from'
        ' now on by local (tiny.gguf, subgoal-1). To keep its advisor, start'
        f' the server on {server.address} with --lore.advisor.provider'
        ' anthropic --lore.advisor.model claude.') in caplog.text
    assert 'type --lore' not in caplog.text

  def test_a_replay_of_such_a_run(self, server, tmp_path, saved, caplog):
    section = options.section('lore.advisor') | {
        'address': server.address, 'replay': 'strict'}
    advisor = build.build(
        {'lore': {'advisor': section}, 'logdir': str(tmp_path), 'seed': 0}, 3)
    with caplog.at_level(logging.WARNING, 'lore_plugin'):
      advisor.load(saved)
    assert not caplog.records
    advisor.close()
