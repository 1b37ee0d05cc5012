"""The host side of advice: between upstream's loops and the jitted agent."""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import elements
import numpy as np

from . import columns as columnslib
from . import head
from . import lore as agentlib
from . import trust as trustlib
from .. import lines
from .. import logdir as logdirlib
from .. import upstream
from ..advisor import build as service
from ..advisor import table as tablelib
from ..upstream import bases
from ..upstream import resume
from .columns import ADVICE, ALONE, PRIOR, TRUST, UPLIFT, VALID

Arrays = dict[str, np.ndarray]
Journal = Callable[[dict[str, Any]], None]
# The state in words, as the environment sends it.
STATE = 'lore/state'
# The choice that is pursued, where whole episodes are recorded.
CHOICE = 'lore/choice'
# Before the names of what the logger is told of each step.
LOG = 'log/lore_'
U = LOG + 'u'
# Where the agent has an ensemble, how much it disagreed.
SURPRISE = LOG + 'u_disagreement'
# Where a network learns the advice, how sure it was of it.
SURE = LOG + 'sure'
# Updates of which one is logged. Upstream averages over those between two
# lines of its log number by number; for all, that takes as long as the advice.
LOGGED = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Seat:
  """What is remembered of one environment between its steps.

  Attributes:
    env: Number that tells environments apart; -1 before the first step.
    u: The agent's uncertainty at the previous step.
    surprise: How much the agent's ensemble disagreed there.
    sure: How sure the prior network was of its advice there, in [0, 1].
  """
  env: int = -1
  u: float = 0.0
  surprise: float = 0.0
  sure: float = 0.0


