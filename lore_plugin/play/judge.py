"""Plays advice alone, without an agent and without training.

  python -m lore_plugin judge TASK [TASK ...] [--advice scripted uniform local]
      [--episodes 20] [--seed 0] [--experience on] [--json]
      [--KEY VALUE ...]

Tells in minutes whether a model is good enough for a task, before anybody
pays for training. Each advice plays the same held-out layouts: at each new
question it is asked once, and its best choice is followed until the question
changes. `uniform` takes any choice; the others are providers, asked as in
training. With `--experience on` choices are learned from, as in training, and
the last half of the episodes is shown as well. A task is named as for --task;
without a suite it is MiniGrid's.
Other flags change the configuration, of all tasks, as --lore.advisor.model
does.

Success is what the task says of itself, with Wilson's interval; for Crafter it
is its score, a geometric mean over achievements; a task that says nothing has
succeeded where its return is above 0, and shows the return. Intervals of
scores and returns are bootstraps over episodes.
"""

import argparse
import collections
import dataclasses
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import config as configlib
from .. import curves
from .. import errors
from .. import worlds
from ..advisor import ground
from ..advisor import providers
from ..advisor import types
from ..advisor.experience import Experience
from ..worlds import registry
from . import rollout

UNIFORM = 'uniform'
STEPS = 100_000  # Of a training run, for what it would cost.
RESAMPLES = 1000
# Mission, facts and choices.
Question = tuple[str, str, tuple[str, ...]]


@dataclasses.dataclass(slots=True)
class Tally:
  """What is counted while one advice plays one task.

  Attributes:
    tells: Whether the task itself says what success is.
    wins: Whether each episode succeeded; where there are achievements,
      whether the player lived to its end.
    returns: Its return.
    lengths: Its actions.
    questions: The different questions that were met.
    calls: Questions that were put to the provider.
    failures: Calls without a usable answer.
    last: The first of them, in words.
    tokens: Tokens read and written.
    money: US dollars.
    seconds: Of each call.
    step_ms: Milliseconds of each step of the environment, words included.
    unlocked: Achievements of each episode, where the game has such.
    ends: How many episodes ended while a (question, choice) was pursued, and
      how many of them failed.
  """
  tells: bool = False
  wins: list = dataclasses.field(default_factory=list)
  returns: list = dataclasses.field(default_factory=list)
  lengths: list = dataclasses.field(default_factory=list)
  questions: set = dataclasses.field(default_factory=set)
  calls: int = 0
  failures: int = 0
  last: str = ''
  tokens: int = 0
  money: float = 0.0
  seconds: list = dataclasses.field(default_factory=list)
  step_ms: list = dataclasses.field(default_factory=list)
  unlocked: list = dataclasses.field(default_factory=list)
  ends: dict = dataclasses.field(
      default_factory=lambda: collections.defaultdict(lambda: [0, 0]))

  def late(self) -> 'Tally':
    """Returns the tally of the last half of the episodes."""
    half = len(self.wins) // 2
    return dataclasses.replace(self, **{
        k: getattr(self, k)[half:]
        for k in ('wins', 'returns', 'lengths', 'unlocked')})


