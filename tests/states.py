"""States to ask about, and providers that ask a server about them."""

import numpy as np
import pytest
import servers

from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import providers
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.types import Description, Option, Query

WORDS = ('left', 'right', 'forward')
OPTIONS = (
    Option('take the key', (0,)), Option('open the door', (1, 2)),
    Option('explore', (2,)))
KEY = 'sk-fake-0123456789'
PRICE = {'input': 1.0, 'output': 5.0}


def describe(i):
  return Description(f't{i}', 'm', WORDS, OPTIONS, version='t-1')


def query(i=0):
  return Query(describe(i), tuple(x.name for x in OPTIONS), 'subgoal')


@pytest.fixture
def make(monkeypatch):
  monkeypatch.setenv('ANTHROPIC_API_KEY', KEY)
  monkeypatch.setenv('OPENAI_API_KEY', KEY)
  made = []

  def fn(behave, name='openai', **config):
    server = servers.start(behave)
    url = server.url + ('/v1' if name == 'openai' else '')
    provider = providers.create(name, {
        'timeout': 20.0, 'model': 'm', 'price': PRICE, 'url': url, **config},
        0)
    made.append((server, provider))
    return server, provider
  yield fn
  for server, provider in made:
    provider.close()
    server.shutdown()
    server.server_close()


def run(provider, steps, **kwargs):
  """Returns the advisor after some steps, each in a new state."""
  advisor = service.Advisor(
      provider, len(WORDS), service.Settings(ask='sync', retries=0),
      store=storelib.Store(':memory:'), **kwargs)
  for i in range(steps):
    states = describe(i).encode(256)[None]
    advisor.consider(states, [0], [0.0], [0.0], [False], [False])
    prior, _ = advisor.lookup(states)
    assert np.isfinite(prior).all()
  return advisor