class AdvisedAgent(bases.Agent):
  """Asks the advisor on behalf of an agent that mixes advice in.

  Environments send the state in words as `lore/state`. It is replaced by the
  advisor's logits on the way to the agent, and by its digest on the way to the
  replay. An advisor never delays more than its time limit and, but for a
  strict replay, never raises; so neither does this class.

  Args:
    agent: Upstream's outer agent around a `LoreAgent`.
    advisor: An `advisor.Advisor`.
    actions: Number of actions A.
    trust: A `trust.Trust`; None trusts the advisor blindly.
    journal: Called with a dict about each training episode that ends, and
      with `lines.resumed` where the run goes on.
    columns: What the agent observes of advice besides its logits; see
      `columns.names`.
    key: Name of the action that is advised.
  """

  def __init__(
      self, agent: bases.Agent, advisor: Any, actions: int,
      trust: trustlib.Trust | None = None, journal: Journal | None = None,
      columns: Sequence[str] = (VALID, TRUST, UPLIFT),
      key: str = 'action'):
    self.agent = agent
    self.advisor = advisor
    self.actions = actions
    # Whether advice is given in upstream's eval mode; evaluation sets it.
    self.advise_eval = False
    self.trust = trust or trustlib.Trust(trustlib.Settings(enabled=False))
    # Script `parallel` trains and saves in one thread and acts in another.
    self.lock = threading.Lock()
    self.journal = journal
    self.numbers = itertools.count()
    self.questions: dict[int, list[int]] = {}
    self.followed: dict[int, dict[tuple[str, str], None]] = {}
    self.columns = columns
    self.key = key
    self.updates = 0
    # The step from which a run goes on, until the journal says so.
    self.resumed: int | None = None

  def init_policy(self, batch_size: int) -> dict[str, Any]:
    return {
        'agent': self.agent.init_policy(batch_size),
        'lore': [Seat()] * batch_size}

  def policy(
      self, carry: dict, obs: Arrays,
      mode: str = 'train') -> tuple[dict, Arrays, Arrays]:
    obs = dict(obs)
    states = obs.pop(STATE, None)
    if states is None:  # Evaluation without advice needs no words.
      states = np.zeros((len(obs['is_first']), 1), np.uint8)
    seats = [
        x if x.env >= 0 else Seat(next(self.numbers)) for x in carry['lore']]
    envs = [x.env for x in seats]
    names = digests(states)
    trust = np.ones(len(states), np.float32)
    if mode == 'train':
      trust = self._compare(seats, names, states, obs)
    if mode == 'train' or self.advise_eval:
      with elements.timer.section('lore_consider'):
        self.advisor.consider(
            states, envs, np.array([x.u for x in seats], np.float32),
            obs['reward'], obs['is_first'], obs['is_last'],
            advised=trust > 0,
            sure=np.array([x.sure for x in seats], np.float32))
      self._note_questions()
      with elements.timer.section('lore_lookup'):
        prior, valid = self.advisor.lookup(states, envs, trust > 0)
    else:
      prior = np.zeros((len(states), self.actions), np.float32)
      valid = np.zeros(len(states), bool)
      # Nor is the agent to follow advice that it has learned.
      trust = np.zeros(len(states), np.float32)
    advice = {PRIOR: prior, VALID: valid & (trust > 0)}
    if mode == 'train':
      self._note_followed(envs, states, advice[VALID] & ~obs['is_last'])
    obs[ADVICE] = self._join(advice, trust, self.trust.gate)
    inner, acts, outs = self.agent.policy(carry['agent'], obs, mode)
    if mode == 'train' or self.advise_eval:
      self.advisor.did(envs, acts[self.key])
    outs = columnslib.unpack(outs, LOG)
    surprise = outs.get(SURPRISE, np.zeros(len(seats)))
    sure = outs.get(SURE, np.zeros(len(seats)))
    seats = [
        Seat(x.env, *map(float, row))
        for x, *row in zip(seats, outs[U], surprise, sure)]
    # Trust is filled in when the step is replayed.
    outs.update(advice)
    outs[STATE] = names
    if self.advise_eval:
      # For recordings; training would put it into the replay.
      outs[CHOICE] = np.array([
          self._pursued(*x)[1] for x in zip(envs, states)])
    return {'agent': inner, 'lore': seats}, acts, outs

  def _join(self, advice, trust, uplift):
    """Adds to advice how far it is trusted, and what is known of it now."""
    known = {UPLIFT: uplift, ALONE: self.trust.alone}
    return columnslib.join({**advice, TRUST: trust, **known}, self.columns)

  def _compare(self, seats, names, states, obs):
    """Tells the trust control of a step. Returns how far to go along. [B]."""
    events = self.advisor.events(states)
    trust = np.zeros(len(seats), np.float32)
    if self.resumed is not None and self.journal:
      self.journal(lines.resumed(self.resumed))
    self.resumed = None
    for i, seat in enumerate(seats):
      with self.lock:
        trust[i], ended = self.trust.step(
            seat.env, names[i].tobytes(), events[i], float(obs['reward'][i]),
            bool(obs['is_first'][i]), bool(obs['is_last'][i]), seat.surprise)
      if not ended:
        continue
      asked = self.questions.pop(seat.env, [])
      followed = self.followed.pop(seat.env, {})
      if self.journal:
        self.journal({
            'step': self.trust.taken, 'env': seat.env, 'score': ended.score,
            'length': ended.length, 'advised': ended.arm, 'p': ended.p,
            'changed': ended.changed,
            'calls': self.advisor.stats()['calls'], 'asked': asked,
            'questions': [list(x) for x in followed]})
    return trust

  def _note_followed(self, envs, states, valid):
    """Keeps which questions were answered in an episode, and the choices."""
    for i in np.flatnonzero(valid):
      name, choice = self._pursued(envs[i], states[i])
      if name:
        key = name[:tablelib.Names.LETTERS], choice
        self.followed.setdefault(envs[i], {})[key] = None

  def _pursued(self, env, state):
    """Returns the question of a state, and the choice; '' if none is drawn.
    """
    if self.advisor.guide:
      return self.advisor.guide.pursued(env) or ('', '')
    found = self.advisor.table.situation(state.tobytes())
    return found.question.key if found else '', ''

  def _note_questions(self):
    """Keeps at which steps of their episodes environments asked."""
    for env in self.advisor.asked:
      if env in self.trust.running:
        self.questions.setdefault(env, []).append(
            self.trust.running[env].episode.length)

  def train(self, carry: Any, data: Arrays) -> tuple[Any, Arrays, Arrays]:
    carry, outs, mets = self.agent.train(carry, data)
    if not mets:
      return carry, outs, mets
    mets = columnslib.unpack(mets, 'lore/')
    if self.updates % LOGGED:
      mets = {k: v for k, v in mets.items() if not k.startswith('lore/')}
    else:
      mets.update({f'advisor/{k}': v for k, v in self.stats().items()})
      with self.lock:
        known = self.trust.stats()
      mets.update({f'lore/{k}': v for k, v in known.items()})
    self.updates += 1
    return carry, outs, mets

  def stats(self) -> dict[str, float]:
    """Returns the advisor's counters since the run began, as floats."""
    stats = dict(self.advisor.stats())
    lookups = stats['hits'] + stats['misses']
    stats['hit_rate'] = stats['hits'] / lookups if lookups else 0.0
    if self.advisor.settings.own:
      # The ledger remembers what was asked after the last checkpoint, too.
      stats.update({
          f'spent_{k}': float(v) for k, v in self.advisor.spent().items()})
    return stats

  def stream(self, st: Any) -> Any:
    def prepare(data):
      # What is known now, not what was known when the step was taken.
      # The actor is drawn to what is proven, and to nothing less.
      advice = self._join(data, self.trust.trust, self.trust.proof)
      data = {
          k: v for k, v in data.items()
          if k not in (STATE, PRIOR, *self.columns)}
      return {**data, ADVICE: advice}
    return self.agent.stream(bases.streams.Map(st, prepare))

  def init_train(self, batch_size: int) -> Any:
    return self.agent.init_train(batch_size)

  def init_report(self, batch_size: int) -> Any:
    return self.agent.init_report(batch_size)

  def report(self, carry: Any, data: Arrays) -> tuple[Any, Arrays]:
    return self.agent.report(carry, data)

  def save(self) -> dict[str, Any]:
    with self.lock:
      trust = self.trust.save()
    return {
        **self.agent.save(), 'advisor': self.advisor.save(), 'trust': trust}

  def load(self, data: dict[str, Any], regex: str | None = None) -> None:
    have = self.agent.params
    params, extra = resume.fit(data['params'], have, regex)
    if regex is None and (lacking := have.keys() - params.keys()):
      now = self.agent.save()['params']
      params.update({k: now[k] for k in lacking})
      elements.print(
          f'New in this run: {resume.modules(lacking)}.', color='yellow')
    resume.say_left_out(extra)
    data = {**data, 'params': params}
    # Checkpoints of a plain agent know of no advisor.
    if 'advisor' in data:
      # With a pattern, a new run begins from another's checkpoint.
      self.advisor.load(data['advisor'], resumed=regex is None)
    # What another run's advice was worth says nothing of this one's, which may
    # be another's on another task; nor does this run go on at its step.
    if 'trust' in data and regex is None:
      with self.lock:
        self.trust.load(data['trust'])
      self.resumed = self.trust.taken
    self.agent.load(data, regex)

  def close(self) -> None:
    self.advisor.close()


