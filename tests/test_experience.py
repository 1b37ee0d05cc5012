"""Experience: what choices led to, and what is chosen because of it."""

import json
import math

import numpy as np
import pytest

from lore_plugin.advisor import advisor as advisorlib
from lore_plugin.advisor import experience as lib
from lore_plugin.advisor import types

WORDS = ('left', 'right')


def episode(exp, reward, question='q', scores=None, words=WORDS, env=0):
  """Plays one step of a question. Returns the choice."""
  exp.begin(env)
  choice = exp.choose(env, question, words, words, scores)
  exp.did(env, True)
  exp.step(env, reward(choice), True)
  return choice


def share(exp, count, best, **kwargs):
  """Returns how often the best choice was taken, where it alone is paid."""
  found = [
      episode(exp, lambda x: float(x == best), **kwargs) for _ in range(count)]
  return np.mean([x == best for x in found])


def test_likings_by_hand():
  assert lib.likings(None, 4) == [0, 0, 0, 0]
  assert lib.likings([5.0], 1) == [0]
  # Three to one is a probability of 3/4.
  assert lib.likings([0.0, math.log(3)], 2) == pytest.approx([-0.25, 0.25])
  # A ranking counts down, whatever the size of the scores.
  assert lib.likings([-1e9, 1e9, 0.0], 3) == pytest.approx([-0.5, 0.5, 0.0])
  # Against two others that are alike: 3/4 twice; 1/4 and 1/2.
  assert lib.likings([math.log(3), 0.0, 0.0], 3) == pytest.approx([
      0.25, -0.125, -0.125])


def test_ranks_by_hand():
  rows = [('a', 0.0, 1.0, False), ('b', 0.0, 0.0, False),
          ('c', 0.0, 0.0, True), ('d', 0.0, 1.0, False)]
  # The loop is last, and half of that; the other nothing comes before it, and
  # two share the rest.
  assert lib.ranks(rows) == pytest.approx([0.75, 0.375, 0.0625, 0.75])
  assert lib.ranks(rows[:1]) == [0.5]
  assert lib.ranks(rows[2:3]) == [0.25]
  # Where all are alike nothing is gained.
  assert lib.ranks([rows[0], rows[3]]) == [0.25, 0.25]


def test_outcome_is_the_discounted_return_from_there():
  exp = lib.Experience()
  exp.begin(0)
  for question, reward in (('q', 1.0), ('q', 0.0), ('r', 2.0), ('s', 4.0)):
    exp.choose(0, question, ('go',), ('go',))
    exp.did(0, True)
    exp.step(0, reward, question == 's')
  d = lib.DISCOUNT
  values = {k: [x[2] for x in v] for k, v in exp.outcomes.items()}
  assert values == {
      'q': [pytest.approx(1 + 2 * d ** 2 + 4 * d ** 3)],
      'r': [pytest.approx(2 + 4 * d)], 's': [4.0]}
  assert exp.settled == 3 and not exp.running


def test_model_is_followed_while_nothing_is_known():
  sure = [4.0, 0.0]
  firsts = [
      episode(lib.Experience(seed), lambda x: 0.0, scores=sure)
      for seed in range(200)]
  assert 0.75 < np.mean([x == 'left' for x in firsts]) < 1
  either = [episode(lib.Experience(s), lambda x: 0.0) for s in range(200)]
  assert 0.35 < np.mean([x == 'left' for x in either]) < 0.65


def test_wrong_model_is_found_out_and_right_one_costs_nothing():
  wrong, right, none = ([
      share(lib.Experience(seed), 60, 'left', scores=x) for seed in range(10)]
      for x in ([0.0, 4.0], [4.0, 0.0], None))
  assert np.mean(right) > 0.9
  assert np.mean(none) > 0.75
  assert np.mean(wrong) > 0.65
  late = lib.Experience()
  share(late, 60, 'left', scores=[0.0, 4.0])
  assert share(late, 60, 'left', scores=[0.0, 4.0]) > 0.85


def test_model_that_is_wrong_elsewhere_is_believed_less():
  exp = lib.Experience()
  assert exp.slope == pytest.approx(lib.SLOPE)
  for i in range(40):
    share(exp, 8, 'left', question=f'{i}', scores=[0.0, 4.0])
  assert exp.slope < 0
  honest = lib.Experience()
  for i in range(40):
    share(honest, 8, 'left', question=f'{i}', scores=[4.0, 0.0])
  assert honest.slope > 0.1


def test_right_in_every_second_question():
  exp = lib.Experience()
  for _ in range(30):
    for question, scores in (('a', [4.0, 0.0]), ('b', [0.0, 4.0])):
      share(exp, 1, 'left', question=question, scores=scores)
  for question, scores in (('a', [4.0, 0.0]), ('b', [0.0, 4.0])):
    assert share(exp, 40, 'left', question=question, scores=scores) > 0.7


