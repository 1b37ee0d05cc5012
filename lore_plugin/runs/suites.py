"""Suites: which runs an experiment is made of, as a YAML file.

  name: example
  about: What the suite asks, in one sentence.
  steps: 8000                      # or one number a task
  seeds: 5                         # 0 to 4; or a list
  tasks: [minigrid_DoorKey-5x5]
  configs: [minigrid]              # of arms that name none
  overrides: {lore.kl.lr: 1e-3}    # flags of every run
  env: {NAME: value}               # environment variables of every run
  alone_every: 1000                # evaluate without advice as often; 0: never
  share: none                      # none, file or service; see below
  budget: {calls: 500}             # of what is shared: calls, tokens, money
  arms:
    rl-only: {}
    lore: {configs: [minigrid, lore], overrides: {lore.kl.target: 0.1}}

An arm's overrides come after the suite's; an arm may set `share` of its own.
`rival: follow-then-distil 2000` puts a rule of `rivals` into the place of the
trust control, `adversary: turns 3000` one of `adversaries` before the advice.

Runs of arms that ask the same advisor may share replies and one budget: `file`
is one store for all of them, `service` one server process. An arm whose advice
depends on the seed (flawed, random, shuffled) never shares, as its seeds would
no longer be independent; neither should an arm that is about when to call.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import urllib.parse
from collections.abc import Sequence
from typing import Any, TypeVar

from .. import config as configlib
from .. import errors
from .. import logdir as places
from ..advisor import providers
from . import files
from . import models

# What the plan sets for each run, by the flag's name.
GIVEN = ('configs', 'logdir', 'seed', 'task', 'run.steps')
# Where a run's advice is kept; set for arms that share.
PLACE = ('store', 'account', 'address')
# Their advice is drawn by the run's seed.
SEEDED = ('flawed', 'random', 'shuffled')
PROVIDER = 'lore.advisor.provider'
PARTS = ('rival', 'adversary')
Folder = TypeVar('Folder', bound=pathlib.PurePath)


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
  """One configuration that a suite compares.

  Attributes:
    name: Its name, also that of a folder.
    configs: Blocks given to --configs.
    overrides: Further flags, without dashes, and their values.
    share: What its runs share: 'none', 'file' or 'service'.
    replaced: Its `PARTS` that are not LoRe's, see `runs.replaced`.
  """
  name: str
  configs: tuple[str, ...]
  overrides: dict
  share: str
  replaced: dict[str, str] = dataclasses.field(default_factory=dict)

  def flags(self) -> list[str]:
    """Returns its arguments as the command line takes them."""
    out = ['--configs', *self.configs]
    for key, value in self.overrides.items():
      values = value if isinstance(value, (list, tuple)) else [value]
      out += [f'--{key}', *map(str, values)]
    return out


@dataclasses.dataclass(frozen=True, slots=True)
class Suite:
  """An experiment.

  Attributes:
    name: Its name, also that of a folder.
    about: What it asks, in one sentence.
    arms: The arms, in the order of the file.
    seeds: Seeds, each used by every arm and task.
    tasks: Tasks.
    steps: Environment steps of a run, by task.
    env: Environment variables of every run.
    budget: Caps on what is shared, as in `files.Budget`.
  """
  name: str
  about: str
  arms: tuple[Arm, ...]
  seeds: tuple[int, ...]
  tasks: tuple[str, ...]
  steps: dict
  env: dict
  budget: dict


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
  """One training run of a suite.

  Attributes:
    suite: Name of the suite.
    arm: The arm.
    task: The task.
    seed: The seed.
    steps: Environment steps.
  """
  suite: str
  arm: Arm
  task: str
  seed: int
  steps: int

  @property
  def folder(self) -> pathlib.PurePath:
    """Path of the logdir below the suite's folder."""
    return place(
        pathlib.PurePath(), self.arm.name, self.task, self.seed)

  def flags(self) -> list[str]:
    """Returns all arguments but the logdir and the place of advice."""
    return [
        *self.arm.flags(), '--task', self.task, '--seed', str(self.seed),
        '--run.steps', str(self.steps)]

  def __str__(self):
    return f'{self.arm.name} {self.task} seed {self.seed}'


def place(root: Folder, arm: str, task: str, seed: int) -> Folder:
  """Returns the folder of a run, one level a name, below a suite's."""
  # A task may have slashes in its name.
  return root / arm / urllib.parse.quote(task, safe=':+') / str(seed)