class Chooser:
  """Takes a choice for each question, and keeps it until that changes.

  Args:
    provider: Who is asked; None takes any choice.
    mode: 'subgoal' or 'action'.
    seed: Of what is drawn.
    learned: An `Experience` that takes the choices and learns from what they
      led to; None takes the preferred one, always.
  """

  def __init__(
      self, provider: types.Provider | None, mode: str, seed: int,
      learned: Experience | None = None):
    self.provider = provider
    self.learned = learned
    self.mode = mode
    self.rng = np.random.default_rng(seed)
    self.scores: dict[Question, list[float]] = {}
    self.now: tuple[Question | None, str | None] = (None, None)

  def __call__(
      self, desc: types.Description,
      tally: Tally) -> tuple[Question, str | None, int]:
    """Returns the question, the choice and an action towards it."""
    words = ground.candidates(desc, self.mode)
    question = (desc.mission, desc.text, words)
    tally.questions.add(question)
    can = self._possible(desc, words)
    if self.learned and words:
      chosen = self.learned.choose(
          0, '\0'.join((desc.mission, desc.text, *words)), words, can,
          self._scores(desc, question, tally))
      self.now = question, chosen
    # A ranking holds while what is possible changes; any other choice is kept.
    elif self.now[0] != question or self.now[1] not in can or (
        len(can) < len(words) and self.provider is not None):
      self.now = question, self._choose(desc, question, can, tally)
    name = self.now[1]
    actions: Sequence[int] | np.ndarray
    if self.mode == 'action':
      actions = tuple(i for i, x in enumerate(desc.actions) if x == name)
    else:
      skills: dict[str | None, tuple[int, ...]] = {
          x.name: y for x, y in zip(desc.options, ground.legal(desc))}
      actions = skills.get(name, ())
    actions = actions or np.flatnonzero(ground.advisable(desc))
    return question, name, int(self.rng.choice(actions))

  def _possible(self, desc, words):
    """Returns the choices that can be begun now; all, where none can."""
    if self.mode == 'action':
      return words
    ways = {x.name: y for x, y in zip(desc.options, ground.legal(desc))}
    return tuple(x for x in words if ways.get(x)) or words

  def _choose(self, desc, question, can, tally):
    words = question[-1]
    if not words:
      return None
    if self.provider is None or len(words) == 1:
      return can[self.rng.integers(len(can))]
    scores = np.array([
        y if x in can else -math.inf
        for x, y in zip(words, self._scores(desc, question, tally))])
    return words[self.rng.choice(np.flatnonzero(scores == scores.max()))]

  def _scores(self, desc, question, tally):
    """Returns a question's scores, asked for once; None if nobody is."""
    words = question[-1]
    if self.provider is None or len(words) == 1:
      return None
    if question not in self.scores:
      self.scores[question] = self._ask(desc, words, tally)
    return self.scores[question]

  def _ask(self, desc, words, tally):
    """Returns the provider's scores; equal ones where it gives none."""
    query = types.Query(
        dataclasses.replace(desc, events=()), words, self.mode)
    start = time.perf_counter()
    tally.calls += 1
    try:
      reply = self.provider.ask(query)
      scores = [float(x) for x in reply.scores]
      if len(scores) != len(words) or not all(map(math.isfinite, scores)):
        raise errors.ParseError(f'Found {scores} for {len(words)} choices.')
    except errors.CallError as e:
      tally.failures += 1
      tally.last = tally.last or str(e)
      # An answer that can't be read is paid for all the same.
      tally.tokens += e.tokens or 0
      tally.money += e.money or 0.0
      return [0.0] * len(words)
    tally.seconds.append(time.perf_counter() - start)
    tally.tokens += (reply.tokens_in or 0) + (reply.tokens_out or 0)
    tally.money += reply.money or 0.0
    return scores


def play(env: Any, chooser: Chooser, episodes: int) -> Tally:
  """Plays episodes by advice alone. Returns a `Tally`."""
  tally = Tally(tells='log/success' in env.obs_space)
  for _ in range(episodes):
    obs = env.step({'action': 0, 'reset': True})
    total, length, won, at = 0.0, 0, False, None
    if chooser.learned:
      chooser.learned.begin(0)
    while not obs['is_last']:
      desc = types.Description.decode(obs['lore/state'])
      question, name, action = chooser(desc, tally)
      at = question, name
      start = time.perf_counter()
      obs = env.step({'action': action, 'reset': False})
      tally.step_ms.append(1e3 * (time.perf_counter() - start))
      if chooser.learned:
        chooser.learned.did(0, True)
        chooser.learned.step(0, float(obs['reward']), bool(obs['is_last']))
      total += float(obs['reward'])
      length += 1
      won = won or bool(obs.get('log/success', 0))
    done = {
        k.removeprefix(rollout.ACHIEVED): float(v) for k, v in obs.items()
        if k.startswith(rollout.ACHIEVED)}
    if not tally.tells:
      won = not obs['is_terminal'] if done else total > 0
    tally.unlocked.append(done)
    tally.wins.append(won)
    tally.returns.append(total)
    tally.lengths.append(length)
    tally.ends[at][0] += 1
    tally.ends[at][1] += not won
  return tally