@pytest.mark.parametrize('scale, offset', [
    (1e6, 0.0), (1e-6, -5e-6), (3.0, -700.0)])
def test_scale_and_offset_change_nothing(scale, offset):
  found = []
  for s, o in ((1.0, 0.0), (scale, offset)):
    exp = lib.Experience(3)
    rng = np.random.default_rng(0)
    found.append([
        episode(exp, lambda x, u=rng.random(), s=s, o=o: (
            s * (u + (x == 'left')) + o)) for _ in range(40)])
  assert found[0] == found[1]


def test_one_outlier_moves_one_rank():
  exp = lib.Experience()
  share(exp, 40, 'left')
  episode(exp, lambda x: 1e9 if x == 'right' else -1e9)
  assert share(exp, 40, 'left') > 0.8


@pytest.mark.parametrize('reward', [math.nan, math.inf, -math.inf])
def test_reward_that_is_no_number_counts_as_none(reward):
  exp = lib.Experience()
  episode(exp, lambda x: reward)
  assert exp.outcomes['q'][0][2] == 0.0


def test_whole_episodes_follow_a_model_that_is_worth_it():
  """Each of many decisions matters too little to be seen by itself."""
  followed = {}
  for best in ('left', 'right'):
    exp, rng = lib.Experience(), np.random.default_rng(1)
    for _ in range(80):
      exp.begin(0)
      total = 0.0
      for i in range(30):
        question = f'{rng.integers(500)}'
        choice = exp.choose(0, question, WORDS, WORDS, [4.0, 0.0])
        total += 0.1 * (choice == best) + 0.3 * rng.standard_normal()
        exp.did(0, True)
        exp.step(0, total if i == 29 else 0.0, i == 29)
    followed[best] = exp.stats()['by_model']
  assert followed['left'] > 0.7 and followed['right'] < 0.3


def test_loop_counts_before_any_reward():
  """Left leads to a place from where one only comes back."""
  taken = []
  for seed in range(20):
    exp = lib.Experience(seed)
    exp.begin(0)
    for _ in range(30):
      choice = exp.choose(0, 'q', WORDS, WORDS, [4.0, 0.0])
      exp.did(0, True)
      exp.step(0, 0.0, False)
      if choice == 'right':
        break
      exp.choose(0, 'r', ('back',), ('back',))
      exp.did(0, True)
      exp.step(0, 0.0, False)
    taken.append(choice)
  assert taken.count('right') >= 19


def test_choice_is_kept_until_its_question_changes_or_it_ends():
  exp = lib.Experience()
  exp.begin(0)
  words = tuple('abcdefgh')
  first = exp.choose(0, 'q', words, words)
  assert {exp.choose(0, 'q', words, words) for _ in range(50)} == {first}
  left = tuple(x for x in words if x != first)
  assert exp.choose(0, 'q', words, left) in left
  assert len(exp.running[0].pursuits) == 2
  # A draw is a ranking: what is better and becomes possible is taken up.
  best = max(words, key=exp.running[0].drawn.__getitem__)
  assert exp.choose(0, 'q', words, words) == best
  assert exp.choose(0, 'q', words, words) == best
  # Another environment has another choice of its own.
  exp.begin(1)
  assert {exp.choose(e, 'q', words, words) for e in (0, 1)} <= set(words)


def test_what_the_agent_does_alone_is_nobodys_outcome():
  exp = lib.Experience()
  exp.begin(0)
  exp.choose(0, 'q', WORDS, WORDS)
  exp.did(0, True)
  exp.step(0, 0.0, False)
  for last in (False, True):
    exp.leave(0)
    exp.step(0, 1.0, last)
  d = lib.DISCOUNT
  assert list(exp.outcomes) == ['q']
  # What it led to is counted all the same.
  assert exp.outcomes['q'][0][2] == pytest.approx(d + d ** 2)


def test_choice_that_was_not_followed_is_not_judged():
  exp = lib.Experience()
  exp.begin(0)
  for i in range(4):
    exp.choose(0, 'q', WORDS, WORDS)
    exp.did(0, i == 0)
    exp.step(0, 1.0, i == 3)
  assert not exp.outcomes


