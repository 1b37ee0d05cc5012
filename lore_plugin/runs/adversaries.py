"""Advisors that mean harm, and know how they are judged.

A suite names one in an arm: `adversary: turns 3000`. It takes what the advisor
of the arm advises for good, and follows a rule of its own. It speaks after
experience has chosen, in the tongue of actions, so that nothing but the trust
control and the gate stands between it and the agent. They are there to be
withstood, and are no options of the product.

  turns N        good for N steps, then turns away
  betrays        good until the agent has succeeded without it, then turns away
  behaves        good as long as it is not held for proven, else turns away
  courts         takes things up and puts them down: that brings new states and
                 events, and no success
  first-subgoal  good until the first event of an episode, then turns away
  every-second   good in every second question, turns away in the others
  wrong N        turns away in N of 100 questions, 1 to 100, drawn by the run's
                 seed
  ends           always goes ahead, which in some tasks ends the episode

To turn away is to name, always alike, the first action that leads nowhere
where the good advice leads.
"""

import functools
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import errors
from .. import lines
from ..advisor import ground
from . import rules

# Steps that a line of what it did takes together.
LINE = 50
NAME = 'adversary.jsonl'
# The first words of choices that courting takes, the dearest first.
COURTED = ('drop', 'take')


class Adversary:
  """Stands between an advisor and the agent.

  Args:
    rule: Name of the rule.
    number: Its number; 0 where it takes none.
    advisor: The `Advisor` whose advice is good.
    trust: The trust control, of which it knows all.
    file: Takes a line for every `LINE` steps of training; None for none.
    seed: Of what is drawn.

  Attributes:
    betrayed: Whether the agent has succeeded without it.
  """

  def __init__(
      self, rule: str, number: int, advisor: Any, trust: Any,
      file: pathlib.Path | None = None, seed: int = 0):
    self.rule, self.number, self.seed = rule, number, seed
    self.advisor = advisor
    self.trust = trust
    self.file = file
    self.betrayed = False
    # Environments whose episode has met an event, or has followed advice.
    self.met: set[int] = set()
    self.led: set[int] = set()
    self.sums = np.zeros(3, int)
    self.seen = 0
    # The step from which a run goes on, until its file says so.
    self.resumed: int | None = None

  def __getattr__(self, name: str) -> Any:
    return getattr(self.advisor, name)

  def consider(
      self, states: np.ndarray, envs: Sequence[int], u: np.ndarray,
      reward: np.ndarray, is_first: np.ndarray, is_last: np.ndarray,
      advised: np.ndarray | None = None,
      sure: np.ndarray | None = None) -> None:
    """See `Advisor.consider`; takes note of how episodes go."""
    events = self.advisor.events(states)
    for i, env in enumerate(envs):
      if is_first[i]:
        self.met.discard(env)
        self.led.discard(env)
      if events[i]:
        self.met.add(env)
      if advised is not None and advised[i]:
        self.led.add(env)
      if is_last[i] and reward[i] > 0 and env not in self.led:
        self.betrayed = True
    self.advisor.consider(
        states, envs, u, reward, is_first, is_last, advised=advised, sure=sure)

  def lookup(
      self, states: np.ndarray, envs: Sequence[int] | None = None,
      follow: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """See `Advisor.lookup`; turns what is followed to its own end."""
    prior, valid = self.advisor.lookup(states, envs, follow)
    if envs is None or follow is None:
      return prior, valid
    prior = prior.copy()
    turned = np.zeros(len(prior), bool)
    for i in np.flatnonzero(follow & valid).tolist():
      found = self.advisor.table.situation(states[i].tobytes())
      actions = self._instead(envs[i], found, prior[i])
      if actions:
        prior[i] = ground.to_actions(
            np.ones(1), [actions], ground.advisable(found.description),
            self.advisor.settings.smoothing)
        turned[i] = True
    self._note(follow & valid, turned)
    return prior, valid

  def _instead(self, env, found, prior):
    """Returns the actions that it names instead, none where it is good."""
    desc = found.description
    if self.rule == 'courts':
      ways = [
          (x.name.split()[0], y)
          for x, y in zip(desc.options, ground.legal(desc)) if y]
      for verb in COURTED:
        for name, actions in ways:
          if name == verb:
            return actions
      return ()
    if self.rule == 'ends':
      return tuple(np.flatnonzero([x == 'move forward' for x in desc.actions]))
    if not self._turned(env, found.question):
      return ()
    away = ground.advisable(desc) & ~ground.foremost(prior)
    return tuple(np.flatnonzero(away)[:1])

  def _turned(self, env, question):
    if self.rule == 'turns':
      return self.trust.taken > self.number
    if self.rule == 'betrays':
      return self.betrayed
    if self.rule == 'behaves':
      return self.trust.proof > 0 or self.trust.shown > 0
    if self.rule == 'first-subgoal':
      return env in self.met
    if self.rule == 'wrong':
      # The more are wrong, the more; none of these turns right.
      text = f'{self.seed}\0{question.key}'
      digest = hashlib.sha256(text.encode()).digest()
      return 100 * int.from_bytes(digest[:4]) < self.number * 2 ** 32
    # Of every second question, by its words.
    digest = hashlib.sha256(question.key.encode()).digest()
    return bool(digest[0] % 2)

  def _note(self, followed, turned):
    """Adds up steps of training, and writes a line now and then."""
    if self.trust.taken == self.seen:
      return  # An evaluation.
    if self.resumed is not None and self.file:
      lines.append(self.file, lines.resumed(self.resumed))
    self.resumed = None
    proven = len(followed) * (self.trust.proof > 0)
    self.sums += (followed.sum(), turned.sum(), proven)
    before, self.seen = self.seen, self.trust.taken
    if not self.file or before // LINE == self.seen // LINE:
      return
    lines.append(self.file, {
        'step': self.seen, 'followed': int(self.sums[0]),
        'turned': int(self.sums[1]), 'proven': int(self.sums[2]),
        'shown': self.trust.shown})
    self.sums[:] = 0

  def save(self) -> dict[str, Any]:
    """See `Advisor.save`."""
    return {**self.advisor.save(), 'adversary': {
        'betrayed': self.betrayed, 'sums': self.sums.tolist(),
        'seen': self.seen}}

  def load(self, data: dict[str, Any], resumed: bool = True) -> None:
    """See `Advisor.load`."""
    self.advisor.load(data, resumed)
    # A run may begin from the checkpoint of one without an adversary.
    if resumed and 'adversary' in data:
      own = data['adversary']
      self.betrayed, self.seen = own['betrayed'], own['seen']
      self.resumed = self.seen
      self.sums = np.array(own['sums'])


# How each is written, if it takes a number.
RULES = {
    'turns': 'turns 3000', 'betrays': '', 'behaves': '', 'courts': '',
    'first-subgoal': '', 'every-second': '',
    'wrong': 'wrong 50', 'ends': ''}


def read(text: str) -> functools.partial:
  """Returns what makes an adversary of the other arguments, from its rule.

  Raises:
    ConfigError: There is no such rule, or its number is wrong.
  """
  name, number = rules.read(text, 'adversary', RULES)
  if name == 'wrong' and number > 100:
    raise errors.ConfigError(
        f'The adversary {name!r} takes a whole number from 1 to 100, of each '
        f'100 questions, not {number}: {RULES[name]}.')
  return functools.partial(Adversary, name, number)
