"""What LoRe relies on in other people's code, and the checks that it is there.

`TABLE` names everything of dreamerv3, embodied, elements, portal, ninjax and
jax that is called, rebound or overridden here beyond the documented use of the
last three. What can be seen cheaply is checked at each start with `lore`; the
rest has a test. Only what is used counts: arguments that a user added and that
have defaults, methods that are inherited and names that nobody here reads are
no change.
"""

import dataclasses
import importlib
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

from .. import errors
from .find import INSTALL
from .find import KNOWN
from .find import Upstream
from .find import find
from .run import module as load


@dataclasses.dataclass(frozen=True, slots=True)
class Touch:
  """One thing that is relied on.

  Attributes:
    name: Where it is, as in 'dreamerv3.main:make_env'.
    relied: What is relied on, in words.
    check: Returns what is wrong, or ''. None where only a test can tell.
    test: The test that shows it.
  """
  name: str
  relied: str
  check: Callable[[], str] | None = None
  test: str = ''


def resolve(name: str) -> Any:
  """Returns what a name stands for, None if there is no such thing."""
  place, _, path = name.partition(':')
  found: Any = load(place) if place == 'dreamerv3.main' else (
      importlib.import_module(place))
  for part in filter(None, path.split('.')):
    found = inspect.getattr_static(found, part, None) if (
        part == '__new__') else getattr(found, part, None)
  return getattr(found, '__func__', found)


def there(name: str, relied: str, *attributes: str, test: str = '') -> Touch:
  """A row: something exists, with attributes."""
  def check():
    found = resolve(name)
    if found is None:
      return f'{name} is missing'
    lost = [x for x in attributes if not hasattr(found, x)]
    return f'{name} has no {lost[0]}' if lost else ''
  return Touch(name, relied, check, test)


def takes(
    name: str, relied: str, *args: str, test: str = '',
    **kwargs: str) -> Touch:
  """A row: something can be called so, by position and by name."""
  def check():
    found = resolve(name)
    if found is None:
      return f'{name} is missing'
    signature = inspect.signature(found)
    try:
      signature.bind(*args, **kwargs)
    except TypeError as e:
      given = ', '.join([*args, *(f'{k}=' for k in kwargs)])
      return (
          f'{name} takes {signature}, but is called with ({given}): {e}')
    return ''
  return Touch(name, relied, check, test)


def uses(name: str, relied: str, *words: str, test: str = '') -> Touch:
  """A row: a function, or what it calls of its class, names words."""
  def check():
    found = resolve(name)
    if found is None:
      return f'{name} is missing'
    method = name.partition(':')[2].rpartition('.')
    owner = resolve(f'{name.partition(":")[0]}:{method[0]}')
    known = reached(owner, method[2]) if inspect.isclass(owner) else (
        spoken(getattr(inspect.unwrap(found), '__code__', None)))
    lost = [x for x in words if x not in known]
    return f'{name} does not use {lost[0]}' if lost else ''
  return Touch(name, relied, check, test)


def parameters(name: str, relied: str, *words: str, test: str = '') -> Touch:
  """A row: a function has parameters of these names."""
  def check():
    found = resolve(name)
    if found is None:
      return f'{name} is missing'
    known = inspect.signature(found).parameters
    lost = [x for x in words if x not in known]
    return (
        f'{name} takes ({", ".join(known)}), none of it {lost[0]}'
        if lost else '')
  return Touch(name, relied, check, test)


def spoken(code: Any) -> set[str]:
  """Returns the names and texts in compiled code, inner functions too."""
  found, left = set(), [code]
  while left:
    x = left.pop()
    if isinstance(x, types.CodeType):
      found |= {*x.co_names, *x.co_varnames}
      left += x.co_consts
    elif isinstance(x, (tuple, frozenset)):
      left += x
    elif isinstance(x, str):
      found.add(x)
  return found


def reached(owner: type, method: str) -> set[str]:
  """Returns what a method and the methods that it names speak of.

  Methods are those of the class and of the classes it inherits from, but not
  of embodied's, which are the same whatever is inherited.
  """
  layers = [
      vars(x) for x in owner.__mro__ if x is owner
      or not x.__module__.startswith(('embodied', 'builtins'))]
  found, seen, left = set(), set(), {method}
  while left:
    name = left.pop()
    seen.add(name)
    for layer in layers:
      function = layer.get(name)
      function = getattr(function, 'fget', function)
      code = getattr(inspect.unwrap(function), '__code__', None) if (
          callable(function)) else None
      found |= spoken(code)
    left |= {
        x for x in found if any(x in layer for layer in layers)} - seen
  return found


def _place():
  known = find().version != 'unknown'
  return '' if known else (
      'embodied/run/train.py keeps its checkpoints elsewhere')


def _names():
  import elements.checkpoint
  import elements.utils
  if getattr(elements.checkpoint, 'utils', None) is not elements.utils:
    return 'elements.checkpoint does not name by elements.utils.timestamp'
  return ''


