"""What a program can call: train a run, load its agent, ask an advisor.

Everything large is imported where it is needed, so that asking an advisor
takes no jax, and importing this module takes nothing.
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import errors
from . import logdir as logdirlib
from . import options

if TYPE_CHECKING:
  import os

  from .advisor.types import Description
  from .worlds.base import Question, Situation, World
  from .worlds.outward import Episodes

# The state in words, as environments send it.
STATE = 'lore/state'


class Run(NamedTuple):
  """A run that has ended.

  Attributes:
    logdir: Its folder.
    summary: What stands in its summary.json; empty where it has none.
  """
  logdir: pathlib.Path
  summary: dict[str, Any]


def train(
    task: str, *, configs: Sequence[str] = ('minigrid', 'lore'),
    logdir: 'str | os.PathLike' = '~/logdir/{timestamp}',
    **overrides: Any) -> Run:
  """Trains an agent, as `python -m lore_plugin --configs ...` does.

  In this process, whose jax it sets up: upstream forbids implicit transfers
  to the device from then on. A run in the same logdir goes on.

  Args:
    task: As for `--task`: 'minigrid_DoorKey-5x5', 'gymnasium_Taxi-v4'.
    configs: Blocks of configuration, the last one counts most.
    logdir: The run's folder; `{timestamp}` is filled in.
    **overrides: Other keys, nested or with dots: run={'steps': 2000},
      **{'lore.gate.kappa': 2.0}.

  Raises:
    LoreError: Before the first environment step, if something is wrong.
  """
  from . import launch
  path = logdirlib.expand(logdirlib.fill(str(logdir)))
  try:
    launch.run([
        '--configs', *configs, '--task', task, '--logdir', str(path),
        *flags(overrides)])
  finally:
    from . import status
    status.close()
  file = path / logdirlib.SUMMARY
  return Run(path, json.loads(
      file.read_text(encoding='utf-8')) if file.is_file() else {})


def load(
    logdir: 'str | os.PathLike', *, advice: bool = False, calls: int = 0,
    greedy: bool = False, **overrides: Any) -> 'Agent':
  """Loads the agent of a run's newest checkpoint.

  Args:
    logdir: The run's folder.
    advice: Whether the agent is advised, by what the run has stored. The
      attribute `advice` turns it on and off later, if it was on here.
    calls: Calls that may be made beyond that, on an account of their own.
    greedy: Whether the likeliest action is taken; else actions are drawn.
    **overrides: Keys of the run's configuration that are to differ; see
      `train`.

  Raises:
    ConfigError: There is no such run, no whole checkpoint, or no advice.
  """
  from . import upstream
  from .play import evaluate
  folder = logdirlib.expand(logdir)
  found = upstream.find()
  config, _ = evaluate.load_config(folder, found, flags(overrides))
  if config.lore.enabled:
    upstream.check(found)
  data, _ = (None, None) if config.random_agent else (
      evaluate.load_checkpoint(folder, found))
  with contextlib.ExitStack() as stack:
    temp = stack.enter_context(tempfile.TemporaryDirectory(prefix='lore-'))
    advisable = config.lore.enabled and not config.random_agent
    known = False
    if advisable:
      config, known = evaluate.prepare_advice(
          config, calls if advice else 0, temp)
    if advice and not known:
      raise errors.ConfigError(
          f'{str(folder)!r}: ' + (
              'the run has no stored advice. Give calls=N to ask for some, or '
              'advice=False.' if advisable else 'the run was made without '
              'lore or by a random agent: it has none. Give advice=False.'))
    agent = evaluate.make_agent(config)
    if hasattr(agent, 'close'):
      stack.callback(agent.close)
    if data:
      evaluate.load_agent(agent, data, folder)
    return Agent(
        agent, config, functools.partial(_environment, config),
        stack.pop_all(), advised=known, advice=advice,
        mode=evaluate.MODES['greedy' if greedy else 'sampled'])


def _environment(config, seed, index, heldout):
  """Makes an environment of a run, with other seeds."""
  from . import launch
  from . import worlds
  if heldout is None:
    heldout = worlds.has_heldout(config.task)
  kwargs = {'heldout': True} if heldout else {}
  return launch.make_env(config.update(seed=seed), index, **kwargs)


class Agent:
  """A trained agent that acts and does not learn; `load` makes it.

    with lore_plugin.load('logdir/doorkey', advice=True) as agent:
      env = agent.make_env()
      obs, _ = env.reset()
      action, carry, info = agent.act(obs)
      obs, reward, ended, cut, _ = env.step(action)
      action, carry, info = agent.act(obs, carry)

  Attributes:
    config: The run's configuration, an `elements.Config`.
    obs_space: What `act` takes, as upstream's spaces.
  """

  def __init__(
      self, agent: Any, config: Any, make: Callable[[int, int, Any], Any],
      stack: contextlib.ExitStack, *, advised: bool, advice: bool, mode: str):
    self.config = config
    self._agent = agent
    self._make = make
    self._stack = stack
    self._advised = advised
    self._mode = mode
    with contextlib.closing(make(int(config.seed), 0, None)) as env:
      self.obs_space: dict[str, Any] = {
          k: v for k, v in env.obs_space.items() if not k.startswith('log/')}
    self.advice = advice

  @property
  def advice(self) -> bool:
    """Whether the agent is advised."""
    return bool(getattr(self._agent, 'advise_eval', False))

  @advice.setter
  def advice(self, on: bool) -> None:
    if on and not self._advised:
      raise errors.ConfigError(
          'This agent was loaded without advice. Give load(..., advice=True).')
    if hasattr(self._agent, 'advise_eval'):
      self._agent.advise_eval = on

  def act(
      self, obs: Mapping[str, Any],
      carry: Any = None) -> tuple[Any, Any, dict[str, Any]]:
    """Chooses an action.

    Args:
      obs: One observation by name, of the shapes in `obs_space`, without a
        batch. What an environment of `make_env` returns; where it lacks them,
        `reward` is 0, `is_last` and `is_terminal` are False, and `is_first`
        is True where there is no carry.
      carry: What the call before returned; None begins an episode.

    Returns:
      action: A number; a dict of arrays where actions have several parts.
      carry: For the next call.
      info: `advised`, whether there was advice here. `logits`, the agent's
        own, and `mixed`, those it acted by; each [A], f32, for one discrete
        action. With lore also `prior`, the advisor's, [A], f32, and `u`,
        `beta`, `kl` and what else docs/metrics.md lists for each step.

    Raises:
      ConfigError: An entry is missing or has another shape.
    """
    first = carry is None
    if first:
      carry = self._agent.init_policy(1)
    carry, acts, outs = self._agent.policy(
        carry, self._batch(obs, first), self._mode)
    action = {k: np_item(v[0]) for k, v in acts.items()}
    info = {'advised': False, **{
        _INFO.get(k, k.removeprefix('log/lore_')): np_item(v[0])
        for k, v in outs.items()
        if k in _INFO or k.startswith('log/lore_')}}
    return action['action'] if len(action) == 1 else action, carry, info

  def _batch(self, obs, first):
    import numpy as np
    full = {
        'reward': 0.0, 'is_first': first, 'is_last': False,
        'is_terminal': False, **obs}
    if STATE in self.obs_space and not self.advice:
      # Nobody reads it.
      full.setdefault(STATE, np.zeros(self.obs_space[STATE].shape, np.uint8))
    batch = {}
    for key, space in self.obs_space.items():
      if key not in full:
        raise errors.ConfigError(
            f'The observation lacks {key!r}. It takes '
            f'{", ".join(self.obs_space)}; environments of agent.make_env() '
            'have them.')
      batch[key] = np.asarray(full[key], space.dtype)[None]
      if batch[key].shape[1:] != space.shape:
        raise errors.ConfigError(
            f'{key!r} has shape {batch[key].shape[1:]}, but must have '
            f'{space.shape}, without a batch.')
    return batch

  def make_env(
      self, seed: int | None = None, index: int = 0,
      heldout: bool | None = None) -> 'Episodes':
    """Makes an environment of the run's task, with Gymnasium's interface.

    Args:
      seed: Seed of its episodes, at least 0; None is the run's.
      index: Environments of one seed and different numbers play different
        episodes.
      heldout: Whether to draw layouts by seeds that training never uses; None
        does so where the task can.
    """
    from .worlds import outward
    return outward.Episodes(
        lambda x: self._make(x, index, heldout),
        int(self.config.seed) if seed is None else seed)

  def close(self) -> None:
    """Ends the advisor. May be repeated."""
    self._stack.close()

  def __enter__(self) -> 'Agent':
    return self

  def __exit__(self, *_) -> None:
    self.close()


# Names of what the policy returns, in `Agent.act`.
_INFO = {
    'log/record_wm': 'logits', 'log/record_mix': 'mixed',
    'lore/prior': 'prior', 'lore/valid': 'advised'}


def np_item(value: Any) -> Any:
  """Returns a number or bool for an array of shape [], else the array."""
  return value.item() if not value.shape else value


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
  """What an advisor said of one situation.

  Attributes:
    choice: The best of what can be begun here.
    probs: Probability of each choice that can be begun; of all, where none
      says how. Sums to 1.
    actions: Probability of each action that begins a choice, sums to 1;
      empty where no choice says how.
    source: Who answered: provider and model; '' where there is one choice.
    fresh: Whether it was asked now, not found in the store.
    money: US dollars that it cost now.
  """
  choice: str
  probs: dict[str, float]
  actions: dict[int, float]
  source: str
  fresh: bool
  money: float


class Advisor:
  """Asks a language model which choice is best, without an agent.

  The same store, caps, prompts and providers as in training: what was
  answered once is not asked again.

    with lore_plugin.Advisor('local') as advisor:
      answer = advisor.ask(Situation(Question(
          'bring bread home', 'You have no bread.', ('buy bread', 'go home'))))
      print(answer.choice, answer.probs)

  Args:
    provider: As `--lore.advisor.provider`.
    world: Whose situations are asked about: gives the words for actions and
      chooses the prompt. None for none.
    store: File or folder of stored answers; '' forgets them at the end.
    seed: For providers that draw.
    **overrides: Other keys of `lore.advisor`: calls=-1, model='...',
      price={'input': 1.0}. Defaults are those of training, 98 calls included.

  Raises:
    ConfigError: A key or value is not allowed.
    AdvisorError: The provider or the store can't be used.
  """

  def __init__(
      self, provider: str = 'auto', *, world: 'World | None' = None,
      store: 'str | os.PathLike' = '', seed: int = 0, **overrides: Any):
    from .advisor import build
    section = options.section('lore.advisor')
    _update(section, {
        'provider': provider, 'store': str(store), **overrides})
    self.world = world
    self._mode = section['mode']
    self._known: dict[str, tuple] = {}
    with contextlib.ExitStack() as stack:
      temp = stack.enter_context(tempfile.TemporaryDirectory(prefix='lore-'))
      self._advisor = build.build({
          'lore': {'advisor': section}, 'logdir': temp, 'seed': seed}, 1)
      stack.callback(self._advisor.close)
      self._stack = stack.pop_all()

  def ask(self, situation: 'Situation | Question | Description') -> Answer:
    """Returns an answer from the store, or asks for one and waits.

    Args:
      situation: A situation of the world; or a question alone, whose choices
        lead to no action.

    Raises:
      EnvError: There is nothing to choose from.
      CallError: There is no answer: the call failed, or a cap is reached.
    """
    from .advisor import ground
    from .advisor import store
    from .advisor import types
    description = self._describe(situation)
    words = ground.candidates(description, self._mode)
    if not words:
      raise errors.EnvError(
          'There is nothing to choose from: the situation has no '
          + ('choices' if self._mode == 'subgoal' else 'words for actions')
          + '. Give it some, or ask in another mode.')
    if len(words) == 1:
      return self._answer(description, words, (0.0,), '')
    query = types.Query(description, words, self._mode)
    key = store.question_key(query)
    if key in self._known:
      return self._answer(description, words, *self._known[key])
    out = self._advisor.asker.ask(query, time.monotonic())
    if out.row is None:
      raise _why_not(out)
    # A server may have asked another than it said at first.
    answered = (
        self._scores(out), f'{out.row["provider"]} ({out.row["model"]})')
    if self._advisor.settings.cache:
      self._known[key] = answered
    return self._answer(
        description, words, *answered, out.fresh,
        float(out.row['money'] or 0.0) if out.fresh else 0.0)

  def _describe(self, situation):
    from .advisor import types
    from .worlds import base
    if isinstance(situation, base.Question):
      situation = base.Situation(situation, ((),) * len(situation.choices))
    if isinstance(situation, base.Situation):
      situation = base.describe(
          situation, self.world or _Nowhere(situation, self._mode),
          self._mode == 'action')
    if not isinstance(situation, types.Description):
      raise errors.ConfigError(
          f'An advisor is asked about a Situation or a Question, not '
          f'{situation!r:.80}.')
    # What has just happened is no part of the question.
    return dataclasses.replace(situation, events=())

  def _scores(self, out):
    from .advisor import table
    if out.row['parser'] < out.source.provider.parser:
      return table.parse_again(out.row, out.source.provider)
    return out.row['scores']

  def _answer(
      self, description, words, scores, source, fresh=False, money=0.0):
    from .advisor import ground
    if self._mode == 'subgoal':
      ways = {x.name: acts for x, acts in zip(
          description.options, ground.legal(description))}
    else:
      ways = {x: tuple(i for i, y in enumerate(description.actions) if x == y)
              for x in words}
    can = [i for i, x in enumerate(words) if ways.get(x)] or range(len(words))
    probs = dict(zip(
        [words[i] for i in can],
        ground.softmax(ground.center([scores[i] for i in can])).tolist()))
    actions = {}
    for word, prob in probs.items():
      for act in ways.get(word, ()):
        actions[act] = actions.get(act, 0.0) + prob / len(ways[word])
    best = max(probs, key=lambda x: probs[x])
    return Answer(best, probs, actions, source, fresh, money)

  def spent(self) -> dict[str, float]:
    """Returns calls, tokens and money (US dollars) of this account."""
    return dict(self._advisor.spent())

  def close(self) -> None:
    """Frees the model and closes the store. May be repeated."""
    self._stack.close()

  def __enter__(self) -> 'Advisor':
    return self

  def __exit__(self, *_) -> None:
    self.close()


class _Nowhere:
  """Stands for a world whose actions have no words, and that has no prompt."""

  version = ''

  def __init__(self, situation, mode):
    count = max((a for acts in situation.skills for a in acts), default=-1)
    self.actions = () if mode == 'action' else tuple(
        f'action {i}' for i in range(count + 1))


def _why_not(out):
  """Returns the error behind an outcome without an answer."""
  for _, error in reversed(out.failures):
    if isinstance(error, errors.LoreError):
      return error
    return errors.FailedCall(f'{type(error).__name__}: {error}')
  if out.unsettled:
    return errors.FailedCall(
        'An answer came and could not be stored; it is not used. Make room '
        'for the store, and ask again.')
  refused = errors.RefusedCall(out.refused)
  if out.refused == 'budget':
    refused.args = (
        'The account has used up what it may spend. Give Advisor(calls=N), '
        'tokens=N or money=N; -1 has no limit.',)
  return refused


def _update(section, values):
  """Puts values into the section `lore.advisor`, and checks them."""
  flat = {f'lore.advisor.{k}': v for k, v in leaves(values)}
  for key, value in flat.items():
    errors.choose(
        key.removeprefix('lore.advisor.'),
        [x.removeprefix('lore.advisor.') for x in options.TABLE
         if x.startswith('lore.advisor.')], 'key of lore.advisor:')
    *path, last = key.split('.')[2:]
    inner = section
    for part in path:
      inner = inner[part]
    wanted = type(options.TABLE[key].default)
    if not isinstance(value, (int, float) if wanted is float else wanted):
      raise errors.ConfigError(
          f'{key} is {value!r}, but must be like its default '
          f'{options.TABLE[key].default!r}.')
    inner[last] = wanted(value)
  options.check(flat)


def leaves(
    values: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
  """Yields keys with dots and values of a nested mapping."""
  for key, value in values.items():
    if isinstance(value, Mapping):
      yield from leaves(value, f'{prefix}{key}.')
    else:
      yield prefix + key, value


def flags(overrides: Mapping[str, Any]) -> list[str]:
  """Returns keys of a configuration as a command line has them."""
  out = []
  for key, value in leaves(overrides):
    many = isinstance(value, (list, tuple))
    out += [f'--{key}', *map(str, value if many else [value])]
  return out