def summarise(
    task: str, advice: str, tally: Tally, mode: str) -> dict[str, Any]:
  """Returns what was counted, as a dict that JSON can hold."""
  wins, count = sum(tally.wins), len(tally.wins)
  steps = sum(tally.lengths)
  success, interval = wins / count, list(curves.wilson(wins, count))
  names = list(tally.unlocked[0])
  score = {}
  if names:
    done = np.array([[x[k] for k in names] for x in tally.unlocked])
    value = curves.crafter_score(done.mean(0))
    low, high = resample(done, lambda x: curves.crafter_score(x.mean(0)))
    score = {
        'score': value, 'score_interval': [low, high],
        'unlocked': dict(zip(names, done.mean(0).tolist()))}
    success, interval = value / 100, [low / 100, high / 100]
  failed = sorted(tally.ends.items(), key=lambda x: (-x[1][1], repr(x[0])))
  return {
      'task': task, 'advice': advice, 'mode': mode,
      'success': success, 'interval': interval, **score,
      'tells_success': tally.tells, 'episodes': count,
      'return': float(np.mean(tally.returns)),
      'return_interval': list(resample(np.array(tally.returns), np.mean)),
      'length': float(np.mean(tally.lengths)),
      'questions': len(tally.questions), 'calls': tally.calls,
      'failures': tally.failures, 'failure': tally.last,
      'tokens': tally.tokens, 'money': tally.money,
      # At most: the later steps of a run meet few new questions.
      'money_run': tally.money * STEPS / max(1, steps),
      'call_seconds': float(np.median(tally.seconds or [0.0])),
      'step_ms': float(np.median(tally.step_ms)),
      'failed_at': [
          {'mission': q[0], 'known': q[1], 'choices': list(q[2]),
           'answer': name, 'failed': lost, 'ended': ended}
          for (q, name), (ended, lost) in failed[:5] if lost]}


def resample(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], Any]) -> tuple[float, float]:
  """Returns a 95 % percentile bootstrap over episodes: low and high.

  Args:
    values: One row an episode. Shape [N, ...].
    statistic: Function of such an array that returns a number.
  """
  if len(values) < 2:
    return float(statistic(values)), float(statistic(values))
  rng = np.random.default_rng(0)
  draws = [
      statistic(values[rng.integers(len(values), size=len(values))])
      for _ in range(RESAMPLES)]
  low, high = np.percentile(draws, [2.5, 97.5])
  return float(low), float(high)


def judge(
    config: Any, advice: str, episodes: int, seed: int,
    learn: bool = False) -> dict[str, Any]:
  """Plays one task by one advice.

  Args:
    config: The whole configuration; reads task, lore and the suite's block.
    advice: 'uniform' or a provider's name.
    episodes: How many, at least 1.
    seed: Which held-out layouts, and of what is drawn.
    learn: Whether choices are learned from, as with lore.experience.enabled.

  Returns:
    A dict, see `summarise`; with `learn` the figures of the last half of the
    episodes as well.

  Raises:
    ConfigError: An unknown advice.
    EnvError: The task can't be made, or has no words.
    AdvisorError: The provider can't be set up.
  """
  config = config.update({'lore.enabled': True, 'seed': seed})
  section, mode = config.lore.advisor, config.lore.advisor.mode
  provider = None
  if advice != UNIFORM:
    provider = providers.create(advice, section, seed)
  try:
    if provider is not None and registry.shows_pictures(config.lore.world):
      providers.check_sight([provider], config.lore.world)
    own = config.task.partition('_')[0] in worlds.SUITES
    env = worlds.make_as(own, config, 0, _fall_back, heldout=True)
    try:
      learned = Experience(seed) if learn and mode == 'subgoal' else None
      tally = play(env, Chooser(provider, mode, seed, learned), episodes)
    finally:
      env.close()
  finally:
    if provider is not None:
      provider.close()
  result = summarise(config.task, advice, tally, mode)
  if learned:
    late = summarise(config.task, advice, tally.late(), mode)
    result['late'] = {
        k: late[k] for k in (
            'success', 'interval', 'score', 'score_interval', 'return',
            'return_interval') if k in late}
  return result


def _fall_back(config, index, **overrides):
  """Makes an environment of upstream's, which needs all that it needs."""
  from .. import upstream
  upstream.check()
  overrides.pop('heldout', None)
  return upstream.unwrapped_env(config, index, **overrides)


def table(results: Iterable[Mapping[str, Any]]) -> str:
  """Returns results as a table, with where each advice failed."""
  lines = [
      f'{"task":<26}{"advice":<14}{"success":<26}{"length":>8}'
      f'{"questions":>11}{"calls":>7}{"s/call":>8}{"ms/step":>9}']
  for x in results:
    success = measure(x, x['tells_success'])
    lines.append(
        f'{x["task"].removeprefix("minigrid_"):<26}{x["advice"]:<14}'
        f'{success:<26}{x["length"]:>8.1f}{x["questions"]:>11}'
        f'{x["calls"]:>7}{x["call_seconds"]:>8.2f}{x["step_ms"]:>9.2f}')
    if 'late' in x:
      late = measure({**x, **x['late']}, x['tells_success'])
      lines.append(f'  last half of the episodes: {late}')
    if x['tokens']:
      lines.append(
          f'  {x["tokens"]:,} tokens, {x["money"]:.4f} dollars so far; a run '
          f'of {STEPS:,} steps costs at most {x["money_run"]:.2f} dollars')
    if 'unlocked' in x:
      lines.append(f'  mean return {x["return"]:.1f}; unlocked: '
          + curves.unlocked(x['unlocked']))
    if x['failures']:
      lines.append(
          f'  {x["failures"]} of {x["calls"]} calls failed: {x["failure"]}')
    for at in x['failed_at']:
      lines.append(
          f'  failed {at["failed"]} times: {at["mission"]}. {at["known"]} '
          f'-> {at["answer"]} (of {", ".join(at["choices"])})')
  return '\n'.join(lines)


