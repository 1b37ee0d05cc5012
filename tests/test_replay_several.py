"""Replays of runs that several providers advised, one where another failed."""

import json

import numpy as np
import pytest
from questions import connect, consider, describe, named

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import build
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.remote import serve
from lore_plugin.advisor.remote import server as serverlib
from lore_plugin.play import evaluate

TEXTS = 'abcde'


def advise(advisor, texts=TEXTS):
  """Returns the advice for each state, and where there is some."""
  found = [consider(advisor, x) for x in texts]
  return (np.concatenate([x for x, _ in found]),
          np.concatenate([x for _, x in found]))


def names(advisor):
  return [x.identity.provider for x in advisor.sources]


def fail(advisor, strong):
  """Two answers of the strong one, then three of the weak one."""
  one = advise(advisor, TEXTS[:2])
  strong.default = errors.RejectedCall('credit balance is too low')
  two = advise(advisor, TEXTS[2:])
  return np.concatenate([one[0], two[0]])


@pytest.fixture
def pair():
  # The strong one likes the first choice, the weak one the second.
  return (named('anthropic', 'claude', paid=True, default=(3.0, 0.0)),
          named('local', 'tiny.gguf', default=(0.0, 5.0)))


@pytest.fixture
def behind(pair, tmp_path):
  """A run behind a server: its folder, the address, the advice, its save."""
  store = storelib.Store(':memory:')
  server = serverlib.Server(serve.askers(list(pair), store))
  advisor = connect(tmp_path, address=server.address)
  prior = fail(advisor, pair[0])
  saved = advisor.save()
  advisor.close()
  server.close()
  store.close()
  assert prior.argmax(1).tolist() == [0, 0, 1, 1, 1]
  return tmp_path, server.address, prior, saved


@pytest.mark.parametrize('mode', ['strict', 'lenient'])
@pytest.mark.parametrize('provider', ['auto', 'anthropic,local'])
def test_the_advice_is_that_of_the_run(behind, mode, provider):
  path, address, prior, _ = behind
  advisor = connect(path, replay=mode, address=address, provider=provider)
  got, valid = advise(advisor)
  assert valid.all() and names(advisor) == ['anthropic', 'local']
  np.testing.assert_array_equal(got, prior)
  # As many as the run behind the server has made, and no failure.
  stats = advisor.stats()
  assert stats['calls'] == 5 and not any(
      v for k, v in stats.items() if k.startswith('failures'))
  if mode == 'strict':
    with pytest.raises(errors.ReplayError, match="'z'"):
      consider(advisor, 'z')
  else:
    assert not consider(advisor, 'z')[1].any()
  advisor.close()


def test_one_of_them_can_be_meant(behind):
  path, address, _, _ = behind
  for provider, want in (('anthropic', [1, 1, 0, 0, 0]),
                         ('local', [0, 0, 1, 1, 1])):
    advisor = connect(
        path, replay='lenient', address=address, provider=provider)
    assert advise(advisor)[1].tolist() == want
    advisor.close()


def test_the_order_is_the_typed_one(behind):
  path, _, prior, _ = behind
  advisor = connect(path, replay='strict', provider='local, anthropic')
  assert names(advisor) == ['local', 'anthropic']
  np.testing.assert_array_equal(advise(advisor)[0], prior)
  advisor.close()


@pytest.mark.parametrize('calls', [0, 3])
def test_evaluate_has_all_the_answers(behind, tmp_path, calls):
  path, address, prior, _ = behind
  config = configlib.resolve([
      '--configs', 'minigrid', 'lore', '--logdir', str(path),
      '--lore.advisor.address', address], configlib.load())
  prepared, known = evaluate.prepare_advice(config, calls, str(tmp_path / 't'))
  assert known
  if calls:
    # The server is asked, as before.
    assert prepared.lore.advisor.address == address
    assert prepared.lore.advisor.replay == 'none'
    return
  advisor = build.build(prepared, 3)
  got, valid = advise(advisor)
  assert valid.all()
  np.testing.assert_array_equal(got, prior)
  advisor.close()


def test_evaluate_of_a_run_without_an_answer_asks_no_server(tmp_path):
  config = configlib.resolve([
      '--configs', 'minigrid', 'lore', '--logdir', str(tmp_path),
      '--lore.advisor.address', '127.0.0.1:9'], configlib.load())
  prepared, known = evaluate.prepare_advice(config, 0, str(tmp_path / 't'))
  assert not known and prepared.lore.advisor.address == ''


def test_a_replay_goes_on_with_the_answers_of_both(behind):
  path, address, prior, saved = behind
  first = connect(path, replay='strict', address=address)
  advise(first, 'acd')
  for data, known in ((first.save(), 'acd'), (saved, TEXTS)):
    again = connect(path, replay='strict', address=address)
    again.load(json.loads(json.dumps(data), object_hook=numbers))
    for i, text in enumerate(TEXTS):
      got, valid = again.lookup(describe(text).encode(256)[None])
      assert valid.all() == (text in known)
      if valid.all():
        np.testing.assert_array_equal(got[0], prior[i])
    again.close()
  first.close()


def numbers(mapping):
  """JSON turns the numbers of environments into text."""
  return {int(k) if k.isdigit() else k: v for k, v in mapping.items()}


def record(path, *provider):
  return service.Advisor(
      list(provider), 3, service.Settings(ask='sync'),
      store=storelib.Store(path / 'advice.sqlite'))


def test_a_run_that_asked_both_itself(pair, tmp_path):
  advisor = record(tmp_path, *pair)
  prior = fail(advisor, pair[0])
  advisor.close()
  advisor = connect(tmp_path, replay='strict', provider='anthropic,local')
  np.testing.assert_array_equal(advise(advisor)[0], prior)
  advisor.close()
  # Nor need each have answered something.
  advisor = connect(tmp_path, replay='lenient', provider='openai,local')
  assert advise(advisor)[1].tolist() == [0, 0, 1, 1, 1]
  advisor.close()


def test_a_model_is_that_of_whoever_has_several(tmp_path):
  for provider in (named('openai', 'big', paid=True), named(
      'scripted', 'rules-1')):
    advisor = record(tmp_path, provider)
    advise(advisor, 'ab' if provider.paid else 'cde')
    advisor.close()
  advisor = connect(
      tmp_path, replay='strict', provider='openai,scripted', model='big')
  assert advise(advisor)[1].all()
  advisor.close()
  with pytest.raises(errors.ConfigError, match='0 in'):
    connect(tmp_path, replay='strict', provider='openai', model='small')


@pytest.mark.parametrize('other, provider', [
    (('local', 'tiny.gguf'), 'auto'), (('anthropic', 'old'), 'anthropic'),
    (('anthropic', 'old'), 'anthropic,local')])
def test_a_store_of_several_runs_says_what_to_type(
    pair, tmp_path, other, provider):
  for one in (pair[0], named(*other)):
    advisor = record(tmp_path, one)
    advise(advisor, 'ab')
    advisor.close()
  with pytest.raises(errors.ConfigError, match='needs one advisor, but 2 in'):
    connect(tmp_path, replay='strict', provider=provider)