def names() -> list[str]:
  """Returns the names of the suites that ship, sorted."""
  return sorted(
      x.stem for x in configlib.folder('runs/shipped').glob('*.yaml'))


def load(
    name: str | os.PathLike, arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None, steps: int | None = None,
    tasks: Sequence[str] | None = None,
    alone_every: int | None = None) -> Suite:
  """Reads a suite.

  Args:
    name: A suite that ships, or the path of a YAML file.
    arms: Names of the arms to keep; None keeps all.
    seeds: Seeds that replace the suite's.
    steps: Environment steps that replace the suite's.
    tasks: Names of the tasks that replace the suite's.
    alone_every: Steps between evaluations that replace the suite's.

  Raises:
    ConfigError: No such suite, or a mistake in it.
  """
  path = pathlib.Path(name)
  if path.suffix in ('.yaml', '.yml'):
    path = places.expand(name)
  elif name in names():
    path = configlib.folder('runs/shipped') / f'{name}.yaml'
  else:
    raise errors.ConfigError(
        f'Unknown suite {str(name)!r}. Choose from: {", ".join(names())}; '
        'or give the path of a .yaml file.')
  data = files.read(path)
  if tasks is not None:
    keep = data.get('steps')
    data['tasks'] = list(tasks)
    if isinstance(keep, dict):
      missing = [x for x in tasks if x not in keep]
      if missing and steps is None:
        raise errors.ConfigError(
            f'{path} tells no steps for {missing[0]}. Type --steps N.')
      data['steps'] = {k: v for k, v in keep.items() if k in tasks}
  if steps is not None:
    data['steps'] = steps
  if seeds is not None:
    data['seeds'] = list(seeds)
  if alone_every is not None:
    data['alone_every'] = alone_every
  return only(parse(data, str(path)), arms)


def only(
    suite: Suite, arms: Sequence[str] | None,
    tasks: Sequence[str] | None = None) -> Suite:
  """Returns a suite with some of its arms and tasks; all for None."""
  known = [x.name for x in suite.arms]
  for arm in arms or ():
    errors.choose(arm, known, f'arm of {suite.name}')
  return dataclasses.replace(
      suite, tasks=suite.tasks if tasks is None else tuple(tasks),
      arms=tuple(x for x in suite.arms if arms is None or x.name in arms))


def parse(data: Any, where: str = 'the suite') -> Suite:
  """Checks the values of a suite's file.

  Args:
    data: The file's content.
    where: What to call it in messages.

  Raises:
    ConfigError: What is wrong, what is allowed.
  """
  file = models.check(files.SuiteFile, data, where)
  arms = []
  for name, arm in file.arms.items():
    arm = arm or files.ArmFile()
    place = f'arm {name!r} of {where}'
    blocks = file.configs if arm.configs is None else arm.configs
    if not blocks:
      raise errors.ConfigError(
          f'{place} has no configs. Give some: configs: [minigrid, lore]')
    overrides = {**(file.overrides or {}), **(arm.overrides or {})}
    if file.alone_every:
      overrides = {'lore.heldout_every': file.alone_every, **overrides}
    for flag in overrides:
      _free(flag, place)
    replaced = {x: y for x in PARTS if (y := getattr(arm, x))}
    if replaced:
      from . import replaced as others  # With the agent, and jax.
      others.check(replaced)
    arms.append(Arm(
        name, tuple(blocks), overrides, arm.share or file.share, replaced))
  return Suite(
      file.name, file.about, tuple(arms), tuple(file.seeds),
      tuple(file.tasks), _steps(file.steps, file.tasks, where),
      {k: str(v) for k, v in (file.env or {}).items()},
      file.budget.model_dump(exclude_none=True))


def runs(suite: Suite) -> list[Run]:
  """Returns the runs of a suite: seed by seed, so that arms grow together."""
  return [
      Run(suite.name, arm, task, seed, suite.steps[task])
      for seed in suite.seeds for task in suite.tasks for arm in suite.arms]


