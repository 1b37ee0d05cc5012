"""The real SDKs against llama.cpp's real server on loopback."""

import math

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.providers import anthropic as anthropiclib
from lore_plugin.advisor.providers import local
from lore_plugin.advisor.providers import manners
from lore_plugin.advisor.providers import openai as openailib
from lore_plugin.advisor.types import Description, Option, Query

xllamacpp = pytest.importorskip('xllamacpp')

WORDS = (
    'turn left', 'turn right', 'move forward', 'pick up', '', 'toggle', '')
OPTIONS = (Option('take the yellow key', (2,)), Option('explore', (0, 1)))


def describe(text):
  return Description(
      text, 'use the key to open the door and then get to the goal', WORDS,
      OPTIONS, version='d-1')


@pytest.fixture(scope='module')
def address():
  params = xllamacpp.CommonParams()
  params.model.path = str(local.find())
  params.n_ctx = 2048
  params.n_parallel = 1
  params.n_gpu_layers = 0
  params.cpuparams.n_threads = 1
  params.warmup = False
  params.verbosity = -1
  # Always the most likely token, so that a test sees the same answers.
  params.sampling.temp = 0.0
  server = xllamacpp.Server(params)
  yield server.listening_address
  del server


@pytest.fixture
def key(monkeypatch):
  monkeypatch.setenv('ANTHROPIC_API_KEY', 'sk-fake-never-stored')


class TestAnthropic:

  def test_through_the_advisor(self, address, key, tmp_path):
    config = {'model': 'smollm2', 'timeout': 600.0, 'url': address}
    provider = anthropiclib.Anthropic(config)
    path = tmp_path / 'a.sqlite'
    advisor = service.Advisor(
        provider, len(WORDS), service.Settings(ask='sync', timeout=600.0),
        store=storelib.Store(path))
    state = describe('You carry nothing. A yellow key is two steps ahead.')
    states = state.encode(1024)[None]
    # The server does not force tools, so the first answer may be prose; then
    # the state is asked again as text.
    for _ in range(2):
      advisor.consider(states, [0], [0.0], [0.0], [False], [False])
    prior, valid = advisor.lookup(states)
    stats = advisor.stats()
    advisor.close()
    assert np.isfinite(prior).all()
    assert stats['calls'] - stats['failures'] == valid.sum()
    assert stats['tokens_in'] > 50 and stats['tokens_out'] > 5
    data = b''.join(x.read_bytes() for x in tmp_path.iterdir())
    assert b'never-stored' not in data

  def test_address_from_the_environment(self, address, key, monkeypatch):
    monkeypatch.setenv('ANTHROPIC_BASE_URL', address)
    provider = anthropiclib.Anthropic({'model': 'smollm2', 'timeout': 600.0})
    provider.manners.form = manners.Form(rung=2)
    query = Query(describe('A wall.'), ('explore', 'wait'), 'subgoal')
    reply = provider.ask(query)
    assert all(map(math.isfinite, reply.scores))
    provider.close()

  def test_nobody_listens(self, key):
    provider = anthropiclib.Anthropic(
        {'model': 'm', 'timeout': 2.0, 'url': 'http://127.0.0.1:9'})
    query = Query(describe('A wall.'), ('explore', 'wait'), 'subgoal')
    with pytest.raises(errors.FailedCall, match='Connection'):
      provider.ask(query)

  def test_unknown_path(self, address, key):
    provider = anthropiclib.Anthropic(
        {'model': 'm', 'timeout': 20.0, 'url': address + '/nowhere'})
    query = Query(describe('A wall.'), ('explore', 'wait'), 'subgoal')
    with pytest.raises(errors.RejectedCall, match='404'):
      provider.ask(query)


class TestOpenAI:

  QUERY = Query(
      describe('You carry nothing. A yellow key is two steps ahead.'),
      ('take the yellow key', 'explore'), 'subgoal')

  @pytest.fixture
  def provider(self, address):
    config = {'model': 'm', 'timeout': 600.0, 'url': f'{address}/v1'}
    provider = openailib.OpenAI(config)
    yield provider
    provider.close()

  @pytest.mark.parametrize('rung', range(len(openailib.RUNGS)))
  def test_rungs(self, provider, rung):
    provider.manners.form = manners.Form(rung=rung)
    bound = provider.estimate(self.QUERY)[0]
    try:
      reply = provider.ask(self.QUERY)
    except errors.ParseError as e:
      # The small model's answer may name no candidate, but never by a schema.
      assert rung != 2
      assert e.raw and 50 < e.tokens <= bound
      return
    assert len(reply.scores) == 2 and all(map(math.isfinite, reply.scores))
    assert reply.tokens_in > 50 and reply.tokens_out > 0
    assert provider.parse(reply.raw, 2) == reply.scores
    assert reply.tokens_in + reply.tokens_out <= bound

  def test_unknown_path(self, address):
    provider = openailib.OpenAI(
        {'model': 'm', 'timeout': 20.0, 'url': f'{address}/nowhere'})
    with pytest.raises(errors.RejectedCall, match='404'):
      provider.ask(self.QUERY)
