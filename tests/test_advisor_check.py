"""The conformance test, over every provider, and over wrong ones."""

import dataclasses

import pytest

from lore_plugin import errors
from lore_plugin.advisor import check
from lore_plugin.advisor import providers
from lore_plugin.advisor import types
from lore_plugin.advisor.providers.mock import Mock

CONTROLS = [
    x for x in providers.BUILTIN if x not in ('anthropic', 'local', 'openai')]


@pytest.mark.parametrize('name', CONTROLS)
def test_controls(name):
  results = check.check_provider(providers.create(name, {}, 0))
  assert len(results) == len(check.queries())


@pytest.mark.agent
def test_local():
  pytest.importorskip('xllamacpp')
  provider = providers.create('local', {'model': '', 'threads': 1}, 0)
  results = check.check_provider(provider, check.queries()[:1])
  assert len(results) == 1


def test_failing_calls_are_allowed():
  provider = Mock(default=errors.BusyCall('later', 1.0))
  assert check.check_provider(provider) == []


GOOD = types.Reply((0.0, 0.0, 0.0))


@pytest.mark.parametrize('default', [
    (0.0, 1.0), (0.0, float('nan'), 0.0), (float('inf'),) * 3,
    ZeroDivisionError('bug'), errors.BusyCall(''),
    errors.BusyCall('x', -1.0),
    dataclasses.replace(GOOD, scores=(0, 0, 0)),
    dataclasses.replace(GOOD, raw=None),
    dataclasses.replace(GOOD, tokens_in=-1),
    dataclasses.replace(GOOD, money=float('nan')),
])
def test_broken_promises(default):
  with pytest.raises((AssertionError, ZeroDivisionError)):
    check.check_provider(Mock(default=default))


def test_dearer_than_estimated():
  class Dear(Mock):
    def estimate(self, query):
      return 10, 0.1
  reply = dataclasses.replace(GOOD, tokens_in=11)
  with pytest.raises(AssertionError, match='11'):
    check.check_provider(Dear(default=reply))


def test_without_a_name():
  provider = Mock()
  provider.model = ''
  with pytest.raises(AssertionError, match='model'):
    check.check_provider(provider)
