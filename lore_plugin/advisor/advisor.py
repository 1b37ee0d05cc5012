"""The advisor: what the agent's host side talks to.

  consider(states, ...)   call policy -> ledger -> provider -> store -> table
  lookup(states)          table -> action logits

Each distinct state has a row in a table of action logits. `lookup` finds the
row by the raw bytes of `lore/state`, so that nothing is parsed twice.

Where scores are calibrated, the logits depend on all replies so far: when one
arrives, all rows are written anew. There are about a hundred of them; in
worlds with many more it is done for every 2 % of new replies. Given the
replies, the table is a fixed function of them.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import logging
import math
import os
import threading
import time

import numpy as np

from .. import errors
from .. import logdir as logdirlib
from . import asker as askerlib
from . import circuit as circuitlib
from . import ground
from . import plans as planslib
from . import policy as policylib
from . import prompts
from . import providers
from . import remote
from . import replay as replaylib
from . import store as storelib
from . import types

log = logging.getLogger('lore_plugin')

MODES = tuple(prompts.VERSIONS)
CALIBRATE = ('auto', 'always', 'never')
ASK = ('auto', 'sync', 'async')

# Distinct observations remembered; more are parsed again when they return.
MEMO = 50_000

# Answered states up to which every reply recalibrates all of them.
EXACT = 256

# Steps between two looks at what others wrote to the store, and between two
# looks at a budget that was used up.
NEWS = 64

# Times that a state is asked about if the answer can't be read.
TRIES = 2

# Seconds before a state that somebody else is asking about is looked at again.
ELSEWHERE = 1.0


@dataclasses.dataclass(slots=True)
class State:
  """A distinct state, whatever events led to it.

  Attributes:
    row: Its row in the table.
    query: What is asked of it.
    key: Its address in the store.
    decided: Whether no answer is needed.
    visits: How often it was met.
    tries: How often its answer could not be read.
    later: Time before which it isn't asked again.
  """
  row: int
  query: types.Query
  key: str
  decided: bool
  visits: int = 0
  tries: int = 0
  later: float = 0.0


class Advisor:
  """Gives advice for states in words, and decides when to ask for more.

  `consider` and `lookup` belong to one thread; `stats` and `close` may be
  called from others.

  Args:
    provider: Who is asked; or several, the next where one fails.
    actions: Number of actions A.
    mode: 'subgoal' or 'action'.
    store: A `Store`; None keeps replies in memory.
    account: Name under which the ledger counts calls.
    caps: What the account may spend.
    limits: Tunables of the call policy.
    patience: Tunables of the circuits.
    calibrate: Whether to subtract each candidate's bias, for providers whose
      scores have one: 'always', 'never' or 'auto'. Actions are the same in
      all states, so their means show the bias. Subgoals are offered where
      they make sense, so that their means hold the very advice: 'auto' leaves
      them alone.
    smoothing: See `ground.to_actions`.
    ask: 'sync' waits for answers, 'async' takes them up at later steps; 'auto'
      is async if calls leave the machine.
    timeout: Seconds that asking about a state may take, and the longest that
      `consider` waits in sync mode if calls leave the machine.
    retries: How often a call without connection or answer is repeated.
    stale: Seconds after which a call that could not begin is given up.
    workers: Calls under way at once, where calls leave the machine.
    history: Earlier observations and actions that a query names.
    strict: Whether a state that a replay lacks is an error.
    plan: Whether to ask at macro boundaries only, and to follow the answer
      until the next; see `plans`.
    cache: Whether a reply serves whenever its state is met. Otherwise it does
      so in the step that it arrives in, and every visit costs a call.

  Raises:
    ConfigError: A value that isn't allowed.
  """

  def __init__(
      self, provider, actions, *, mode='subgoal', store=None, account='run',
      caps=storelib.Caps(), limits=policylib.Limits(),
      patience=circuitlib.Patience(), calibrate='auto', smoothing=0.01,
      ask='auto', timeout=20.0, retries=1, stale=60.0, workers=4, history=0,
      strict=False, plan=False, cache=True):
    errors.choose(mode, MODES, 'value in lore.advisor.mode:')
    errors.choose(calibrate, CALIBRATE, 'value in lore.advisor.calibrate:')
    errors.choose(ask, ASK, 'value in lore.advisor.ask:')
    if plan and mode != 'subgoal':
      raise errors.ConfigError(
          f'lore.advisor.plan follows a subgoal, but lore.advisor.mode is '
          f'{mode!r}. Type --lore.advisor.mode subgoal.')
    if isinstance(provider, types.Provider):
      provider = [provider]
    calibrate = calibrate == 'always' or (
        calibrate == 'auto' and mode == 'action')
    self.sources = [
        askerlib.Source(
            rank, x, askerlib.identify(x, mode), circuitlib.Circuit(patience),
            calibrate and x.calibrate)
        for rank, x in enumerate(provider)]
    self.actions = actions
    self.mode = mode
    self.store = store or storelib.Store(':memory:')
    self.asker = askerlib.Asker(
        self.sources, self.store, account, caps, timeout, retries, stale,
        again=not cache)
    self.policy = policylib.CallPolicy(limits)
    self.smoothing = smoothing
    self.timeout = timeout
    self.history = history
    self.strict = strict
    self.cache = cache
    # States whose replies arrived in this step.
    self._fresh = set()
    self.plans = planslib.Plans() if plan else None
    paid = any(x.paid for x in provider)
    self.wait = ask == 'sync' or (ask == 'auto' and not paid)
    self.counts = collections.Counter()
    self._lock = threading.RLock()
    self._memo = {}
    self._eventful = set()
    self._rows = {}
    self._states = [None]
    # Row 0 is the state nobody knows.
    self._table = (
        np.zeros((64, actions), np.float32), np.zeros(64, bool))
    # Scores by state, then by rank of the source and address of the reply.
    self._replies = {}
    self._words = {}
    self._bias = [{} for _ in self.sources]
    self._calibrated = 0
    self._seen = [0] * len(self.sources)
    self._pending = {}
    self._arrived = collections.deque()
    self._unsettled = []
    self._past = {}
    self._steps = 0
    self._broke = 0
    self._restored = {}
    self._said = set()
    self._closed = False
    # Environments for which the last call of `consider` asked.
    self.asked = []
    self._pool = (paid or not self.wait) and (
        concurrent.futures.ThreadPoolExecutor(workers, 'lore-advisor'))
    self._news()

  @classmethod
  def from_config(cls, config, actions):
    """Builds what the configuration asks for.

    Args:
      config: The whole configuration: `lore.advisor`, `logdir`, `seed`, and
        `lore.prior` where an agent may learn the advice.
      actions: Number of actions A.

    Raises:
      ConfigError: A value that isn't allowed.
      AdvisorError: No key, no model file, or the store can't be used.
    """
    section = config['lore']['advisor']
    validate(section)
    policy = section['policy']
    learned = dict(config['lore']).get('prior')
    limits = policylib.Limits(
        cooldown=int(section['cooldown']), min_u=float(section['min_u']),
        sure=float(learned['confidence']) if (
            learned and learned['enabled']) else math.inf,
        **{key: policy[key] for key in policy})
    logdir = str(config['logdir'])
    account = str(section['account']) or 'run-' + hashlib.sha256(
        os.path.abspath(logdir).encode()).hexdigest()[:16]
    path = locate(str(section['store']), logdir)
    replay = section['replay']
    made, store = [], None
    try:
      if replay != 'none':
        made.append(replaylib.Replay(
            path, section['provider'], section['model'],
            prompts.VERSIONS[section['mode']]))
      elif section['address']:
        made.append(remote.Remote(
            section['address'], section['mode'], float(section['timeout'])))
      else:
        made.extend(create(section, int(config['seed'])))
      store = storelib.Store(
          ':memory:' if replay != 'none' else path,
          durable=any(x.paid for x in made))
      for provider in made:
        if isinstance(provider, remote.Remote):
          provider.follow(store)
      return cls(
          made, actions,
          mode=section['mode'],
          store=store,
          account=account,
          caps=caps(section),
          limits=limits,
          patience=patience(section),
          calibrate=section['calibrate'],
          smoothing=float(section['smoothing']),
          ask=section['ask'],
          timeout=float(section['timeout']),
          retries=int(section['retries']),
          stale=float(section['stale']),
          workers=int(section['workers']),
          history=int(section['history']),
          plan=bool(section['plan']),
          cache=bool(section['cache']),
          strict=replay == 'strict')
    except BaseException:
      for provider in made:
        provider.close()
      if store:
        store.close()
      raise

  def lookup(self, states, envs=()):
    """Returns what is known about states. Never asks, waits or raises.

    Args:
      states: Descriptions as encoded. Shape [B, N], u8.
      envs: Numbers of the environments, for those that follow a plan; B
        entries or none.

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
    if self.plans and len(envs):
      return self._planned(rows, envs)
    return prior[rows], valid[rows]

  def _planned(self, rows, envs):
    """What the plans say, and where there is none what is known."""
    with self._lock:
      prior, valid = (x[rows] for x in self._table)
      for i, (row, env) in enumerate(zip(rows, envs)):
        state = self._states[row]
        if state is None:
          continue
        logits = self.plans.logits(
            env, state, self._bias[0], self.smoothing)
        if logits is not None:
          prior[i], valid[i] = logits, True
      return prior, valid

  def events(self, states):
    """Returns which states came with an event. [B, N] u8 to [B] bool."""
    data = split(states)
    with self._lock:
      for x in data:
        self._row(x)  # Parses what is new.
      return np.array([x in self._eventful for x in data])

  def consider(
      self, states, envs, u, reward, is_first, is_last, td=None, acted=None,
      advised=None, sure=None):
    """Applies the call policy to one step of each environment.

    Args:
      states: Descriptions as encoded. Shape [B, N], u8.
      envs: Numbers of the environments; B entries.
      u: Uncertainty of the agent, from the step before. Shape [B], f32.
      reward: Reward of the step. Shape [B], f32.
      is_first: Whether an episode begins. Shape [B], bool.
      is_last: Whether it ends. Shape [B], bool.
      td: Temporal-difference error of the step before, if known. Shape [B],
        f32.
      acted: The action that led here, for the history. Shape [B], i32.
      advised: False in episodes that go without advice: nothing is asked for
        them. Shape [B], bool.
      sure: How sure the prior network was of its own advice in the step
        before, in [0, 1]. Shape [B], f32.
    """
    try:
      with self._lock:
        self._consider(
            states, envs, u, reward, is_first, is_last, td, acted, advised,
            sure)
    except errors.ReplayError:
      # Whoever asks for a strict replay wants to know.
      raise
    except Exception as e:
      # A training run of days must not end because of its advisor.
      self._note('internal', e)

  def _consider(
      self, states, envs, u, reward, is_first, is_last, td, acted, advised,
      sure):
    self.asked = []
    if self._closed:
      return
    self._steps += 1
    if not self.cache:
      self._expire()
    self._collect()
    if self._steps % NEWS == 0:
      self._news()
    wanted = {}
    for i, (data, env) in enumerate(zip(split(states), envs)):
      self.policy.step(
          env, float(reward[i]), bool(is_first[i]), bool(is_last[i]),
          None if td is None else float(td[i]))
      state = self._states[self._row(data)]
      past = self._remember(
          env, state, bool(is_first[i]), None if acted is None else acted[i])
      if state is None or not state.query.candidates:
        self.counts['unadvisable'] += 1
        continue
      state.visits += 1
      if self.plans and not self._replan(
          env, state, bool(is_first[i]), data in self._eventful):
        self.counts['planned'] += 1
        continue
      if state.decided or self._known(state):
        self.counts['hits'] += 1
        continue
      self.counts['misses'] += 1
      if advised is not None and not advised[i]:
        self.counts['refused_control'] += 1
        continue
      kind = (state.query.description.mission, state.query.candidates)
      boundary = bool(is_first[i]) or data in self._eventful
      reason = self._refuse(state, wanted) or self.policy.refuse(
          env, float(u[i]), state.visits, boundary, kind,
          # What was known of another episode tells nothing about this one.
          0.0 if sure is None or is_first[i] else float(sure[i]))
      if reason:
        self.counts[f'refused_{reason}'] += 1
        continue
      query = state.query
      if past:
        query = dataclasses.replace(query, history=past)
      wanted[state.key] = (state, query)
      self.policy.asked(env, kind)
      self.asked.append(env)
      for name in self.policy.reasons:
        self.counts[f'asked_{name}'] += 1
    for state, query in wanted.values():
      if self._pool:
        future = self._pool.submit(
            self.asker.ask, query, time.monotonic())
        future.add_done_callback(self._arrived.append)
        self._pending[state.key] = (future, state)
      else:
        self._finish(state, self.asker.ask(query, time.monotonic()))
    if self.wait and self._pending:
      concurrent.futures.wait(
          [x for x, _ in self._pending.values()], self.timeout)
      self._collect(waited=True)
    for env in envs if self.plans else ():
      self._adopt_plan(env)

  def _known(self, state):
    """Returns whether a reply tells what to do in a state now."""
    return state.key in self._replies and (
        self.cache or state.key in self._fresh)

  def _expire(self):
    """Gives no advice any more by replies that served a step."""
    _, valid = self._table
    for key in self._fresh & self._rows.keys():
      valid[self._rows[key]] = False
    self._fresh.clear()

  def _replan(self, env, state, is_first, event):
    """Returns whether an environment needs to be told its next subgoal."""
    needed = self.plans.step(env, state, is_first, event)
    return needed or bool(self.plans.waiting(env))

  def _adopt_plan(self, env):
    key = self.plans.waiting(env)
    if not key or key not in self._rows:
      return
    state = self._states[self._rows[key]]
    names = state.query.candidates
    if state.decided and names:
      self.plans.adopt(env, names, np.zeros(len(names)))
    elif key in self._replies:
      scores, _ = self._scores(key)
      self.plans.adopt(env, names, scores)

  def _remember(self, env, state, is_first, acted):
    """Returns the history before this state, and appends the state."""
    if not self.history or state is None:
      return ()
    past = self._past.setdefault(env, [])
    if is_first:
      past.clear()
    words = state.query.description.actions
    if past and acted is not None and 0 <= acted < len(words):
      past[-1] = (past[-1][0], words[acted])
    out = tuple(x for x in past if x[1])
    past.append((state.query.description.text, ''))
    del past[:-self.history - 1]
    return out[-self.history:]

  def _refuse(self, state, wanted):
    if state.key in wanted or state.key in self._pending:
      return 'pending'
    if state.tries >= TRIES:
      return 'failed'
    if self._broke and self._steps < self._broke:
      return 'budget'
    if state.later and time.monotonic() < state.later:
      return 'elsewhere'
    return self.asker.blocked()

  def _collect(self, waited=False):
    """Takes up the answers that arrived, in the order of their questions."""
    if self._arrived or waited:
      self._arrived.clear()
      self._finish_all()
    if self._unsettled and self._steps % NEWS == 0:
      self._settle()

  def _finish_all(self):
    for key in [k for k, (x, _) in self._pending.items() if x.done()]:
      future, state = self._pending.pop(key)
      self._finish(state, future.result())

  def _settle(self):
    """Tries again to store what was paid for while the disk was full."""
    waiting, self._unsettled = self._unsettled, []
    for outcome in waiting:
      try:
        outcome.row = self.store.settle(*outcome.unsettled)
      except Exception:
        self._unsettled.append(outcome)
      else:
        self._take(outcome)

  def _finish(self, state, outcome):
    self.counts['calls'] += outcome.calls
    for source, error in outcome.failures:
      kind = next((
          name for name, cls in KINDS.items() if isinstance(error, cls)),
          'internal')
      self._note(kind, error, source)
      if kind == 'parse':
        state.tries += 1
      if kind == 'replay':
        state.tries = TRIES
      if isinstance(error, errors.ReplayError) and self.strict:
        raise error
    if outcome.refused:
      self.counts[f'refused_{outcome.refused}'] += 1
    if outcome.refused == 'budget':
      # Calls are never given back; what was set aside of the others may be.
      gone = 0 <= self.asker.caps.calls <= self._spent()
      self._broke = math.inf if gone else self._steps + NEWS
    if outcome.refused == 'elsewhere':
      state.later = time.monotonic() + ELSEWHERE
    if outcome.unsettled:
      self._unsettled.append(outcome)
    if outcome.row:
      self._take(outcome)

  def _spent(self):
    try:
      return self.store.spent(self.asker.account)['calls']
    except Exception as e:
      self._note('store', e)
      return 0

  def _take(self, outcome):
    row, source = outcome.row, outcome.source
    if outcome.fresh:
      for name in ('tokens_in', 'tokens_out', 'money', 'seconds'):
        self.counts[name] += row[name]
    else:
      self.counts['shared'] += 1
    if not self.cache:
      self._fresh.add(row['state'])
    self._adopt(row, source)
    self._refresh([row['state']])

  def _news(self):
    """Takes up what is in the store, and since then what others wrote."""
    if self._steps and not self._watch(self.store.changed):
      return
    touched = []
    for source in self.sources:
      after = self._seen[source.rank]
      for row in self._watch(self.store.load, source.identity, after) or ():
        self._seen[source.rank] = max(self._seen[source.rank], row['seq'])
        self._adopt(row, source)
        touched.append(row['state'])
    if touched:
      self._refresh(touched, everything=not self._steps)

  def _watch(self, fn, *args):
    try:
      return fn(*args)
    except Exception as e:
      self._note('store', e)
      return None

  def _adopt(self, row, source):
    """Remembers a stored reply."""
    scores = row['scores']
    if row['parser'] < source.provider.parser:
      try:
        scores = source.provider.parse(row['raw'], len(row['candidates']))
      except errors.ParseError as e:
        self._note('parse', e, source)
    self._words[row['state']] = row['candidates']
    self._replies.setdefault(row['state'], {})[
        (source.rank, row['key'])] = tuple(scores)

  def _scores(self, key):
    """Returns the best source's mean scores of a state, and its rank."""
    replies = self._replies[key]
    best = min(rank for rank, _ in replies)
    chosen = sorted(x for x in replies if x[0] == best)
    return np.mean([ground.center(replies[x]) for x in chosen], 0), best

  def _refresh(self, keys, everything=False):
    """Writes the rows that new replies change."""
    count = len(self._replies)
    every = everything or count <= EXACT or count > 1.02 * self._calibrated
    if every and any(x.calibrate for x in self.sources):
      self._calibrated = count
      # In a fixed order, so that the same replies give the same bits.
      answers = [[] for _ in self.sources]
      for key in sorted(self._replies):
        scores, rank = self._scores(key)
        answers[rank].append((self._words[key], scores))
      self._bias = [
          ground.biases(answers[x.rank]) if x.calibrate else {}
          for x in self.sources]
      for state in self._states[1:]:
        self._write(state)
    else:
      for key in keys:
        if key in self._rows:
          self._write(self._states[self._rows[key]])

  def _write(self, state):
    """Computes one row of the table."""
    query = state.query
    bias = {}
    if state.decided:
      scores = np.zeros(len(query.candidates))
    elif self._known(state):
      scores, rank = self._scores(state.key)
      bias = self._bias[rank]
    else:
      return
    if not len(scores):
      return
    logits = ground.ground(
        query.description, self.mode, query.candidates, scores, bias,
        self.smoothing)
    if logits is not None:
      prior, valid = self._table
      prior[state.row] = logits
      valid[state.row] = True

  def _row(self, data):
    """Returns the row of a state, and makes one if it is new."""
    row = self._memo.get(data)
    if row is None:
      if len(self._memo) >= MEMO:
        self._forget()
      try:
        row = self._add(data)
      except Exception as e:
        self._note('description', e)
        row = 0
      self._memo[data] = row
    return row

  def _add(self, data):
    desc = types.Description.decode(data)
    if len(desc.actions) != self.actions:
      raise errors.EnvError(
          f'The describer {desc.version!r} names {len(desc.actions)} actions,'
          f' but the action space has {self.actions}. A describer gives one'
          " word for each action; '' for one that is never advised.")
    if desc.events:
      self._eventful.add(data)
      desc = dataclasses.replace(desc, events=())
    query = types.Query(
        desc, ground.candidates(desc, self.mode), self.mode)
    decided = ground.decided(desc, self.mode)
    key = storelib.state_key(query)
    if key in self._rows:
      return self._rows[key]
    row = len(self._states)
    prior, valid = self._table
    if row == len(valid):
      self._table = (
          np.concatenate([prior, np.zeros_like(prior)]),
          np.concatenate([valid, np.zeros_like(valid)]))
    visits, tries = self._restored.pop(key, (0, 0))
    state = State(row, query, key, decided, visits, tries)
    self._states.append(state)
    self._rows[key] = row
    self._write(state)
    return row

  def _forget(self):
    """Forgets the states that were met, so that memory stays bounded."""
    self._memo.clear()
    self._eventful.clear()
    self._rows.clear()
    del self._states[1:]
    self._table = (
        np.zeros_like(self._table[0]), np.zeros_like(self._table[1]))

  def _note(self, kind, error, source=None):
    """Counts a failure, and says so the first time."""
    self.counts[f'failures_{kind}'] += 1
    name = source.identity.provider if source else self.mode
    if (kind, name) not in self._said:
      self._said.add((kind, name))
      log.warning(
          'Advisor %s: %s: %s: %s. Training goes on without this advice%s',
          name, kind, type(error).__name__, error,
          ', and this advisor is not asked again.' if kind == 'rejected'
          else '.')

  def save(self):
    """Returns what a resumed run needs beside the store, as plain values."""
    with self._lock:
      return {
          'steps': self._steps,
          'counts': dict(self.counts),
          'policy': self.policy.save(),
          # Also of states that were not met again since the run went on.
          'states': {**self._restored, **{
              x.key: [x.visits, x.tries] for x in self._states[1:]}},
          'replies': sorted(
              key for x in self._replies.values() for _, key in x)}

  def load(self, data):
    """Goes on where `save` was called.

    A replay knows again exactly the replies that it knew; otherwise all that
    the store holds are known anyway.
    """
    with self._lock:
      self._steps = data['steps']
      self.counts = collections.Counter(data['counts'])
      self.policy.load(data['policy'])
      self._restored = dict(data['states'])
      for state in self._states[1:]:
        state.visits, state.tries = self._restored.pop(
            state.key, (state.visits, state.tries))
      touched = []
      for source in self.sources:
        if isinstance(source.provider, replaylib.Replay):
          for key in data['replies']:
            row = source.provider.store.get(key)
            if row:
              ticket, _ = self.store.reserve(
                  self.asker.account, key, storelib.Caps())
              self.store.copy(ticket, row)
              self._adopt(row, source)
              touched.append(row['state'])
      if touched:
        self._refresh(touched, everything=True)

  def stats(self):
    """Returns counters since the start of this process, as floats."""
    out = {name: 0.0 for name in (
        'calls', 'hits', 'misses', 'refused_budget', 'refused_cooldown',
        'tokens_in', 'tokens_out', 'money', 'seconds')}
    out.update({k: float(v) for k, v in self.counts.copy().items()})
    out['failures'] = float(sum(
        v for k, v in out.items() if k.startswith('failures_')))
    out['states'] = float(len(self._states) - 1)
    out['answered'] = float(len(self._replies))
    out['pending'] = float(len(self._pending))
    return out

  def close(self):
    """Waits for calls under way, and closes everything. May be repeated."""
    with self._lock:
      self._closed = True
    if self._pool:
      self._pool.shutdown(wait=True, cancel_futures=True)
    for source in self.sources:
      source.provider.close()
    self.store.close()


