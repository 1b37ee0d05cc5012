"""Questions and replies for tests of the shared advisor."""

from lore_plugin import options
from lore_plugin.advisor import build
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Description, Option, Query

WORDS = ('left', 'right', 'forward')
OPTIONS = (Option('key', (0,)), Option('look', (1, 2)))
IDENTITY = storelib.Identity('mock', 'mock', 'subgoal-1')


def describe(text):
  return Description(text, 'm', WORDS, OPTIONS, version='t-1')


def query(text):
  return Query(describe(text), ('key', 'look'), 'subgoal')


def row(text, scores=(0.0, -1.0), **changes):
  """A stored reply, as the feed sends it."""
  asked = query(text)
  return dict(
      seq=1, key=storelib.reply_key(IDENTITY, asked),
      state=storelib.question_key(asked), provider='mock', model='mock',
      prompt='subgoal-1', describer='t-1', mode='subgoal', text=text,
      mission='m', candidates=['key', 'look'], scores=scores,
      raw='', parser=1, tokens_in=0, tokens_out=0, money=0.0, seconds=0.0,
      created=0.0) | changes


def named(name, model, **kwargs):
  """Returns a mock that is called like another provider."""
  out = Mock(**kwargs)
  out.name, out.model = name, model
  return out


def connect(path, **kwargs):
  """Returns an advisor as a run's with these options of `lore.advisor`."""
  section = options.section('lore.advisor') | {
      'ask': 'sync', 'timeout': 60.0, **kwargs}
  return build.build(
      {'lore': {'advisor': section}, 'logdir': str(path), 'seed': 0}, 3)


def consider(advisor, text):
  """Lets an advisor see a state; returns advice, and whether there is any."""
  states = describe(text).encode(256)[None]
  advisor.consider(states, [0], [0.0], [0.0], [False], [False])
  return advisor.lookup(states)
