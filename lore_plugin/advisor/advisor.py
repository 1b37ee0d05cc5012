"""The advisor: what the agent's host side talks to.

  consider(states, ...)   call policy -> ledger -> provider -> store -> table
  lookup(states)          table -> action logits

Here is decided when and whom to ask. What is known is in `table`, how one
question is put in `asker`; `build` makes it all from a configuration.
"""

import collections
import concurrent.futures
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import errors
from . import asker as askerlib
from . import circuit as circuitlib
from . import counts as countslib
from . import guide as guidelib
from . import policy as policylib
from . import prompts
from . import resume
from . import store as storelib
from . import table as tablelib
from . import types

log = logging.getLogger('lore_plugin')

MODES = tuple(prompts.VERSIONS)
CALIBRATE = ('auto', 'always', 'never')
ASK = ('auto', 'sync', 'async')

# Steps between two looks at what others wrote to the store, and between two
# looks at a budget that was used up.
NEWS = 64

# Times that a question is put if the answer can't be read.
TRIES = storelib.Terms().tries

# Seconds before a question that somebody else is asking is looked at again.
ELSEWHERE = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
  """How an advisor asks, and what it makes of answers.

  Attributes:
    mode: 'subgoal' or 'action'.
    calibrate: Whether to subtract each candidate's bias, for providers whose
      scores have one: 'always', 'never' or 'auto'. Actions are the same in
      all states, so their means show the bias. Subgoals are offered where
      they make sense, so that their means hold the very advice: 'auto' leaves
      them alone.
    smoothing: See `ground.to_actions`.
    ask: 'sync' waits for answers, 'async' takes them up at later steps; 'auto'
      is async if calls leave the machine.
    timeout: Seconds that a question may take, and the longest that `consider`
      waits in sync mode if calls leave the machine.
    retries: How often a call without connection or answer is repeated.
    stale: Seconds after which a call that could not begin is given up.
    workers: Calls under way at once, where calls leave the machine.
    strict: Whether a question that a replay lacks is an error.
    cache: Whether a reply serves whenever its question is met. Otherwise it
      does so in the step that it arrives in, and every visit costs a call.
    own: Whether the account is this run's own, so that its checkpoint may name
      it.

  Raises:
    ConfigError: A value that isn't allowed.
  """
  mode: str = 'subgoal'
  calibrate: str = 'auto'
  smoothing: float = 0.01
  ask: str = 'auto'
  timeout: float = 20.0
  retries: int = 1
  stale: float = 60.0
  workers: int = 4
  strict: bool = False
  cache: bool = True
  own: bool = False

  def __post_init__(self):
    errors.choose(self.mode, MODES, 'value in lore.advisor.mode:')
    errors.choose(
        self.calibrate, CALIBRATE, 'value in lore.advisor.calibrate:')
    errors.choose(self.ask, ASK, 'value in lore.advisor.ask:')


@dataclasses.dataclass(slots=True)
class Step:
  """One step of one environment, as `consider` gets it."""
  env: int
  data: bytes
  u: float
  is_first: bool
  is_last: bool
  advised: bool
  sure: float


