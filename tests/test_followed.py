"""Which questions an episode met, and which choices were pursued in it."""

import numpy as np
from agents import Inner

from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import experience
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor import table as tablelib
from lore_plugin.advisor import types
from lore_plugin.advisor.providers import mock
from lore_plugin.agent import advised
from lore_plugin.play import record

WORDS = ('left', 'right')
OPTIONS = (types.Option('key', (0,)), types.Option('door', (1,)))


def describe(text):
  options = OPTIONS if text else ()
  return types.Description(text, 'm', WORDS, options, version='t-1')


def name(text):
  query = types.Query(describe(text), ('key', 'door'), 'subgoal')
  return storelib.question_key(query)[:tablelib.Names.LETTERS]


def play(advisor, episodes):
  """Returns what was noted of episodes, and the choices of all steps."""
  rows, drawn = [], []
  agent = advised.AdvisedAgent(Inner(), advisor, 2, journal=rows.append)
  agent.advise_eval = True
  carry = agent.init_policy(1)
  for texts in episodes:
    for i, text in enumerate(texts):
      last = np.array([i == len(texts) - 1])
      carry, _, outs = agent.policy(carry, {
          advised.STATE: describe(text).encode(256)[None],
          'reward': np.zeros(1, np.float32), 'is_first': np.array([i == 0]),
          'is_last': last, 'is_terminal': last})
      drawn.append(str(outs[advised.CHOICE][0]))
  return rows, drawn


def test_each_episode_notes_the_questions_it_met():
  advisor = service.Advisor(mock.Mock(), 2)
  # A state with nothing to choose is no question, and the last step's advice
  # is never followed.
  rows, drawn = play(
      advisor, (('a', 'b', 'a', 'end'), ('b', '', 'end')))
  assert [x['questions'] for x in rows] == [
      [[name('a'), ''], [name('b'), '']], [[name('b'), '']]]
  assert not any(drawn)
  shares = record.choices(advisor.table, describe('a').encode(256))
  assert {x for x, _ in shares} == {'key', 'door'}
  assert shares[0][1] >= shares[1][1]
  advisor.close()


def test_the_choice_that_was_pursued_is_noted():
  advisor = service.Advisor(
      mock.Mock(), 2, experience=experience.Experience(0))
  rows, drawn = play(advisor, ('aaaaa',))
  assert set(drawn[:-1]) <= {'key', 'door'}
  assert {tuple(x) for x in rows[0]['questions']} == {
      (name('a'), x) for x in drawn[:-1]}
  advisor.close()