def digests(states: np.ndarray) -> np.ndarray:
  """Names each state by its content. Shape [B, N] to [B, 8], u8."""
  names = [hashlib.blake2b(x.tobytes(), digest_size=8) for x in states]
  return np.stack([np.frombuffer(x.digest(), np.uint8) for x in names])


def make_agent(
    config: Any, make_upstream: Callable[[Any], bases.Agent]
) -> bases.Agent:
  """Builds upstream's agent with the advisor around and the mix inside.

  Args:
    config: The whole configuration, with `lore.enabled` True.
    make_upstream: Upstream's own `make_agent(config)`.

  Raises:
    EnvError: If the task has no discrete action or no world.
    AdvisorError: If the advisor can't be set up.
  """
  with upstream.agent_class(functools.partial(build, config)):
    return make_upstream(config)


def build(
    config: Any, obs_space: dict[str, elements.Space],
    act_space: dict[str, elements.Space], agent_config: Any) -> AdvisedAgent:
  """Takes the place of upstream's `Agent(obs_space, act_space, config)`."""
  key = head.advised_action(act_space)
  actions = int(act_space[key].classes)
  # Before the agent, so that a missing key costs no compilation.
  advisor = service.build(config, actions)
  elements.print(service.introduce(advisor))
  obs_space = {k: v for k, v in obs_space.items() if k != STATE}
  obs_space.update(columnslib.spaces(actions, config.lore))
  agent_config = elements.Config({**agent_config, 'lore': config.lore})
  agent = agentlib.LoreAgent(obs_space, act_space, agent_config)
  trust = trustlib.Trust(
      trustlib.Settings(**config.lore.trust), int(config.seed))
  return AdvisedAgent(
      agent, advisor, actions, trust,
      journal(config.logdir), columnslib.names(config.lore), key)


def journal(logdir: str) -> Journal | None:
  """Returns a function that appends a row to <logdir>/episodes.jsonl."""
  if logdirlib.is_remote(logdir):
    # Object stores can't append.
    return None
  return functools.partial(
      lines.append, pathlib.Path(logdir) / logdirlib.EPISODES)
