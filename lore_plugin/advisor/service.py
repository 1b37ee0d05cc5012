"""The advisor: what the agent's host side talks to.

  consider(states, ...)   call policy -> ledger -> provider -> store -> table
  lookup(states)          table -> action logits

Each distinct state has a row in a table of action logits. `lookup` finds the
row by the raw bytes of `lore/state`, so that nothing is parsed twice.

The logits depend on all replies so far, as each candidate's bias is estimated
from them: when a reply arrives, all rows are written anew. There are about a
hundred of them, in worlds with many more it is done for every 2 % of new
replies. Given the replies, the table is a fixed function of them.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import logging
import math
import os
import pathlib
import threading
import time

import numpy as np

from .. import errors
from . import ground
from . import policy as policylib
from . import prompts
from . import providers
from . import store as storelib
from . import types

log = logging.getLogger('lore_plugin')

# Distinct observations remembered; more are parsed again when they return.
MEMO = 50_000

CALIBRATE = ('auto', 'always', 'never')

# Answered states up to which every reply recalibrates all of them.
EXACT = 256


@dataclasses.dataclass(slots=True)
class State:
  """A distinct state, whatever events led to it.

  Attributes:
    query: What is asked of it.
    key: Address in the store, without history.
    decided: Whether no answer is needed.
    replies: Scores by the address of the reply; more than one only if it was
      asked with several histories.
    tries: Failed calls.
  """
  query: types.Query
  key: str
  decided: bool
  replies: dict = dataclasses.field(default_factory=dict)
  tries: int = 0

  @property
  def scores(self):
    """The mean over replies, or None. Shape [K], f64."""
    if not self.replies:
      return None
    return np.mean([
        ground.center(self.replies[key]) for key in sorted(self.replies)], 0)


class Advisor:
  """Gives advice for states in words, and decides when to ask for more.

  `consider` and `lookup` belong to one thread; `stats` and `close` may be
  called from others.

  Args:
    provider: Who is asked.
    actions: Number of actions A.
    mode: 'subgoal' or 'action'.
    store: A `Store`; None keeps replies in memory.
    account: Name under which the ledger counts calls.
    caps: What the account may spend.
    limits: Tunables of the call policy.
    calibrate: Whether to subtract each candidate's bias, for providers whose
      scores have one: 'always', 'never' or 'auto'. Actions are the same in
      all states, so their means show the bias. Subgoals are offered where
      they make sense, so that their means hold the very advice: 'auto' leaves
      them alone.
    smoothing: See `ground.to_actions`.
    timeout: Seconds that `consider` waits for calls that leave the machine.
    wait: Whether `consider` waits for answers; None waits for providers that
      are not paid.
    workers: Calls under way at once, where calls leave the machine.
  """

  def __init__(
      self, provider, actions, *, mode='subgoal', store=None, account='run',
      caps=storelib.Caps(), limits=policylib.Limits(), calibrate='auto',
      smoothing=0.01, timeout=20.0, wait=None, workers=4):
    self.provider = provider
    self.actions = actions
    self.mode = errors.choose(
        mode, ('subgoal', 'action'), 'mode in lore.advisor.mode:')
    self.store = store or storelib.Store(':memory:')
    self.account = account
    self.caps = caps
    self.policy = policylib.CallPolicy(limits)
    errors.choose(calibrate, CALIBRATE, 'value in lore.advisor.calibrate:')
    self.calibrate = provider.calibrate and (
        calibrate == 'always' or (calibrate == 'auto' and mode == 'action'))
    self.smoothing = smoothing
    self.timeout = timeout
    self.wait = not provider.paid if wait is None else wait
    self.identity = storelib.Identity(
        provider.name, provider.model, prompts.VERSIONS[mode])
    self.counts = collections.Counter()
    self._lock = threading.RLock()
    self._memo = {}
    self._rows = {}
    self._states = [None]
    # Row 0 is the state nobody knows.
    self._table = (
        np.zeros((64, actions), np.float32), np.zeros(64, bool))
    self._bias = {}
    self._answered = {}
    self._calibrated = 0
    self._stored = {}
    self._pending = {}
    self._broke = False
    self._stopped = ''
    self._paused = 0.0
    self._said = set()
    self._pool = provider.paid and concurrent.futures.ThreadPoolExecutor(
        workers, 'lore-advisor')
    for reply in self.store.load(self.identity):
      self._stored.setdefault(reply['state'], {})[reply['key']] = (
          reply['candidates'], reply['scores'])
    # States answered in earlier runs count for the bias before they are met.
    self._recalibrate()

  @classmethod
  def from_config(cls, config, actions):
    """Builds what the configuration asks for.

    Args:
      config: The whole configuration: `lore.advisor`, `logdir`, `seed`.
      actions: Number of actions A.

    Raises:
      ConfigError: A value that isn't allowed.
      AdvisorError: No key, no model file, or the store can't be used.
    """
    section = config['lore']['advisor']
    for key, least in LEAST.items():
      if section[key] < least:
        raise errors.ConfigError(
            f'lore.advisor.{key} is {section[key]}, but must be at least'
            f' {least}. Type --lore.advisor.{key} VALUE.')
    limits = policylib.Limits(
        cooldown=int(section['cooldown']), min_u=float(section['min_u']))
    logdir = str(config['logdir'])
    provider = providers.create(
        section['provider'], section, int(config['seed']))
    try:
      path = locate(str(section['store']), logdir)
      store = storelib.Store(path, durable=provider.paid)
      return cls(
          provider, actions,
          mode=section['mode'],
          store=store,
          account='run-' + hashlib.sha256(
              os.path.abspath(logdir).encode()).hexdigest()[:16],
          caps=storelib.Caps(calls=int(section['calls'])),
          limits=limits,
          calibrate=section['calibrate'],
          smoothing=float(section['smoothing']),
          timeout=float(section['timeout']))
    except BaseException:
      provider.close()
      raise

  def lookup(self, states):
    """Returns what is known about states. Never asks, waits or raises.

    Args:
      states: Descriptions as encoded. Shape [B, N], u8.

    Returns:
      prior: Action logits, finite, mean 0 over the advisable actions; zeros
        where nothing is known. Shape [B, A], f32.
      valid: Whether something is known. Shape [B], bool.
    """
    get = self._memo.get
    data = split(states)
    rows = [get(x) for x in data]
    if None in rows:
      with self._lock:
        rows = [self._row(x) for x in data]
    # Read after the rows: the table grows before a row is handed out.
    prior, valid = self._table
    return prior[rows], valid[rows]

  def consider(self, states, envs, u, reward, is_first, is_last):
    """Applies the call policy to one step of each environment.

    Args:
      states: Descriptions as encoded. Shape [B, N], u8.
      envs: Numbers of the environments; B entries.
      u: Uncertainty of the agent, from the step before. Shape [B], f32.
      reward: Reward of the step. Shape [B], f32.
      is_first: Whether an episode begins. Shape [B], bool.
      is_last: Whether it ends. Shape [B], bool.
    """
    try:
      with self._lock:
        self._consider(states, envs, u)
    except Exception as e:
      # A training run of days must not end because of its advisor.
      self._note('internal', e)

  def _consider(self, states, envs, u):
    self._collect()
    wanted = {}
    for data, env, u in zip(split(states), envs, u):
      self.policy.step(env)
      state = self._states[self._row(data)]
      if state is None or not state.query.candidates:
        self.counts['unadvisable'] += 1
      elif state.replies or state.decided:
        self.counts['hits'] += 1
      else:
        self.counts['misses'] += 1
        reason = self._refuse(state, wanted) or self.policy.refuse(env, u)
        if reason:
          self.counts[f'refused_{reason}'] += 1
        else:
          wanted[state.key] = state
          self.policy.asked(env)
    for state in wanted.values():
      self._ask(state)
    if self.wait and self._pending:
      concurrent.futures.wait(
          [x for x, _ in self._pending.values()], self.timeout)
      self._collect()

  def _refuse(self, state, wanted):
    if self._stopped:
      return 'stopped'
    if state.key in wanted or state.key in self._pending:
      return 'pending'
    if state.tries > 1:
      return 'failed'
    if self._broke:
      return 'budget'
    if time.monotonic() < self._paused:
      return 'busy'
    return ''

  def _ask(self, state):
    query = state.query
    key = storelib.reply_key(self.identity, query)
    ticket, reason = self._guard(
        self.store.reserve, self.account, key, self.caps,
        once=self.provider.paid)
    if reason == 'stored':
      row = self.store.get(key)
      self._learn(state, row['key'], row['scores'])
      self.counts['shared'] += 1
      return
    if reason:
      # Calls are never given back, so there is no use in asking again.
      self._broke = reason == 'budget'
      self.counts[f'refused_{reason}'] += 1
      return
    self.counts['calls'] += 1
    if self._pool:
      future = self._pool.submit(self._call, ticket, query)
      self._pending[state.key] = (future, state)
    else:
      self._finish(state, self._call(ticket, query))

  def _call(self, ticket, query):
    """Asks and stores. Returns the stored row, or the error."""
    start = time.perf_counter()
    try:
      reply = check(self.provider.ask(query), query)
      if not reply.seconds:
        reply = dataclasses.replace(
            reply, seconds=time.perf_counter() - start)
    except Exception as e:
      self._guard(
          self.store.fail, ticket, getattr(e, 'tokens', 0),
          getattr(e, 'money', 0.0))
      return e
    try:
      return self.store.settle(ticket, self.identity, query, reply)
    except Exception as e:
      return errors.StoreError(f'A reply could not be stored: {e}')

  def _collect(self):
    for key in [k for k, (x, _) in self._pending.items() if x.done()]:
      future, state = self._pending.pop(key)
      self._finish(state, future.result())

  def _finish(self, state, result):
    if isinstance(result, Exception):
      state.tries += 1
      kind = next((
          name for name, cls in KINDS.items() if isinstance(result, cls)),
          'internal')
      self._note(kind, result)
      if kind == 'rejected':
        self._stopped = str(result)
      if kind == 'busy':
        self._paused = time.monotonic() + min(result.retry_after or 1.0, 60.0)
      return
    for name in ('tokens_in', 'tokens_out', 'money', 'seconds'):
      self.counts[name] += result[name]
    self._learn(state, result['key'], result['scores'])

  def _guard(self, fn, *args, **kwargs):
    """Calls the store; trouble with it is counted, and refuses the call."""
    try:
      return fn(*args, **kwargs)
    except Exception as e:
      self._note('store', e)
      return None, 'store'

  def _learn(self, state, key, scores):
    state.replies[key] = scores
    self._answered[state.key] = (state.query.candidates, state.scores)
    if self.calibrate and (
        len(self._answered) <= EXACT or
        len(self._answered) > 1.02 * self._calibrated):
      self._recalibrate()
    else:
      self._write(self._rows[state.key])

  def _recalibrate(self):
    for key, replies in self._stored.items():
      if key not in self._answered:
        words = next(iter(replies.values()))[0]
        scores = np.mean([
            ground.center(replies[x][1]) for x in sorted(replies)], 0)
        self._answered[key] = (words, scores)
    self._calibrated = len(self._answered)
    if self.calibrate:
      # In a fixed order, so that the same replies give the same bits.
      self._bias = ground.biases(
          [self._answered[key] for key in sorted(self._answered)])
    for row in range(1, len(self._states)):
      self._write(row)

  def _write(self, row):
    """Computes one row of the table."""
    state = self._states[row]
    scores = state.scores
    if scores is None and state.decided:
      scores = np.zeros(len(state.query.candidates))
    if scores is None or not len(scores):
      return
    logits = ground.ground(
        state.query.description, self.mode, state.query.candidates, scores,
        {} if state.decided else self._bias, self.smoothing)
    prior, valid = self._table
    if logits is not None:
      prior[row] = logits
      valid[row] = True

  def _row(self, data):
    """Returns the row of a state, and makes one if it is new."""
    row = self._memo.get(data)
    if row is None:
      try:
        row = self._add(data)
      except Exception as e:
        self._note('description', e)
        row = 0
      self._memo[data] = row
    return row

  def _add(self, data):
    if len(self._memo) >= MEMO:
      self._forget()
    desc = types.Description.decode(data)
    query = self._query(desc)
    decided = ground.decided(desc, self.mode)
    key = storelib.state_key(self.identity, query)
    row = self._rows.get(key)
    if row is not None:
      return row
    row = len(self._states)
    prior, valid = self._table
    if row == len(valid):
      self._table = (
          np.concatenate([prior, np.zeros_like(prior)]),
          np.concatenate([valid, np.zeros_like(valid)]))
    state = State(query, key, decided)
    for name, (_, scores) in self._stored.get(key, {}).items():
      state.replies[name] = scores
    self._states.append(state)
    self._rows[key] = row
    self._write(row)
    return row

  def _query(self, desc):
    if len(desc.actions) != self.actions:
      raise errors.EnvError(
          f'The describer {desc.version!r} names {len(desc.actions)} actions,'
          f' but the action space has {self.actions}. A describer gives one'
          " word for each action; '' for one that is never advised.")
    words = ground.candidates(desc, self.mode)
    desc = dataclasses.replace(desc, events=())
    return types.Query(desc, words, self.mode)

  def _forget(self):
    """Forgets states without replies, so that memory stays bounded."""
    for state in self._states[1:]:
      if state.replies:
        self._stored[state.key] = {
            name: (state.query.candidates, scores)
            for name, scores in state.replies.items()}
    self._memo.clear()
    self._rows.clear()
    del self._states[1:]
    self._table = (
        np.zeros_like(self._table[0]), np.zeros_like(self._table[1]))

  def _note(self, kind, error):
    """Counts a failure, and says so the first time."""
    self.counts[f'failures_{kind}'] += 1
    if kind not in self._said:
      self._said.add(kind)
      log.warning(
          'Advisor %s (%s): %s: %s. Training goes on without this advice.',
          self.provider.name, kind, type(error).__name__, error)

  def stats(self):
    """Returns counters since the start of this process, as floats."""
    out = {name: 0.0 for name in (
        'calls', 'hits', 'misses', 'refused_budget', 'refused_cooldown',
        'tokens_in', 'tokens_out', 'money', 'seconds')}
    out.update({k: float(v) for k, v in self.counts.copy().items()})
    out['failures'] = float(sum(
        v for k, v in out.items() if k.startswith('failures_')))
    out['states'] = float(len(self._states) - 1)
    out['answered'] = float(len(self._answered))
    return out

  def close(self):
    """Waits for calls under way, and closes everything. May be repeated."""
    if self._pool:
      self._pool.shutdown(wait=True, cancel_futures=True)
    self.provider.close()
    self.store.close()


# The least value of each numeric key.
LEAST = {'calls': -1, 'cooldown': 0, 'timeout': 0.001, 'smoothing': 1e-9}

KINDS = {
    'rejected': errors.RejectedCall,
    'busy': errors.BusyCall,
    'parse': errors.ParseError,
    'failed': errors.FailedCall,
    'store': errors.StoreError,
}


def check(reply, query):
  """Returns a reply that is what it must be.

  Raises:
    ParseError: Not one finite score for each candidate.
  """
  count = len(query.candidates)
  try:
    scores = tuple(float(x) for x in reply.scores)
  except (TypeError, ValueError, AttributeError) as e:
    raise errors.ParseError(f'Scores that are no numbers: {e}.') from e
  if len(scores) != count or not all(map(math.isfinite, scores)):
    raise errors.ParseError(
        f'Expected {count} finite scores, but found {scores!r:.200}.')
  return dataclasses.replace(reply, scores=scores)


def split(states):
  """Returns the rows of an array as bytes. Shape [B, N], u8."""
  states = np.ascontiguousarray(states, np.uint8)
  return states.view(f'V{states.shape[1]}').ravel().tolist()


def locate(store, logdir):
  """Returns the path of the file of advice.

  Args:
    store: `lore.advisor.store`: a file, a folder, or ''.
    logdir: Where '' puts it.
  """
  path = pathlib.Path(store or logdir).expanduser()
  if store and path.suffix and not path.is_dir():
    return path
  return path / 'advice.sqlite'
