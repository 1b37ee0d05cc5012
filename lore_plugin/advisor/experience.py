"""Experience: what each choice led to, by question.

A language model that is wrong about a question is wrong in every episode. What
came of a choice is known soon, and needs no model. The model's answer is a
prior over choices, and outcomes make a posterior of it:

  outcome    discounted reward from where a choice was begun, as a rank among
             the last outcomes of the same question: it knows no scale, and
             one outlier moves one rank
  loop       who is back at the same question with nothing earned ranks below
             all that earned as little without: that is known before rewards
  posterior  a normal distribution for the mean rank of each choice. What the
             model prefers shifts its prior mean by a slope, which is learned
             from how well preferences predicted ranks, over all questions: a
             model that is mostly wrong loses its say
  choice     the best that can be begun, by a draw from the posterior that is
             kept until the question changes or the choice can't be pursued
             any more (Thompson sampling)
  episode    in some the model's own order is followed, but where it leads in
             circles: each decision may matter too little to be seen, while
             all together do. Which episodes these are is drawn the same way,
             by the ranks of their returns

Source of the sampling rule: Thompson 1933, On the likelihood that one unknown
probability exceeds another in view of the evidence of two samples. The rules
that were compared are in results/method-log.md.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# Outcomes of a question that count, and questions that are remembered.
OUTCOMES = 64
QUESTIONS = 2048
# Weight of an outcome, as a share of the next newer one's: what an agent was
# able to do long ago tells little about today.
FADE = 0.97
# What a reward is worth one step later. Outcomes of a hundred steps tell
# choices apart; of longer ones most is what came after.
DISCOUNT = 0.99
# Steps after which an outcome is settled, although the episode goes on: what
# comes later weighs less than a hundredth.
SETTLED = 500
# Standard deviation of a rank that is uniform in [0, 1].
SPREAD = math.sqrt(1 / 12)
# Outcomes that the prior of a choice is worth.
WEIGHT = 2.0
# By how many ranks a unit of preference shifts a choice before anything is
# known, and how sure of that we are: the sum of squared preferences that would
# tell as much.
SLOPE = 0.8
CERTAINTY = 0.8

# Mean rank that is expected of an episode by the model's own order, before any
# has ended; by outcomes it is a half.
MODEL = 0.75
# Returns to a question, with nothing earned, after which its model's order is
# left for this episode. Some are on every way.
CIRCLES = 4
# Steps after which an episode that does not end is counted as one.
LONG = 1000

# Choice, preference, value, whether it led in a circle.
Outcome = tuple[str, float, float, bool]


@dataclasses.dataclass(slots=True)
class Pursuit:
  """A choice that was begun, or steps that the agent took alone.

  Attributes:
    question: Name of its question; '' if the agent was alone.
    choice: The choice in words.
    liking: How much the model preferred it, see `likings`.
    reward: Discounted reward while it was pursued.
    length: Steps.
    agreed: Steps in which the agent did what the choice asks for.
    looped: Whether its question came back with nothing earned since.
  """
  question: str = ''
  choice: str = ''
  liking: float = 0.0
  reward: float = 0.0
  length: int = 0
  agreed: int = 0
  looped: bool = False


@dataclasses.dataclass(slots=True)
class Episode:
  """An episode of one environment, or a long part of it.

  Attributes:
    model: Whether it follows the model's own order.
    pursuits: What was pursued, the last one now.
    reward: Sum of rewards.
    length: Steps.
    drawn: Values of the present question's choices; the best is taken.
    liking: What the model prefers there.
    led: Whether any choice was taken, so that its return tells something.
  """
  model: bool
  pursuits: list[Pursuit] = dataclasses.field(default_factory=list)
  reward: float = 0.0
  length: int = 0
  drawn: dict[str, float] = dataclasses.field(default_factory=dict)
  liking: dict[str, float] = dataclasses.field(default_factory=dict)
  led: bool = False


class Experience:
  """Learns from outcomes, and chooses.

  Args:
    seed: Of the draws.
  """

  def __init__(self, seed: int = 0):
    self.rng = np.random.default_rng(seed)
    # The last outcomes of each question, those met lately at the end.
    self.outcomes: collections.OrderedDict[
        str, collections.deque[Outcome]] = collections.OrderedDict()
    self.running: dict[int, Episode] = {}
    # Of the last episodes: whether by the model's order, and their return.
    self.episodes: collections.deque[tuple[bool, float]] = collections.deque(
        maxlen=OUTCOMES)
    self.settled = 0
    # Sums of the regression of ranks on preferences, within questions.
    self.cross = SLOPE * CERTAINTY
    self.square = CERTAINTY

  def begin(self, env: int) -> None:
    """Takes note that an episode begins in an environment."""
    self.running[env] = Episode(self._by_model())

  def _by_model(self):
    """Draws whether an episode follows the model's own order."""
    rows = [('model' if x else '', 0.0, y, False) for x, y in self.episodes]
    total, count = _sums(rows)
    drawn = []
    for name, prior in (('', 0.5), ('model', MODEL)):
      weight = count.get(name, 0.0) + WEIGHT
      mean = (WEIGHT * prior + total.get(name, 0.0)) / weight
      drawn.append(mean + float(self.rng.standard_normal()) * SPREAD
                   / math.sqrt(weight))
    return drawn[1] > drawn[0]

  def choose(
      self, env: int, question: str, choices: Sequence[str],
      can: Sequence[str], scores: Sequence[float] | None = None) -> str:
    """Returns the choice to pursue now.

    Args:
      env: Number of the environment.
      question: Name of the question; the same words have the same name.
      choices: All choices of the question; K entries.
      can: Those that can be begun now, at least one.
      scores: The model's log-probabilities, up to a constant; K entries, or
        None if it was not asked.
    """
    episode = self._episode(env)
    episode.led = True
    now = episode.pursuits[-1] if episode.pursuits else None
    if not now or now.question != question:
      _mark(episode.pursuits, question)
    if not now or now.question != question or now.choice not in can:
      episode.liking = dict(zip(choices, likings(scores, len(choices))))
      circles = sum(
          x.looped and x.question == question for x in episode.pursuits)
      if episode.model and scores is not None and circles < CIRCLES:
        # Where some are alike, any of them.
        episode.drawn = {
            k: v + 1e-6 * self.rng.random() for k, v in episode.liking.items()}
      else:
        episode.drawn = self._draw(question, choices, episode)
      now = None
    best = max(can, key=episode.drawn.__getitem__)
    # What was ranked higher may have become possible.
    if not now or best != now.choice:
      episode.pursuits.append(Pursuit(question, best, episode.liking[best]))
    return best

  def _episode(self, env):
    if env not in self.running:
      self.begin(env)
    return self.running[env]

  def _draw(self, question, choices, episode):
    """Returns a draw from the posterior of each choice."""
    slope = self.slope + float(
        self.rng.standard_normal()) * SPREAD / math.sqrt(self.square)
    total, count = self._known(question, episode.pursuits)
    values = {}
    for name, noise in zip(choices, self.rng.standard_normal(len(choices))):
      weight = count.get(name, 0.0) + WEIGHT
      prior = 0.5 + slope * episode.liking[name]
      mean = (WEIGHT * prior + total.get(name, 0.0)) / weight
      values[name] = mean + noise * SPREAD / math.sqrt(weight)
    return values

  def leave(self, env: int) -> None:
    """Takes note that the agent acts without advice now."""
    pursuits = self._episode(env).pursuits
    if not pursuits or pursuits[-1].question:
      pursuits.append(Pursuit())

  def did(self, env: int, agreed: bool) -> None:
    """Takes note of whether the agent did what the choice asks for."""
    pursuits = self._episode(env).pursuits
    if pursuits:
      pursuits[-1].agreed += agreed

  def step(self, env: int, reward: float, is_last: bool) -> None:
    """Takes in what the last action brought.

    Args:
      env: Number of the environment.
      reward: Reward of the step; what is not finite counts as 0.
      is_last: Whether the episode ended.
    """
    episode = self.running.get(env)
    if not episode or not episode.pursuits:
      return
    reward = float(reward) if math.isfinite(reward) else 0.0
    now = episode.pursuits[-1]
    now.reward += DISCOUNT ** now.length * reward
    now.length += 1
    episode.reward += reward
    episode.length += 1
    if is_last:
      self._settle(episode.pursuits, len(episode.pursuits))
      self._count(episode)
      del self.running[env]
      return
    if now.length == 1:
      old = _behind(episode.pursuits)
      self._settle(episode.pursuits, old)
      del episode.pursuits[:old]
    if episode.length >= LONG:
      self._count(episode)
      episode.model = self._by_model()
      episode.reward, episode.length, episode.led = 0.0, 0, False

  def _count(self, episode):
    if episode.led:
      self.episodes.append((episode.model, episode.reward))

  @property
  def slope(self) -> float:
    """How far the model's preferences are believed, in ranks; 0 is nothing."""
    return self.cross / self.square

  def known(self, question: str) -> dict[str, tuple[float, float]]:
    """Returns the mean rank and the weight of outcomes of each choice."""
    total, count = self._known(question, ())
    return {k: (total[k] / count[k], count[k]) for k in total}

  def stats(self) -> dict[str, float]:
    """Returns what is logged, as floats."""
    by_model = [x for x, _ in self.episodes]
    return {
        'by_model': sum(by_model) / max(1, len(by_model)),
        'pursued': float(self.settled), 'slope': self.slope,
        'experienced': float(len(self.outcomes))}

  def _known(self, question, pursuits):
    """Returns sums of ranks, and weights, of outcomes by choice."""
    rows = list(self.outcomes.get(question, ()))
    # What has led in a circle with nothing earned is known now.
    rows += [
        (x.choice, x.liking, 0.0, True) for x in pursuits
        if x.looped and x.question == question]
    return _sums(rows)

  def _settle(self, pursuits, count):
    """Turns the first of pursuits into outcomes."""
    value, values = 0.0, []
    for x in reversed(pursuits):
      value = x.reward + DISCOUNT ** x.length * value
      values.append(value)
    for x, value in zip(pursuits[:count], reversed(values)):
      # What the agent did in spite of the advice says nothing about it.
      if x.question and 2 * x.agreed >= x.length > 0:
        self._add(x, value)

  def _add(self, pursuit, value):
    rows = self.outcomes.setdefault(
        pursuit.question, collections.deque(maxlen=OUTCOMES))
    self.outcomes.move_to_end(pursuit.question)
    if len(self.outcomes) > QUESTIONS:
      self.outcomes.popitem(last=False)
    rows.append((
        pursuit.choice, pursuit.liking, value, pursuit.looped))
    self.settled += 1
    if len(rows) > 1:
      away = pursuit.liking - sum(x[1] for x in rows) / len(rows)
      self.cross += away * (ranks(rows)[-1] - 0.5)
      self.square += away * away

  def save(self) -> dict[str, Any]:
    """Returns the state as plain values, for `load`.

    Running episodes are not part of it: environments begin anew.
    """
    return {
        'rng': self.rng.bit_generator.state, 'settled': self.settled,
        'cross': self.cross, 'square': self.square,
        'episodes': [list(x) for x in self.episodes],
        'outcomes': {k: [list(x) for x in v]
                     for k, v in self.outcomes.items()}}

  def load(self, data: dict[str, Any]) -> None:
    """Goes on where `save` was called."""
    self.rng.bit_generator.state = data['rng']
    self.settled = data['settled']
    self.cross, self.square = data['cross'], data['square']
    self.episodes.clear()
    self.episodes.extend((bool(x), y) for x, y in data['episodes'])
    self.outcomes.clear()
    for name, rows in data['outcomes'].items():
      self.outcomes[name] = collections.deque(
          (tuple(x) for x in rows), maxlen=OUTCOMES)
    self.running = {}