AGENT = 'dreamerv3.agent:Agent'
SAMPLING = uses(
    f'{AGENT}.policy', 'draws by the function `sample` (evaluate)', 'sample',
    test='test_evaluate')
TABLE = (
    # dreamerv3.main
    takes('dreamerv3.main:main', 'runs on a list of flags', 'argv'),
    uses('dreamerv3.main:main',
         'looks up its parts and its folder when it runs',
         'folder', 'make_agent', 'make_env', 'make_logger', 'make_replay'),
    uses('dreamerv3.main:main',
         'tells portal what to call first in each process', 'setup',
         test='test_launch: test_children_install_first'),
    takes('dreamerv3.main:make_agent', 'builds the agent of a configuration',
          'config'),
    uses('dreamerv3.main:make_agent',
         'takes the class Agent from dreamerv3.agent, and spaces from '
         'make_env', 'Agent', 'make_env'),
    takes('dreamerv3.main:make_env', 'builds environment number `index`',
          'config', 'index'),
    uses('dreamerv3.main:make_env', 'puts wrappers around by wrap_env',
         'wrap_env'),
    takes('dreamerv3.main:wrap_env', 'wraps an environment', 'env', 'config'),
    takes('dreamerv3.main:make_logger', 'builds the logger', 'config'),
    uses('dreamerv3.main:make_replay',
         'takes Replay from embodied.replay (lore.deterministic)', 'Replay',
         test='test_exact'),
    # dreamerv3.agent
    takes(f'{AGENT}.__init__', 'is called by our subclass', 'self',
          'obs_space', 'act_space', 'config'),
    uses(f'{AGENT}.__init__', 'makes the actor, the critic and features',
         'pol', 'val', 'feat2tensor', 'dyn', 'dec', 'rew', 'con', 'valnorm'),
    takes(f'{AGENT}.policy', 'is called by our subclass', 'self', 'carry',
          'obs', 'mode'),
    uses(f'{AGENT}.policy', 'acts by the head `pol`', 'pol',
         test='test_agent'),
    SAMPLING,
    takes(f'{AGENT}.train', 'is called by our subclass', 'self', 'carry',
          'data'),
    takes(f'{AGENT}.loss', 'is called by our subclass', 'self', 'carry',
          'obs', 'prevact', 'training'),
    uses(f'{AGENT}.loss',
         'returns loss, (carry, entries, outs, metrics) with replayed '
         'features in outs; imagines by the head `pol`', 'repfeat', 'pol',
         test='test_agent'),
    there(f'{AGENT}.policy_keys', 'is a pattern of parameters for acting'),
    takes('dreamerv3.rssm:RSSM.imagine', 'imagines steps', 'self', 'carry',
          'policy', 'length', 'training', single='single'),
    there('dreamerv3.rssm:RSSM.entry_space', 'gives the shape of a state'),
    # embodied.jax
    takes('embodied.jax:Agent.__new__', 'builds outer and inner agent',
          'subcls', 'obs_space', 'act_space', 'config'),
    takes('embodied.jax:Agent.policy', 'acts for many environments', 'self',
          'carry', 'obs', 'mode'),
    uses('embodied.jax:Agent.policy',
         'counts its draws in n_actions, takes what was learned from '
         'pending_sync (lore.heldout_every)', 'n_actions', 'pending_sync',
         test='test_exact'),
    takes('embodied.jax:Agent.train', 'learns from a batch', 'self', 'carry',
          'data'),
    uses('embodied.jax:Agent.save', 'saves params and counters', 'params',
         'counters'),
    takes('embodied.jax:Agent.load', 'loads them, or some by a pattern',
          'self', 'data', regex='regex'),
    uses('embodied.jax:Agent.stream',
         'takes Prefetch from embodied.streams (lore.deterministic)',
         'Prefetch', test='test_exact'),
    uses('embodied.jax:Agent.stream',
         'counts the batches that it makes (lore.deterministic)', 'n_batches',
         test='test_exact'),
    takes('embodied.jax:Agent.report', 'evaluates a batch', 'self', 'carry',
          'data', test='test_exact'),
    uses('embodied.jax:Agent.__new__', 'sets up jax by internal.setup',
         'internal', 'setup'),
    there('embodied.jax.internal:setup', 'sets XLA_FLAGS'),
    there('embodied.jax.internal:get_data_axes',
          'names the axes of data-parallel devices',
          test='test_modules'),
    there('embodied.jax:Optimizer',
          'takes modules, an optax chain, summary_depth and name; calling it '
          'steps on a loss', test='test_modules'),
    takes('embodied.jax.outs:Categorical',
          'is a distribution over actions with logits, minent, maxent',
          'logits', test='test_agent'),
    # embodied
    takes('embodied:streams.Map', 'maps a stream', 'source', 'fn'),
    there('embodied:Agent', 'is the interface of agents', 'policy', 'train',
          'report', 'stream', 'save', 'load'),
    there('embodied:Env', 'is the interface of environments', 'obs_space',
          'act_space', 'step', 'close'),
    there('embodied:wrappers.Wrapper', 'passes on what it wraps'),
    parameters('embodied:replay.Replay',
               'saves at once with save_wait; names chunks by the time',
               'directory', 'save_wait', test='test_names'),
    takes('embodied:replay.Replay.sample', 'draws a batch', 'self', 'batch',
          'mode', test='test_exact'),
    uses('embodied:replay.Replay.__init__',
         'draws from items by sampler (lore.deterministic)', 'sampler',
         'items', 'itemid', test='test_exact'),
    there('embodied:replay.selectors.Uniform', 'draws each item alike',
          '__setitem__', '__call__', test='test_exact'),
    parameters('embodied.run:train',
               'makes agent, replay and logger by its arguments',
               'make_agent', 'make_replay', 'make_logger'),
    Touch('embodied.run', 'keeps checkpoints where we look for them', _place,
          'test_train'),
    there('embodied:Driver._env_server',
          'serves an environment to a process, given something that ends it',
          test='test_train'),
    # elements
    there('elements:Checkpoint',
          'saves each thing into a folder named by the time, and keeps some',
          'save', 'load', 'latest', '_cleanup', test='test_names'),
    uses('elements:Checkpoint.__init__', 'knows its folder and how many to '
         'keep', '_directory', '_keep', test='test_names'),
    Touch('elements.utils:timestamp', 'names the checkpoints', _names,
          'test_names'),
    takes('elements:Agg.add', 'aggregates numbers', 'self', 'key', 'value',
          'agg', 'prefix', test='test_upstream: test_agg...'),
    there('elements:Config', 'is a flat configuration', 'flat', 'update',
          'load', 'save'),
    takes('elements:Flags.parse_known', 'reads flags', 'self', 'argv',
          'help_exits'),
    parameters('elements:Logger', 'writes to a list of outputs', 'step',
               'outputs', test='test_progress'),
    there('elements:timer', 'times sections', 'section'),
    there('elements:Space', 'describes an array'),
    # portal, ninjax, jax
    there('portal:setup', 'calls initfns first in each process',
          test='test_launch: test_children_install_first'),
    there('portal:context', 'ends the program', 'shutdown'),
    Touch('portal:Process', 'tells the code of one that crashed', None,
          'test_launch: test_wrong_task_ends_with_one_line'),
    there('ninjax', 'keeps state under names', 'Module', 'Variable', 'seed',
          'cond', 'pure'),
    parameters('jax:jit', 'takes shardings by name', 'in_shardings',
               'out_shardings', 'static_argnums', 'static_argnames',
               'donate_argnums', test='test_upstream: test_jit...'),
    there('jax', 'has maps over trees and a gradient stop', 'tree', 'lax'),
)