# The least value of each numeric key.
LEAST = {
    'calls': -1, 'tokens': -1, 'money': -1.0, 'cooldown': 0,
    'timeout': 0.001, 'smoothing': 1e-9, 'retries': 0, 'stale': 0.001,
    'workers': 1, 'history': 0, 'price.input': 0.0, 'price.output': 0.0,
    'breaker.failures': 1, 'breaker.rest': 0.0, 'policy.growth': 1.0,
    'policy.backoff': 0, 'policy.visits': 1, 'policy.novelty': 0,
    'policy.plateau': 0, 'policy.min_td': 0.0,
}

CHOICES = {
    'mode': MODES, 'calibrate': CALIBRATE, 'ask': ASK,
    'replay': replaylib.MODES,
}

KINDS = {
    'replay': errors.ReplayError,
    'rejected': errors.RejectedCall,
    'busy': errors.BusyCall,
    'parse': errors.ParseError,
    'failed': errors.FailedCall,
    'store': errors.StoreError,
}


def validate(section):
  """Raises a ConfigError for a value of `lore.advisor` that isn't allowed."""
  for key, least in LEAST.items():
    value = section
    for part in key.split('.'):
      value = value[part]
    if not value >= least:
      raise errors.ConfigError(
          f'lore.advisor.{key} is {value}, but must be at least {least}.'
          f' Type --lore.advisor.{key} VALUE.')
  for key, allowed in CHOICES.items():
    errors.choose(section[key], allowed, f'value in lore.advisor.{key}:')


