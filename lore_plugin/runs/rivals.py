"""Rivals of LoRe: simpler rules for when advice is followed and learned.

A rival takes the place of the trust control, and of the gate with it. World,
skills, store, experience and calls are those of LoRe. A suite names one in an
arm: `rival: follow-then-distil 2000`. They are there to be compared with, and
are no options of the product.

  follow-then-distil N  advice is followed for N steps; the actor is drawn to
                        it with a weight that falls from 1 at N to 0 at 2 N
  kickstarting N        advice is never followed; the actor is drawn to it with
                        a weight that falls from 1 at the start to 0 at N
  jsrl N                advice is followed in the first steps of an episode, as
                        many as successes take; they become fewer by a N-th
                        each time that success holds

Two that change rewards are in `rewards`.

Sources: Schmitt et al. 2018, Kickstarting deep reinforcement learning; Uchendu
et al. 2023, Jump-start reinforcement learning.
"""

import collections
import functools
import statistics
from collections.abc import Hashable, Mapping
from typing import Any

from ..agent import segments
from ..agent import trust
from . import rules

# What makes beta as good as 0 where advice is only learned from.
UNFOLLOWED = 1e-6
# Episodes after which JSRL looks whether success holds, and how much less
# than the best it may be; the values of its authors.
LOOK, TOLERANCE = 20, 0.1


class Rival(trust.Trust):
  """Follows and distils by the clock alone; nothing is compared.

  Args:
    number: Of the rule, at least 1.

  Attributes:
    rule: Its name.
    example: How it is written.
  """

  rule = ''
  example = ''

  def __init__(self, number: int, *args: Any, **kwargs: Any):
    super().__init__(*args, **kwargs)
    self.number = number

  def follows(self, episode: segments.Episode) -> float:
    """How far advice is followed in an episode now, in [0, 1]."""
    raise NotImplementedError

  def weight(self) -> float:
    """With which weight the actor is drawn to advice now, in [0, 1]."""
    return 0.0

  def noted(self, episode: segments.Episode) -> None:
    """Takes note of an episode that has ended."""

  def step(
      self, env: int, state: Hashable, event: bool, reward: float,
      is_first: bool, is_last: bool,
      surprise: float = 0.0) -> tuple[float, segments.Episode | None]:
    del state, event, surprise
    if is_first or env not in self.running:
      episode = segments.Episode(1, 1.0)
      episode.arm = int(self.follows(episode) > UNFOLLOWED)
      self.running[env] = segments.Segment(episode.arm, 1.0, episode)
    segment = self.running[env]
    episode = segment.episode
    segment.earn(reward)
    follow = self.follows(episode)
    self.taken += 1
    self.followed += follow > UNFOLLOWED
    episode.length += 1
    if not is_last:
      return follow, None
    self.episodes[episode.arm] += 1
    self.noted(episode)
    return follow, self.running.pop(env).episode

  @property
  def trust(self) -> float:
    return 1.0

  @property
  def proof(self) -> float:
    return self.weight()

  @property
  def hope(self) -> float:
    # Nor what a checkpoint of LoRe's own trust control hoped for.
    return 0.0

  def describe(self) -> str:
    return f'not compared: {self.rule} {self.number}'


class FollowThenDistil(Rival):
  """See the module's text."""

  rule, example = 'follow-then-distil', 'follow-then-distil 2000'

  def follows(self, episode: segments.Episode) -> float:
    return float(self.taken < self.number)

  def weight(self) -> float:
    return min(1.0, max(0.0, 2 - self.taken / self.number))


class Kickstarting(Rival):
  """See the module's text."""

  rule, example = 'kickstarting', 'kickstarting 2000'

  def follows(self, episode: segments.Episode) -> float:
    return UNFOLLOWED if self.taken < self.number else 0.0

  def weight(self) -> float:
    return max(0.0, 1 - self.taken / self.number)


class JumpStart(Rival):
  """See the module's text."""

  rule, example = 'jsrl', 'jsrl 10'

  def __init__(self, *args: Any, **kwargs: Any):
    super().__init__(*args, **kwargs)
    self.stage = self.number
    self.top = 0.0
    self.scores: list[float] = []
    self.wins: collections.deque[int] = collections.deque(maxlen=LOOK)

  def follows(self, episode: segments.Episode) -> float:
    if not self.wins:  # Nothing has succeeded yet.
      return 1.0
    usual = statistics.fmean(self.wins)
    return float(episode.length < usual * self.stage / self.number)

  def noted(self, episode: segments.Episode) -> None:
    if episode.score > 0 and self.stage == self.number:
      self.wins.append(episode.length)
    self.scores.append(episode.score)
    if len(self.scores) < LOOK:
      return
    mean = statistics.fmean(self.scores)
    self.scores.clear()
    self.top = max(self.top, mean)
    if self.top > 0 and mean >= (1 - TOLERANCE) * self.top:
      self.stage = max(0, self.stage - 1)

  def save(self) -> dict[str, Any]:
    return {
        **super().save(), 'stage': self.stage, 'top': self.top,
        'scores': list(self.scores), 'wins': list(self.wins)}

  def load(self, data: dict[str, Any]) -> None:
    super().load(data)
    # A run may begin from the checkpoint of one with LoRe's trust.
    self.stage = data.get('stage', self.stage)
    self.top = data.get('top', self.top)
    self.scores = list(data.get('scores', ()))
    self.wins.clear()
    self.wins.extend(data.get('wins', ()))


RULES: dict[str, type[Rival]] = {
    x.rule: x for x in (FollowThenDistil, Kickstarting, JumpStart)}


def read(
    text: str,
    known: Mapping[str, type[Rival]] = RULES) -> functools.partial:
  """Returns what makes a rival, from 'follow-then-distil 2000'.

  Args:
    text: The rule.
    known: Rivals by their names.

  Raises:
    ConfigError: There is no such rule, or its number is none.
  """
  name, number = rules.read(
      text, 'rival', {k: v.example for k, v in known.items()})
  return functools.partial(known[name], number)