def examine() -> Iterator[tuple[Touch, str]]:
  """Yields each row of the table with what is wrong, '' if nothing is."""
  for touch in TABLE:
    try:
      yield touch, touch.check() if touch.check else ''
    except ImportError as e:
      yield touch, f'{touch.name.partition(":")[0]} can\'t be imported: {e}'


def check(found: Upstream | None = None) -> Upstream:
  """Compares what LoRe relies on with what is there.

  Raises:
    UpstreamError: Something is missing, takes other arguments or no longer
      looks up what we rebind.
  """
  found = found or find()
  load('dreamerv3.main')
  problems = [text for _, text in examine() if text]
  if problems:
    raise errors.UpstreamError(
        f'LoRe can\'t advise the dreamerv3 in {found.folder.parent}: '
        f'{"; ".join(problems)}. Undo that change, or leave lore out of '
        f'--configs. Known are {KNOWN}. {INSTALL}')
  return found


def sampling_agent() -> type:
  """Returns upstream's class of agents, if actions can be made greedy in it.

  Raises:
    UpstreamError: Its policy doesn't draw by `sample`.
  """
  problem = SAMPLING.check() if SAMPLING.check else ''
  if problem:
    raise errors.UpstreamError(
        f'The actions of this dreamerv3 can\'t be made greedy: {problem}. '
        f'Known are {KNOWN}.')
  return resolve(AGENT)


def table() -> str:
  """Returns the table with its checks, for a terminal."""
  lines = [f'{find()}', '']
  count = 0
  for touch, problem in examine():
    state = 'CHANGED' if problem else 'ok' if touch.check else 'test'
    count += bool(problem)
    lines.append(f'{state:<8}{touch.name:<38} {touch.relied}')
    if problem:
      lines.append(f'{"":<8}{problem}')
    elif touch.test:
      lines.append(f'{"":<8}{"":<38} shown by {touch.test}')
  return '\n'.join([*lines, '', f'{len(TABLE)} things, {count} changed.'])
