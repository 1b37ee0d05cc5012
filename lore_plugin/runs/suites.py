"""Suites: which runs an experiment is made of, as a YAML file.

  name: example
  about: What the suite asks, in one sentence.
  steps: 8000                      # or one number a task
  seeds: 5                         # 0 to 4; or a list
  tasks: [minigrid_DoorKey-5x5]
  configs: [minigrid]              # of arms that name none
  overrides: {lore.kl.lr: 1e-3}    # flags of every run
  env: {NAME: value}               # environment variables of every run
  share: none                      # none, file or service; see below
  budget: {calls: 500}             # of what is shared: calls, tokens, money
  arms:
    rl-only: {}
    lore: {configs: [minigrid, lore], overrides: {lore.kl.target: 0.1}}

An arm's overrides come after the suite's; an arm may set `share` of its own.

Runs of arms that ask the same advisor may share replies and one budget: `file`
is one store for all of them, `service` one server process. An arm whose advice
depends on the seed (random, shuffled) never shares, as its seeds would no
longer be independent; neither should an arm that is about when to call.
"""

import dataclasses
import hashlib
import json
import pathlib
import re

from .. import config as configlib
from .. import errors
from ..advisor import providers

KEYS = (
    'name', 'about', 'steps', 'seeds', 'tasks', 'configs', 'overrides', 'env',
    'share', 'budget', 'arms')
ARM = ('configs', 'overrides', 'share')
SHARE = ('none', 'file', 'service')
BUDGET = ('calls', 'tokens', 'money')

# What the plan sets for each run, by the flag's name.
GIVEN = ('configs', 'logdir', 'seed', 'task', 'run.steps')
# Where a run's advice is kept; set for arms that share.
PLACE = ('store', 'account', 'address')
# Their advice is drawn by the run's seed.
SEEDED = ('random', 'shuffled')


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
  """One configuration that a suite compares.

  Attributes:
    name: Its name, also that of a folder.
    configs: Blocks given to --configs.
    overrides: Further flags, without dashes, and their values.
    share: What its runs share: 'none', 'file' or 'service'.
  """
  name: str
  configs: tuple[str, ...]
  overrides: dict
  share: str

  def flags(self):
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
    budget: Caps on what is shared, as in `BUDGET`.
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
  def folder(self):
    """Path of the logdir below the suite's folder."""
    return pathlib.PurePath(self.arm.name, self.task, str(self.seed))

  def flags(self):
    """Returns all arguments but the logdir and the place of advice."""
    return [
        *self.arm.flags(), '--task', self.task, '--seed', str(self.seed),
        '--run.steps', str(self.steps)]

  def __str__(self):
    return f'{self.arm.name} {self.task} seed {self.seed}'


def names():
  """Returns the names of the suites that ship, sorted."""
  return sorted(
      x.stem for x in configlib.folder('runs/shipped').glob('*.yaml'))


def load(name, arms=None, seeds=None, steps=None, tasks=None):
  """Reads a suite.

  Args:
    name: A suite that ships, or the path of a YAML file.
    arms: Names of the arms to keep; None keeps all.
    seeds: Seeds that replace the suite's.
    steps: Environment steps that replace the suite's.
    tasks: Names of the tasks that replace the suite's.

  Raises:
    ConfigError: No such suite, or a mistake in it.
  """
  path = pathlib.Path(name)
  if path.suffix not in ('.yaml', '.yml'):
    if name not in names():
      raise errors.ConfigError(
          f'Unknown suite {str(name)!r}. Choose from: {", ".join(names())}; '
          'or give the path of a .yaml file.')
    path = configlib.folder('runs/shipped') / f'{name}.yaml'
  data = read(path)
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
  suite = parse(data, str(path))
  if arms is not None:
    known = [x.name for x in suite.arms]
    for arm in arms:
      errors.choose(arm, known, f'arm of {suite.name}')
    suite = dataclasses.replace(
        suite, arms=tuple(x for x in suite.arms if x.name in arms))
  return suite


