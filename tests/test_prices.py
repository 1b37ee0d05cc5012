"""What a model costs: stated, free on this machine, or looked up offline."""

import socket

import pytest

from lore_plugin import options
from lore_plugin.advisor.providers import anthropic
from lore_plugin.advisor.providers import openai
from lore_plugin.advisor.providers import prices

DEFAULT = {'price': options.section('lore.advisor')['price']}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
  def refuse(*args):
    raise AssertionError('The network was used.')
  monkeypatch.setattr(socket, 'getaddrinfo', refuse)
  monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.mark.parametrize('provider, model, url, found', [
    ('anthropic', anthropic.MODEL, '', (1.0, 5.0)),
    ('openai', openai.MODEL, '', (0.4, 1.6)),
    ('openai', 'qwen2.5:7b', 'http://localhost:11434/v1', (0.0, 0.0)),
    ('anthropic', 'x', 'http://[::1]:8080', (0.0, 0.0))])
def test_default_models_and_free_servers(provider, model, url, found):
  price = prices.find(DEFAULT, provider, model, url)
  assert price.known
  assert (1e6 * price.input, 1e6 * price.output) == pytest.approx(found)


@pytest.mark.parametrize('model, url', [
    ('unheard-of', ''), (openai.MODEL, 'https://example.org/v1')])
def test_unknown(model, url):
  price = prices.find(DEFAULT, 'openai', model, url)
  assert not price.known and price(1000, 1000) == 0
  assert str(price) == 'of unknown price'


def test_what_is_stated_counts():
  stated = {'price': {'input': 2.0, 'output': 3.0}}
  price = prices.find(stated, 'openai', 'x', 'http://localhost:1/v1')
  assert price(1e6, 1e6) == pytest.approx(5.0)
  assert str(price).endswith('by lore.advisor.price')
  half = {'price': {'input': 2.0, 'output': -1.0}}
  price = prices.find(half, 'anthropic', anthropic.MODEL)
  assert (1e6 * price.input, 1e6 * price.output) == pytest.approx((2.0, 5.0))


def test_a_thousand_calls_by_hand():
  price = prices.find(DEFAULT, 'anthropic', anthropic.MODEL)
  assert price(1000 * 650, 1000 * 20) == pytest.approx(0.65 + 0.10)
  assert 'genai-prices' in str(price)