def _sums(rows):
  """Returns sums of ranks, and weights, of outcomes by choice."""
  total: dict[str, float] = {}
  count: dict[str, float] = {}
  weight = 1.0
  for (name, *_), rank in zip(reversed(rows), reversed(ranks(rows))):
    total[name] = total.get(name, 0.0) + weight * rank
    count[name] = count.get(name, 0.0) + weight
    weight *= FADE
  return total, count


def _mark(pursuits, question):
  """Notes which pursuits led back to where they began."""
  for pursuit in reversed(pursuits):
    if pursuit.reward > 0:
      return
    if pursuit.question == question:
      pursuit.looped = True


def _behind(pursuits):
  """Returns how many pursuits lie so far behind that they are settled."""
  steps = 0
  for i in range(len(pursuits) - 1, -1, -1):
    steps += pursuits[i].length
    if steps > SETTLED:
      return i
  return 0


def likings(scores: Sequence[float] | None, count: int) -> list[float]:
  """Returns how much a model prefers each choice to the others.

  The mean over the others of the probability that it is preferred to one of
  them, as in the model of Bradley and Terry 1952, less a half. So a ranking
  counts down to its end, wherever its first choices can't be begun.

  Args:
    scores: Log-probabilities, up to a constant; K finite entries, or None.
    count: K, at least 1.

  Returns:
    Preferences in [-1/2, 1/2], mean 0; zeros for None or a single choice.
  """
  if scores is None or count < 2:
    return [0.0] * count
  x = np.asarray(scores, np.float64)
  over = np.tanh((x[:, None] - x) / 2) / 2
  return (over.sum(1) / (count - 1)).tolist()


def ranks(rows: Sequence[Outcome]) -> list[float]:
  """Returns mid-ranks of values in (0, 1), halved where nothing is gained.

  That is so of loops, and where two or more outcomes are all alike, as long as
  nothing was ever earned: what was not tried then is the better bet.
  """
  # The same sum, added in another order, must not rank above.
  keys = [(float(f'{value:.9g}'), not looped) for _, _, value, looped in rows]
  first: dict[Any, int] = {}
  last: dict[Any, int] = {}
  for i, key in enumerate(sorted(keys)):
    first.setdefault(key, i)
    last[key] = i
  alike = len(keys) > 1 and len({value for value, _ in keys}) == 1
  return [
      (first[x] + last[x] + 1) / (4 if alike or not x[1] else 2) / len(keys)
      for x in keys]