def test_episode_without_end_is_learned_from_and_forgotten():
  exp = lib.Experience()
  exp.begin(0)
  for i in range(3 * lib.SETTLED):
    exp.choose(0, f'{i // 10}', WORDS, WORDS)
    exp.did(0, True)
    exp.step(0, 1.0, False)
  assert exp.settled > 50
  assert sum(x.length for x in exp.running[0].pursuits) < lib.SETTLED + 20
  # All but a hundredth of an endless sum of ones.
  first = exp.outcomes['0'][0][2]
  assert 0.99 / (1 - lib.DISCOUNT) < first < 1 / (1 - lib.DISCOUNT)


def test_memory_is_bounded(monkeypatch):
  monkeypatch.setattr(lib, 'QUESTIONS', 5)
  exp = lib.Experience()
  for i in range(200):
    episode(exp, lambda x: 1.0, question=f'{i % 20}')
  assert list(exp.outcomes) == ['15', '16', '17', '18', '19']
  for _ in range(200):
    episode(exp, lambda x: 1.0)
  assert len(exp.outcomes['q']) == lib.OUTCOMES


def test_goes_on_alike_after_saving():
  exp, other = lib.Experience(5), lib.Experience(9)
  share(exp, 30, 'left', scores=[1.0, 0.0])
  other.load(json.loads(json.dumps(exp.save())))
  assert other.stats() == exp.stats()
  assert other.known('q') == exp.known('q')
  for _ in range(30):
    assert episode(exp, len) == episode(other, len)


class Fixed(types.Provider):
  """Prefers one choice, always."""

  name, model = 'fixed', '1'

  def ask(self, query):
    return types.Reply(tuple(
        4.0 * (x == 'take the key') for x in query.candidates))


def state(text, skills):
  return types.Description(
      text, 'get out', ('left', 'right', 'go'), tuple(
          types.Option(name, actions) for name, actions in skills.items())
  ).encode(512)


class TestAdvisor:

  @pytest.fixture
  def advisor(self):
    made = advisorlib.Advisor(
        Fixed(), 3, experience=lib.Experience(1))
    yield made
    made.close()

  @staticmethod
  def step(advisor, data, reward=0.0, first=False, last=False, advised=True):
    states = data[None]
    nos = np.zeros(1, bool)
    advisor.consider(
        states, [0], np.zeros(1), np.full(1, reward), nos | first, nos | last)
    return advisor.lookup(states, [0], nos | advised)

  def test_one_choice_is_pursued_to_its_end(self, advisor):
    here = state('A hall.', {'take the key': (0,), 'explore': (1, 2)})
    there = state('A hall.', {'take the key': (2,), 'explore': (1,)})
    first = True
    for _ in range(100):
      prior, valid = self.step(advisor, here, first=first)
      first = False
      assert valid.all() and prior[0].mean() == pytest.approx(0, abs=1e-6)
      (pursuit,) = advisor.guide.experience.running[0].pursuits
      key = pursuit.choice == 'take the key'
      assert (prior[0, 0] > prior[0, 2]) == key
      advisor.did([0], np.array([0 if key else 1]))
      # The same question in another place: the way changes, not the choice.
      prior, _ = self.step(advisor, there)
      assert (prior[0, 2] > prior[0, 1]) == key
      advisor.did([0], np.array([2 if key else 1]))
    self.step(advisor, here, reward=1.0, last=True)
    assert advisor.stats()['pursued'] == 1
    assert advisor.stats()['calls'] == 1

  def test_control_episodes_teach_nothing(self, advisor):
    here = state('A hall.', {'take the key': (0,), 'explore': (1, 2)})
    self.step(advisor, here, first=True)
    advisor.did([0], np.array([0]))
    self.step(advisor, here, last=True)
    before = advisor.guide.experience.settled
    plain, _ = advisor.lookup(here[None])
    shown, _ = self.step(advisor, here, first=True, advised=False)
    assert (shown == plain).all()
    self.step(advisor, here, reward=1.0, last=True, advised=False)
    assert advisor.guide.experience.settled == before

  def test_is_saved_with_the_advisor(self, advisor):
    here = state('A hall.', {'take the key': (0,), 'explore': (1, 2)})
    for i in range(20):
      self.step(advisor, here, first=True)
      advisor.did([0], np.array([0]))
      self.step(advisor, here, reward=float(i % 3), last=True)
    other = advisorlib.Advisor(Fixed(), 3, experience=lib.Experience(2))
    other.load(advisor.save())
    a, b = advisor.guide.experience, other.guide.experience
    assert a.save() == b.save() and a.settled > 0
    other.close()

  def test_without_it_answers_are_mixed(self):
    advisor = advisorlib.Advisor(Fixed(), 3)
    here = state('A hall.', {'take the key': (0,), 'explore': (1, 2)})
    one, _ = self.step(advisor, here, first=True)
    two, _ = self.step(advisor, here)
    assert (one == two).all() and 'slope' not in advisor.stats()
    advisor.close()