def read(path):
  """Reads a suite's file as plain values.

  Raises:
    ConfigError: It can't be read, or names something twice.
  """
  import ruamel.yaml
  try:
    data = ruamel.yaml.YAML(typ='safe').load(
        path.read_text(encoding='utf-8'))
  except ruamel.yaml.constructor.DuplicateKeyError as e:
    found = re.search(r'duplicate key "([^"]*)"', str(e))
    line = e.problem_mark.line + 1 if e.problem_mark else '?'
    raise errors.ConfigError(
        f'{path} names {found.group(1) if found else "a key"!r} twice (line '
        f'{line}). Every arm and key needs a name of its own.') from e
  except (OSError, UnicodeDecodeError, ruamel.yaml.YAMLError) as e:
    raise errors.ConfigError(f'Can\'t read the suite {path}: {e}') from e
  if not isinstance(data, dict):
    raise errors.ConfigError(
        f'{path} must hold keys and values: {", ".join(KEYS)}.')
  return data


def parse(data, where='the suite'):
  """Checks the values of a suite's file.

  Args:
    data: The file's content.
    where: What to call it in messages.

  Raises:
    ConfigError: What is wrong, what is allowed.
  """
  _known(data, KEYS, where)
  for key in ('name', 'steps', 'seeds', 'tasks', 'arms'):
    if key not in data:
      raise errors.ConfigError(f'{where} lacks the key {key!r}.')
  name = _name(data['name'], f'name in {where}')
  seeds = _seeds(data['seeds'], where)
  tasks = _texts(data['tasks'], f'tasks in {where}')
  if not tasks:
    raise errors.ConfigError(
        f'{where} has no tasks. Give at least one: '
        'tasks: [minigrid_DoorKey-5x5]')
  configs = _texts(data.get('configs', []), f'configs in {where}')
  share = errors.choose(
      str(data.get('share', 'none')), SHARE, f'value of share in {where}')
  arms = data['arms']
  if not isinstance(arms, dict) or not arms:
    raise errors.ConfigError(
        f'{where} needs arms: names, each with configs and overrides.')
  common = _mapping(data.get('overrides'), f'overrides in {where}')
  found = []
  for key, value in arms.items():
    place = f'arm {key!r} of {where}'
    value = _mapping(value, place)
    _known(value, ARM, place)
    overrides = {
        **common, **_mapping(value.get('overrides'), f'overrides of {place}')}
    for flag in overrides:
      _free(str(flag), place)
    blocks = _texts(value.get('configs', configs), f'configs of {place}')
    if not blocks:
      raise errors.ConfigError(
          f'{place} has no configs. Give some: configs: [minigrid, lore]')
    found.append(Arm(
        _name(key, f'name of {place}'), tuple(blocks),
        {str(k): v for k, v in overrides.items()},
        errors.choose(
            str(value.get('share', share)), SHARE,
            f'value of share in {place}')))
  budget = _mapping(data.get('budget'), f'budget in {where}')
  _known(budget, BUDGET, f'budget in {where}')
  for key, value in budget.items():
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      raise errors.ConfigError(
          f'budget.{key} in {where} is {value!r}, but must be a number.')
  env = _mapping(data.get('env'), f'env in {where}')
  return Suite(
      name, str(data.get('about', '')), tuple(found), seeds, tuple(tasks),
      _steps(data['steps'], tasks, where),
      {str(k): str(v) for k, v in env.items()}, budget)


def runs(suite):
  """Returns the runs of a suite: seed by seed, so that arms grow together."""
  return [
      Run(suite.name, arm, task, seed, suite.steps[task])
      for seed in suite.seeds for task in suite.tasks for arm in suite.arms]