def settle(suite: Suite) -> Suite:
  """Replaces `auto` by the provider that it stands for on this machine.

  So that all runs are advised by the same, wherever they are executed: a
  worker elsewhere may lack the key. Call it before anything else.
  """
  blocks = configlib.load()
  arms = []
  for arm in suite.arms:
    run = Run(suite.name, arm, suite.tasks[0], 0, 1)
    config = configlib.resolve(run.flags(), blocks)
    said = str(config.lore.advisor.provider)
    found = ','.join(asked(said))
    if config.lore.enabled and found != said:
      arm = dataclasses.replace(
          arm, overrides={**arm.overrides, PROVIDER: found})
    arms.append(arm)
  return dataclasses.replace(suite, arms=tuple(arms))


def asked(provider: str) -> list[str]:
  """Returns the providers that `lore.advisor.provider` stands for here."""
  return [providers.resolve(x.strip()) for x in provider.split(',')]


def resolve(
    suite: Suite, blocks: dict[str, dict] | None = None
) -> dict[tuple[str, str], Any]:
  """Resolves the configuration of every arm and task, as a run would.

  Args:
    suite: The suite.
    blocks: What `config.load` returned; None loads it.

  Returns:
    Dictionary from (arm, task) to elements.Config.

  Raises:
    ConfigError: A key or value is wrong, or two arms are the same.
  """
  blocks = configlib.load() if blocks is None else blocks
  found: dict[tuple[str, str], Any] = {}
  seen: dict[tuple[str, str], str] = {}
  for arm in suite.arms:
    for task in suite.tasks:
      run = Run(suite.name, arm, task, suite.seeds[0], suite.steps[task])
      try:
        config = configlib.resolve(run.flags(), blocks)
      except errors.ConfigError as e:
        raise errors.ConfigError(
            f'Arm {arm.name!r} of {suite.name}: {e}') from e
      if arm.replaced and (not config.lore.enabled or config.random_agent):
        raise errors.ConfigError(
            f'Arm {arm.name!r} of {suite.name} has '
            f'{" and ".join(arm.replaced)}, which replace parts of LoRe, but '
            'is not advised. Add lore to its configs.')
      digest = fingerprint(config, arm.replaced)
      other = seen.setdefault((task, digest), arm.name)
      if other != arm.name:
        raise errors.ConfigError(
            f'The arms {other!r} and {arm.name!r} of {suite.name} have the '
            f'same configuration. Remove one of them.')
      found[arm.name, task] = config
  return found


def fingerprint(config: Any, replaced: dict[str, str] | None = None) -> str:
  """Names what a run computes: its configuration but for place and length.

  Args:
    config: The whole configuration.
    replaced: As of `Arm`.
  """
  flat = {
      k: v for k, v in config.flat.items()
      if k not in ('logdir', 'run.steps', 'seed')
      and not k.startswith(tuple(f'lore.advisor.{x}' for x in PLACE))}
  flat.update(replaced or {})
  text = json.dumps(flat, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def sharing(arm: Arm, config: Any) -> tuple[str, str]:
  """Returns what an arm's runs share, and under which name.

  Args:
    arm: The arm.
    config: Its configuration.

  Returns:
    ('none', '') or the kind and a name that arms have in common which ask the
    same provider in the same way.
  """
  if arm.share == 'none' or not config.lore.enabled or config.random_agent:
    return 'none', ''
  section = config.lore.advisor
  who = asked(section.provider)
  if any(x in SEEDED for x in who):
    return 'none', ''
  # What makes replies what they are; how often they are asked is the run's.
  how = {k: section[k] for k in ('model', 'mode', 'url')}
  text = json.dumps([who, how], sort_keys=True, default=str)
  digest = hashlib.sha256(text.encode()).hexdigest()[:6]
  return arm.share, f'{"-".join(who)}-{section.mode}-{digest}'


def _steps(value, tasks, where):
  table = value if isinstance(value, dict) else dict.fromkeys(tasks, value)
  for task in tasks:
    if task not in table:
      raise errors.ConfigError(
          f'{where} tells no steps of {task}, but must: a whole number of at '
          'least 1.')
  extra = [x for x in table if x not in tasks]
  if extra:
    raise errors.ConfigError(
        f'steps in {where} names {extra[0]!r}, which is none of its tasks.')
  return {x: table[x] for x in tasks}


def _free(flag, where):
  """Raises for flags that are not an arm's to set."""
  if flag in GIVEN:
    raise errors.ConfigError(
        f'{where} overrides {flag}, which comes from the suite\'s own keys.')
  if flag in {f'lore.advisor.{x}' for x in PLACE}:
    raise errors.ConfigError(
        f'{where} overrides {flag}; where advice is kept follows from share.')
