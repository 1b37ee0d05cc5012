"""Flags that an advised run does not read are named, with the reason."""

import types

import pytest

from lore_plugin import config as configlib
from lore_plugin import finish
from lore_plugin import launch
from lore_plugin import unread
from lore_plugin.advisor import store as storelib

ADDRESS = ('--lore.advisor.address', '127.0.0.1:2225')


@pytest.fixture(scope='module')
def blocks():
  return configlib.load()


def resolve(blocks, *argv):
  return configlib.resolve(['--configs', 'minigrid', 'lore', *argv], blocks)


def names(blocks, *argv):
  found = unread.find(argv, resolve(blocks, *argv).lore)
  return [x.removeprefix('--lore.') for x in found]


@pytest.mark.parametrize('argv, want', [
    ('kl.schedule.end 0.1', 'kl.schedule.end'),
    ('kl.schedule.over 5 kl.schedule.mode none', 'kl.schedule.over'),
    ('temperature.mode match temperature.value 0.7', 'temperature.value'),
    ('trust.enabled False trust.control 0.5', 'trust.control'),
    ('prior.confidence 0.5', 'prior.confidence'),
    ('kl.penalty False kl.target 0.1 kl.lr 0.1', 'kl.target kl.lr'),
    # The hard bound and the schedule have no use for the target.
    ('kl.penalty False kl.target 0.1 kl.hard 0.5 kl.schedule.mode steps',
     'kl.target'),
    ('kl.penalty False kl.schedule.mode steps kl.schedule.end 0.1',
     'kl.schedule.mode kl.schedule.end'),
    ('gate.beta_max 0 kl.distil 5 kl.hard 1 gate.tau 1 gate.kappa 3',
     'kl.distil kl.hard gate.tau gate.kappa'),
    ('advisor.address 127.0.0.1:9 advisor.provider openai advisor.model x',
     'advisor.provider advisor.model'),
    ('advisor.address 127.0.0.1:9 advisor.replay strict '
     'advisor.provider openai advisor.model x', 'advisor.address'),
    # With an address, 'auto' means all who answered behind the server.
    ('advisor.address 127.0.0.1:9 advisor.replay strict advisor.model x', ''),
    ('advisor.provider scripted advisor.model x advisor.url http://x',
     'advisor.model advisor.url'),
    ('advisor.provider scripted,local advisor.model x advisor.threads 2', ''),
    ('advisor.provider flawed advisor.model 0.5 advisor.threads 2',
     'advisor.threads'),
    ('advisor.provider openai advisor.model x advisor.url http://x '
     'advisor.price.input 1 advisor.price.output 1', ''),
    ('advisor.provider of-others advisor.model x advisor.threads 2', ''),
    ('advisor.provider local advisor.price.input 1', 'advisor.price.input'),
    ('advisor.mode action experience.enabled True', 'experience.enabled'),
    ('advisor.mode action experience.enabled False', ''),
    ('kl.target 0.1 kl.hard 1 kl.schedule.mode steps kl.schedule.end 0.1', ''),
    ('trust.control 0.5 temperature.value 2 kl.distil 5', ''),
    ('prior.enabled True prior.confidence 0.5 advisor.calls 3', ''),
])
def test_what_is_named(blocks, argv, want):
  words = argv.split()
  words[::2] = [f'--lore.{x}' for x in words[::2]]
  assert names(blocks, *words) == want.split()


def test_it_is_said_once_in_one_sentence(blocks, capsys):
  argv = ['--lore.kl.schedule.end=0.1', *ADDRESS, '--lore.advisor.model', 'x']
  launch.say_unused(argv, resolve(blocks, *argv))
  said = capsys.readouterr().err
  assert (
      '--lore.kl.schedule.end (as lore.kl.schedule.mode is none), '
      '--lore.advisor.model (as the server on') in said
  assert said.count('Warning') == 1
  launch.say_unused(['--lore.kl.target', '2'], resolve(blocks))
  assert not capsys.readouterr().err


def test_keys_of_the_table_are_options(blocks):
  flat = resolve(blocks).flat
  for keys, _, why in unread.RULED:
    assert all(f'lore.{x}' in flat for x in keys) and why


@pytest.mark.parametrize('argv, want', [
    (ADDRESS, 'anthropic,scripted'),
    (('--lore.advisor.replay', 'lenient'), 'anthropic,scripted'),
    (('--lore.advisor.provider', 'uniform'), 'uniform'),
])
def test_a_summary_names_who_answered(blocks, argv, want):
  sources = [
      types.SimpleNamespace(identity=storelib.Identity(x, 'm'))
      for x in ('anthropic', 'scripted')]
  section = resolve(blocks, *argv).lore.advisor
  advisor = types.SimpleNamespace(sources=sources)
  assert finish.answering(section, advisor) == want