def resolve(suite, blocks=None):
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
  found, seen = {}, {}
  for arm in suite.arms:
    for task in suite.tasks:
      run = Run(suite.name, arm, task, suite.seeds[0], suite.steps[task])
      try:
        config = configlib.resolve(run.flags(), blocks)
      except errors.ConfigError as e:
        raise errors.ConfigError(
            f'Arm {arm.name!r} of {suite.name}: {e}') from e
      digest = fingerprint(config)
      other = seen.setdefault((task, digest), arm.name)
      if other != arm.name:
        raise errors.ConfigError(
            f'The arms {other!r} and {arm.name!r} of {suite.name} have the '
            f'same configuration. Remove one of them.')
      found[arm.name, task] = config
  return found


def fingerprint(config):
  """Names what a run computes: its configuration but for place and length."""
  flat = {
      k: v for k, v in config.flat.items()
      if k not in ('logdir', 'run.steps', 'seed')
      and not k.startswith(tuple(f'lore.advisor.{x}' for x in PLACE))}
  text = json.dumps(flat, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def sharing(arm, config):
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
  asked = [providers.resolve(x.strip()) for x in section.provider.split(',')]
  if any(x in SEEDED for x in asked):
    return 'none', ''
  # What makes replies what they are; how often they are asked is the run's.
  who = {
      k: section[k] for k in ('model', 'mode', 'url')}
  text = json.dumps([asked, who], sort_keys=True, default=str)
  digest = hashlib.sha256(text.encode()).hexdigest()[:6]
  return arm.share, f'{"-".join(asked)}-{section.mode}-{digest}'


def _known(mapping, allowed, where):
  for key in mapping:
    errors.choose(key, allowed, f'key in {where}:')


def _name(value, where):
  if not re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9._+-]*', str(value)):
    raise errors.ConfigError(
        f'The {where} is {value!r}, but it becomes the name of a folder: '
        'letters, digits and . _ + -')
  return str(value)


def _mapping(value, where):
  if value is None:
    return {}
  if not isinstance(value, dict):
    raise errors.ConfigError(
        f'{where} must be keys with values, not {value!r}.')
  return value


def _texts(value, where):
  if not isinstance(value, (list, tuple)) or not all(
      isinstance(x, str) for x in value):
    raise errors.ConfigError(f'{where} must be a list of names: [a, b].')
  twice = [x for x in value if list(value).count(x) > 1]
  if twice:
    raise errors.ConfigError(f'{where} holds {twice[0]!r} twice.')
  return list(value)


def _seeds(value, where):
  whole = lambda x: isinstance(x, int) and not isinstance(x, bool) and x >= 0
  if whole(value):
    value = list(range(value))
  if not isinstance(value, list) or not all(map(whole, value)):
    raise errors.ConfigError(
        f'seeds in {where} must be a count or a list of whole numbers of at '
        f'least 0, not {value!r}.')
  if not value:
    raise errors.ConfigError(
        f'{where} has no seeds. Give a count or a list: seeds: 5')
  if len(set(value)) < len(value):
    raise errors.ConfigError(f'seeds in {where} holds a seed twice: {value}.')
  return tuple(value)


def _steps(value, tasks, where):
  table = value if isinstance(value, dict) else dict.fromkeys(tasks, value)
  for task in tasks:
    steps = table.get(task)
    # YAML reads 1e4 as a number with a point, or as text.
    if isinstance(steps, bool) or not isinstance(
        steps, (int, float)) or steps < 1 or steps != int(steps):
      raise errors.ConfigError(
          f'steps of {task} in {where} is {steps!r}, but must be a whole '
          'number of at least 1.')
  extra = [x for x in table if x not in tasks]
  if extra:
    raise errors.ConfigError(
        f'steps in {where} names {extra[0]!r}, which is none of its tasks.')
  return {x: int(table[x]) for x in tasks}


def _free(flag, where):
  """Raises for flags that are not an arm's to set."""
  if flag in GIVEN:
    raise errors.ConfigError(
        f'{where} overrides {flag}, which comes from the suite\'s own keys.')
  if flag in {f'lore.advisor.{x}' for x in PLACE}:
    raise errors.ConfigError(
        f'{where} overrides {flag}; where advice is kept follows from share.')