def measure(x: Mapping[str, Any], tells: bool) -> str:
  """Returns a result's first outcome with its interval."""
  if 'score' in x:
    return f'score {x["score"]:.1f} % {span(x["score_interval"])}'
  if not tells:
    return f'return {x["return"]:.2f} {span(x["return_interval"], 2)}'
  return f'{x["success"]:.2f} {span(x["interval"], 2)}'


def span(interval: Iterable[float], digits: int = 1) -> str:
  """Returns an interval in brackets."""
  return '[' + ', '.join(f'{x:.{digits}f}' for x in interval) + ']'


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """Returns the options, and the flags that are left for the configuration."""
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin judge', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False)
  add = parser.add_argument
  add('tasks', nargs='+', metavar='TASK',
      help='such as DoorKey-8x8, crafter_symbolic, gymnasium_Taxi-v3')
  add('--advice', nargs='+', default=['scripted', UNIFORM],
      help='providers, one after another (scripted uniform)')
  add('--episodes', type=int, default=20, help='of each advice (20)')
  add('--seed', type=int, default=0,
      help='of held-out layouts and of what is drawn (0)')
  add('--experience', choices=('on', 'off'), default='off',
      help='learn from what choices led to (off)')
  add('--json', action='store_true', help='one JSON object a line')
  args, flags = parser.parse_known_args(argv)
  for name, least in (('episodes', 1), ('seed', 0)):
    if getattr(args, name) < least:
      raise errors.ConfigError(
          f'--{name} is {getattr(args, name)}, but must be at least {least}.')
  known = ['auto', *providers.names()]
  for name in args.advice:
    errors.choose(name, known, 'advice in --advice')
  return args, flags


def main(argv: Sequence[str] | None = None) -> None:
  """Plays each advice on each task, and prints what came of it.

  Raises:
    LoreError: A task, an advice or a flag can't be used.
  """
  args, flags = parse(sys.argv[1:] if argv is None else list(argv))
  blocks = configlib.load()
  results = []
  for task in args.tasks:
    if '_' not in task:
      task = f'minigrid_{task}'
    config = configlib.resolve([*flags, '--task', task], blocks)
    for advice in args.advice:
      try:
        results.append(judge(
            config, advice, args.episodes, args.seed, args.experience == 'on'))
      except errors.LoreError as e:
        if results and not args.json:
          print(table(results), flush=True)
        e.args = (f'{task}, advice {advice}: {e}',)
        raise
      if args.json:
        print(json.dumps(results[-1]), flush=True)
  if not args.json:
    print(table(results))
    print(f'\n{compare(results)}Next: {follow(results, flags)}')


def compare(results: Sequence[Mapping[str, Any]]) -> str:
  """Says so where no advice was better than any choice; else ''."""
  found: dict[str, dict[str, float]] = {}
  for x in results:
    found.setdefault(x['task'], {})[x['advice']] = value(x)
  worse = [
      task for task, by in found.items() if len(by) > 1 and UNIFORM in by
      and by[UNIFORM] >= max(v for k, v in by.items() if k != UNIFORM)]
  return worse and (
      f'In {", ".join(worse)} no advice was better than any choice. Another '
      'model may be, or a world with `examples` (docs/worlds.md); experience '
      'makes up for some of it (--experience on).\n') or ''


def value(x: Mapping[str, Any]) -> float:
  """Returns a result's first outcome."""
  return x.get('score', x['success'] if x['tells_success'] else x['return'])


def follow(results: Sequence[Mapping[str, Any]], flags: Iterable[str]) -> str:
  """Returns the command that trains on the first task with its best advice."""
  task = results[0]['task']
  best = max((x for x in results if x['task'] == task), key=value)
  block = (
      'crafter_small' if task == 'crafter_symbolic' else
      'crafter' if task.startswith('crafter_') else 'minigrid')
  return shlex.join([
      'python', '-m', 'lore_plugin', '--configs', block, 'lore', '--task',
      task, '--lore.advisor.provider', best['advice'], *flags])