def create(section, seed):
  """Returns the providers that `lore.advisor.provider` names, in order.

  Raises:
    ConfigError: An unknown name, or a cap on money without a price.
    AdvisorError: One of them can't be set up.
  """
  made = []
  try:
    for name in str(section['provider']).split(','):
      made.append(providers.create(name.strip(), section, seed))
    price = section['price']
    if any(x.paid for x in made) and section['money'] >= 0 and not (
        price['input'] > 0 or price['output'] > 0):
      raise errors.ConfigError(
          f'lore.advisor.money caps the cost at {section["money"]} dollars,'
          ' but there is no price. Type --lore.advisor.price.input and'
          ' --lore.advisor.price.output, in dollars a million tokens.')
  except BaseException:
    for provider in made:
      provider.close()
    raise
  return made


def caps(section):
  """Returns the `Caps` in a section `lore.advisor`."""
  return storelib.Caps(
      int(section['calls']), int(section['tokens']), float(section['money']))


def patience(section):
  """Returns the `Patience` in a section `lore.advisor`."""
  return circuitlib.Patience(
      failures=int(section['breaker']['failures']),
      rest=float(section['breaker']['rest']))


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
  path = logdirlib.expand(store or logdir)
  if store and path.suffix and not path.is_dir():
    return path
  return path / 'advice.sqlite'