class Advisor:
  """Gives advice for states in words, and decides when to ask for more.

  `consider` and `lookup` belong to one thread; `stats` and `close` may be
  called from others.

  Args:
    provider: Who is asked; or several, the next where one fails.
    actions: Number of actions A.
    settings: See `Settings`.
    store: A `Store`; None keeps replies in memory.
    account: Name under which the ledger counts calls.
    caps: What the account may spend.
    limits: Tunables of the call policy.
    patience: Tunables of the circuits.
    experience: An `Experience`, which learns from what choices led to; None
      mixes the choices as the answers do.

  Attributes:
    asked: Environments for which the last call of `consider` asked.
    steps: How often `consider` was called.
    broke: Step before which the budget is used up.
  """

  def __init__(
      self, provider, actions, settings=Settings(), *, store=None,
      account='run', caps=storelib.Caps(), limits=policylib.Limits(),
      patience=circuitlib.Patience(), experience=None):
    if isinstance(provider, types.Provider):
      provider = [provider]
    self.settings = settings
    self.store = store or storelib.Store(':memory:')
    calibrate = settings.calibrate == 'always' or (
        settings.calibrate == 'auto' and settings.mode == 'action')
    self.sources = [
        askerlib.Source(
            rank, x, askerlib.identify(x, settings.mode),
            circuitlib.Circuit(patience), calibrate and x.calibrate)
        for rank, x in enumerate(provider)]
    self.asker = askerlib.Asker(
        self.sources, self.store, account, caps, askerlib.Effort(
            settings.timeout, settings.retries, settings.stale,
            again=not settings.cache))
    self.policy = policylib.CallPolicy(limits)
    self.counts = countslib.Counts(settings.mode)
    self.asked = []
    self.table = tablelib.Table(
        actions, self.sources, self.store, settings.mode, settings.smoothing,
        settings.cache, self.counts.note)
    self.guide = experience and guidelib.Guide(self.table, experience)
    self._lock = threading.RLock()
    self._pending = {}
    self._arrived = collections.deque()
    self.steps = 0
    self.broke = 0
    self._closed = False
    paid = any(x.paid for x in provider)
    self._wait = settings.ask == 'sync' or settings.ask == 'auto' and not paid
    self._pool = (paid or not self._wait) and (
        concurrent.futures.ThreadPoolExecutor(
            settings.workers, 'lore-advisor'))

  def lookup(
      self, states: np.ndarray, envs: Sequence[int] | None = None,
      follow: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns what is known about states. Never asks, waits or raises.

    Args:
      states: Descriptions as encoded. Shape [B, N], u8.
      envs: Numbers of the environments, B entries; None is no step of any.
      follow: Whether advice is followed there. Shape [B], bool.

    Returns:
      prior: Action logits, finite, mean 0 over the advisable actions; zeros
        where nothing is known. Shape [B, A], f32.
      valid: Whether something is known. Shape [B], bool.
    """
    found = self.table.lookup(states)
    if found is None:
      with self._lock:
        for data in tablelib.split(states):
          self.table.situation(data)
        found = self.table.lookup(states)
    if self.guide and envs is not None:
      with self._lock:
        self.guide.lookup(states, envs, follow, *found)
    return found

  def did(self, envs: Sequence[int], actions: np.ndarray) -> None:
    """Takes note of the actions that were taken. B entries, [B] ints."""
    if self.guide:
      self.guide.did(envs, actions)

  def events(self, states: np.ndarray) -> np.ndarray:
    """Returns which states came with an event. [B, N] u8 to [B] bool."""
    with self._lock:
      return np.array([
          self.table.eventful(x) for x in tablelib.split(states)])

  def consider(
      self, states: np.ndarray, envs: Sequence[int], u: np.ndarray,
      reward: np.ndarray, is_first: np.ndarray, is_last: np.ndarray,
      advised: np.ndarray | None = None,
      sure: np.ndarray | None = None) -> None:
    """Applies the call policy to one step of each environment.

    Args:
      states: Descriptions as encoded. Shape [B, N], u8.
      envs: Numbers of the environments; B entries.
      u: Uncertainty of the agent, from the step before. Shape [B], f32.
      reward: Reward of the step. Shape [B], f32.
      is_first: Whether an episode begins. Shape [B], bool.
      is_last: Whether it ends. Shape [B], bool.
      advised: False in episodes that go without advice: nothing is asked for
        them. Shape [B], bool.
      sure: How sure the prior network was of its own advice in the step
        before, in [0, 1]. Shape [B], f32.
    """
    steps = []
    for i, (env, data) in enumerate(zip(envs, tablelib.split(states))):
      first = bool(is_first[i])
      steps.append(Step(
          env, data, float(u[i]), first, bool(is_last[i]),
          advised is None or bool(advised[i]),
          # What was known of another episode tells nothing about this one.
          0.0 if sure is None or first else float(sure[i])))
    try:
      with self._lock:
        self.asked = []
        if self._closed:
          return
        if self.guide:
          self.guide.step(envs, reward, is_first, is_last)
        for step in steps:
          self.policy.step(step.env)
        self._consider(steps)
    except errors.ReplayError:
      # Whoever asks for a strict replay wants to know.
      raise
    except Exception as e:
      # A training run of days must not end because of its advisor.
      self.counts.note('internal', e)

  def _consider(self, steps):
    self.steps += 1
    self.table.expire()
    self._collect()
    if self.steps % NEWS == 0:
      self.table.news()
    wanted = {}
    for step in steps:
      question = self._needs(step, wanted)
      if question:
        wanted[question.key] = question
        self.policy.asked(step.env)
        self.asked.append(step.env)
        for name in self.policy.reasons:
          self.counts[f'asked_{name}'] += 1
    for question in wanted.values():
      self._ask(question)
    if self._wait and self._pending:
      concurrent.futures.wait(
          [x for x, _ in self._pending.values()], self.settings.timeout)
      self._finish_all()

  def _needs(self, step, wanted):
    """Returns the question to ask in a step, None if there is none."""
    situation = self.table.situation(step.data)
    if situation is None or not situation.advisable:
      self.counts['unadvisable'] += 1
      return None
    question = situation.question
    if situation.decided or self.table.known(question):
      self.counts['sole' if situation.decided else 'hits'] += 1
      return None
    self.counts['misses'] += 1
    reason = self._refuse(step, question, wanted) or self.policy.refuse(
        step.env, step.u, step.is_first or self.table.eventful(step.data),
        step.sure)
    if reason:
      self.counts[f'refused_{reason}'] += 1
      return None
    return question

  def _refuse(self, step, question, wanted):
    """Returns why a question is not asked, whatever the call policy says."""
    if not step.advised:
      return 'control'
    if step.is_last:
      # Nobody acts there.
      return 'last'
    if question.key in wanted or question.key in self._pending:
      return 'pending'
    if question.failed:
      return 'failed'
    if self.broke and self.steps < self.broke:
      return 'budget'
    if time.monotonic() < question.later:
      return 'elsewhere'
    return self.asker.blocked()

  def _ask(self, question):
    if not self._pool:
      self._finish(question, self.asker.ask(question.query, time.monotonic()))
      return
    future = self._pool.submit(
        self.asker.ask, question.query, time.monotonic())
    future.add_done_callback(self._arrived.append)
    self._pending[question.key] = (future, question)

  def _collect(self):
    """Takes up the answers that arrived, in the order of their questions."""
    if self._arrived:
      self._finish_all()
    self.asker.settle(now=self.steps % NEWS == 0)
    while self.asker.late:
      self._take(self.asker.late.popleft())

  def _finish_all(self):
    self._arrived.clear()
    for key in [k for k, (x, _) in self._pending.items() if x.done()]:
      future, question = self._pending.pop(key)
      if not future.cancelled():
        self._finish(question, future.result())

  def _finish(self, question, outcome):
    self.counts['calls'] += outcome.calls
    for source, error in outcome.failures:
      self.counts.note(countslib.kind(error), error, source)
      question.tries += isinstance(error, errors.ParseError)
      if question.tries >= TRIES or isinstance(
          error, (errors.ReplayError, errors.RejectedState)):
        self.table.give_up(question)
      if isinstance(error, errors.ReplayError) and self.settings.strict:
        raise error
    if outcome.refused:
      self.counts[f'refused_{outcome.refused}'] += 1
    if outcome.refused == 'failed':
      self.table.give_up(question)
    if outcome.refused == 'budget':
      self.broke = math.inf if self.asker.used_up() else self.steps + NEWS
    if outcome.refused == 'elsewhere':
      question.later = time.monotonic() + ELSEWHERE
    if outcome.row:
      self._take(outcome)

  def _take(self, outcome):
    if outcome.fresh:
      for name in ('tokens_in', 'tokens_out', 'money', 'seconds'):
        self.counts[name] += outcome.row[name]
    else:
      self.counts['shared'] += 1
    self.table.take(outcome.row, outcome.source)

  def spent(self) -> dict[str, float]:
    """Returns calls, tokens and money of the account, as last known."""
    return self.asker.spent(self.counts)

  def save(self) -> dict[str, Any]:
    """Returns what a resumed run needs beside the store, as plain values."""
    with self._lock:
      return resume.save(self)

  def load(self, data: dict[str, Any], resumed: bool = True) -> None:
    """Goes on where `save` was called; see `resume.load`."""
    with self._lock:
      resume.load(self, data, resumed)

  def stats(self) -> dict[str, float]:
    """Returns counters since the run began, as floats."""
    return {
        **self.counts.stats(),
        **(self.guide.experience.stats() if self.guide else {}),
        'states': float(len(self.table)),
        'answered': float(len(self.table.answered)),
        'pending': float(len(self._pending))}

  def close(self) -> None:
    """Waits for calls under way, and closes everything. May be repeated."""
    with self._lock:
      first, self._closed = not self._closed, True
    if self._pool:
      self._pool.shutdown(wait=True, cancel_futures=True)
    if first:
      self._settle_all()
    for source in self.sources:
      source.provider.close()
    self.store.close()

  def _settle_all(self):
    """Stores what was paid for, if there is room by now."""
    with self._lock:
      self._finish_all()
      self.asker.finish()
      while self.asker.late:
        self._take(self.asker.late.popleft())
