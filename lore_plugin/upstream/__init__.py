"""Every touch of the official dreamerv3, and the checks that it is that.

Upstream comes in two forms: the copy that `make setup` installs (3.3.1, as
published), and a git checkout (main). Neither is edited. What has to differ is
rebound in memory, in this process and, by portal's initialisers, in the
processes that upstream starts.
"""

import contextlib
import copy
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import json
import os
import pathlib
import pickle
import sys
import tempfile
import types

from .. import errors
from .. import logdir as logdirlib

INSTALL = (
    'Run `make setup` in the LoRe folder to install the official code, or '
    'clone github.com/danijar/dreamerv3 and run from the root of the clone.')
KNOWN = '3.3.1 as published, and main as of commit e3f0224'

# Where upstream's training loop puts its checkpoints, by version.
CHECKPOINTS = {'3.3.1': 'checkpoint.pkl', 'main': 'ckpt'}
# The same for its parallel script, whose learner keeps one of its own.
LEARNERS = {'3.3.1': 'agent.pkl', 'main': 'ckpt/agent'}

# What LoRe calls or overrides, with the parameters it relies on.
PARAMETERS = {
    'dreamerv3.main': {
        'main': ['argv'],
        'make_agent': ['config'],
        'make_env': ['config', 'index', 'overrides'],
        'make_logger': ['config'],
        'make_replay': ['config', 'folder', 'mode'],
        'make_stream': ['config', 'replay', 'mode'],
        'wrap_env': ['env', 'config'],
    },
    'dreamerv3.agent': {
        'Agent.__init__': ['self', 'obs_space', 'act_space', 'config'],
        'Agent.policy': ['self', 'carry', 'obs', 'mode'],
        'Agent.train': ['self', 'carry', 'data'],
        'Agent.loss': ['self', 'carry', 'obs', 'prevact', 'training'],
    },
    'embodied': {
        'jax.Agent.__new__': ['subcls', 'obs_space', 'act_space', 'config'],
        'jax.Agent.policy': ['self', 'carry', 'obs', 'mode'],
        'jax.Agent.load': ['self', 'data', 'regex'],
        'Driver.__init__': ['self', 'make_env_fns', 'parallel', 'kwargs'],
        'streams.Map.__init__': ['self', 'source', 'fn', 'args', 'kwargs'],
    },
}

# Names that these functions look up when they run. Rebinding them is how our
# parts get in, so each must be there.
LOOKUPS = {
    'dreamerv3.main': {
        'main': ['folder', 'make_agent', 'make_env', 'make_logger', 'setup'],
        'make_agent': ['make_env', 'Agent'],
        'make_env': ['wrap_env'],
        'make_replay': ['Replay'],
    },
    'embodied': {
        'jax.Agent.stream': ['Prefetch'],
    },
    'dreamerv3.agent': {
        'Agent.__init__': ['pol', 'val', 'feat2tensor'],
        'Agent.policy': ['pol'],
        'Agent.loss': ['pol'],
    },
}


@dataclasses.dataclass(frozen=True, slots=True)
class Upstream:
  """The copy of upstream that Python imports.

  Attributes:
    folder: The package `dreamerv3`.
    version: '3.3.1', 'main', or 'unknown'.
    configs: Its configs.yaml, or None where the copy lacks one.
  """
  folder: pathlib.Path
  version: str
  configs: pathlib.Path | None

  def __str__(self):
    return f'dreamerv3 {self.version} in {self.folder.parent}'


def find():
  """Locates upstream without importing it.

  Raises:
    UpstreamError: If there is none, or `embodied` is from somewhere else.
  """
  folder = _package('dreamerv3', 'agent.py')
  embodied = _package('embodied', 'run')
  if embodied.parent != folder.parent:
    raise errors.UpstreamError(
        f'Found dreamerv3 in {folder.parent} but embodied in '
        f'{embodied.parent}. Both must be of one copy. Run from the root of '
        'the checkout that you mean, or uninstall the other copy with '
        '`pip uninstall dreamer embodied`.')
  configs = folder / 'configs.yaml'
  return Upstream(
      folder, _version(embodied), configs if configs.is_file() else None)


def _package(name, content):
  spec = importlib.util.find_spec(name)
  places = list(spec.submodule_search_locations or []) if spec else []
  if not places:
    raise errors.UpstreamError(
        f'DreamerV3 is not installed: there is no package {name!r}. {INSTALL}')
  folder = pathlib.Path(places[0]).resolve()
  if not (folder / content).exists():
    # A clone seen from its parent folder looks like a package of that name.
    inside = (folder / name).is_dir()
    hint = f'Run from inside {folder}, or: ' if inside else ''
    raise errors.UpstreamError(
        f'{folder} is not the package {name!r} of DreamerV3: it has no '
        f'{content}. {hint}{INSTALL}')
  return folder


def _version(embodied):
  try:
    source = (embodied / 'run' / 'train.py').read_text(encoding='utf-8')
  except OSError:
    return 'unknown'
  found = [k for k, v in CHECKPOINTS.items()
           if f'Checkpoint(logdir / {v!r})' in source]
  return found[0] if len(found) == 1 else 'unknown'


def checkpoint(logdir, version=None, script='train'):
  """Returns where one of upstream's scripts keeps the agent's checkpoints."""
  places = LEARNERS if script.startswith('parallel') else CHECKPOINTS
  return pathlib.Path(logdir) / places[version or find().version]


def check(found=None):
  """Compares upstream's functions with those LoRe was written against.

  Raises:
    UpstreamError: If a function is missing, takes other parameters, or no
      longer looks up what we rebind.
  """
  found = found or find()
  problems = []
  if found.version == 'unknown':
    problems.append('embodied/run/train.py keeps its checkpoints elsewhere')
  for name in sorted(PARAMETERS):
    try:
      module = _module(name)
    except Exception as e:
      raise errors.UpstreamError(
          f'Can\'t import {name} from {found.folder.parent}: '
          f'{type(e).__name__}: {e}. {INSTALL}') from e
    for path, params in PARAMETERS[name].items():
      problems += _check_parameters(name, module, path, params)
    for path, names in LOOKUPS.get(name, {}).items():
      problems += _check_lookups(name, module, path, names)
  if problems:
    raise errors.UpstreamError(
        f'The dreamerv3 in {found.folder.parent} is a version that LoRe does '
        f'not know: {"; ".join(problems)}. Known are {KNOWN}. {INSTALL}')
  return found


def _check_parameters(name, module, path, params):
  fn = _resolve(module, path)
  if fn is None:
    return [f'{name}.{path} is missing']
  actual = list(inspect.signature(fn).parameters)
  if actual != params:
    return [f'{name}.{path} takes ({", ".join(actual)}) '
            f'instead of ({", ".join(params)})']
  return []


def _check_lookups(name, module, path, names):
  fn = _resolve(module, path)
  used = getattr(getattr(fn, '__code__', None), 'co_names', ())
  return [f'{name}.{path} does not use {x}' for x in names if x not in used]


def _resolve(module, path):
  for part in path.split('.'):
    module = getattr(module, part, None)
  return module


def _module(name):
  """Imports upstream's module; its main.py must not rearrange sys.path."""
  before = list(sys.path)
  try:
    return importlib.import_module(name)
  finally:
    sys.path[:] = before


@functools.cache
def original():
  """Upstream's main.py as it was before anything of ours was put into it.

  Returns:
    Namespace with `module`, and its functions `main`, `make_agent`,
    `make_env`, `make_logger` and `wrap_env`.
  """
  install()
  module = _module('dreamerv3.main')
  names = ('main', 'make_agent', 'make_env', 'make_logger', 'wrap_env')
  return types.SimpleNamespace(
      module=module, **{k: getattr(module, k) for k in names})


@contextlib.contextmanager
def swapped(target, **values):
  """Sets attributes of a module or class for the duration of a block."""
  before = {k: inspect.getattr_static(target, k) for k in values}
  try:
    for key, value in values.items():
      setattr(target, key, value)
    yield
  finally:
    for key, value in before.items():
      setattr(target, key, value)


@contextlib.contextmanager
def in_order():
  """Takes upstream's threads out of training, whose timing no two runs share.

  One samples batches ahead, before or after a step is added and latent states
  are renewed; others save chunks of the replay while they are.
  """
  import embodied
  waiting = functools.partial(embodied.replay.Replay, save_wait=True)
  with (swapped(embodied.streams, Prefetch=embodied.streams.Map),
        swapped(embodied.replay, Replay=waiting)):
    yield


@contextlib.contextmanager
def more_xla_flags():
  """Adds the flags in LORE_XLA_FLAGS to those that upstream sets.

  Upstream overwrites XLA_FLAGS, so that nothing can be said there. Without the
  variable nothing changes.
  """
  import embodied.jax.internal as internal
  before = internal.setup

  def setup(*args, **kwargs):
    before(*args, **kwargs)
    more = os.environ.get('LORE_XLA_FLAGS', '')
    if more:
      os.environ['XLA_FLAGS'] = f"{os.environ.get('XLA_FLAGS', '')} {more}"

  with swapped(internal, setup=setup):
    yield


@contextlib.contextmanager
def agent_class(factory):
  """Lets upstream's own make_agent build something else than its Agent.

  Args:
    factory: Called as factory(obs_space, act_space, config) in its place.
  """
  import dreamerv3.agent
  with swapped(dreamerv3.agent, Agent=factory):
    yield


def unwrapped_env(config, index, **overrides):
  """Upstream's make_env, without the wrappers that it puts around."""
  up = original()
  with swapped(up.module, wrap_env=lambda env, config: env):
    return up.make_env(config, index, **overrides)


def run(config, **parts):
  """Runs upstream's unmodified main() on a finished configuration.

  Args:
    config: elements.Config, all flags applied. Upstream reads it from a file,
      as the defaults, and is given no flags.
    **parts: Functions that replace those of upstream's main.py by name. They
      must be importable, because upstream sends them to other processes.

  Returns:
    What the script `train` worked with: `agent`, `replay` and `logger`. Empty
    for other scripts, which have more of them, or in other processes.
  """
  import embodied
  import portal
  up = original()
  kept = {}
  train = embodied.run.train
  def keeping_train(
      make_agent, make_replay, make_env, make_stream, make_logger, args):
    train(
        functools.partial(_keep, kept, 'agent', make_agent),
        functools.partial(_keep, kept, 'replay', make_replay),
        make_env, make_stream,
        functools.partial(_keep, kept, 'logger', make_logger), args)
  setup = portal.setup
  def setup_children(*, initfns=(), **kwargs):
    setup(initfns=[install, *initfns], **kwargs)
  with tempfile.TemporaryDirectory(prefix='lore-') as folder:
    folder = pathlib.Path(folder)
    # JSON is YAML, and keeps every type that a configuration can hold.
    (folder / 'configs.yaml').write_text(
        json.dumps({'defaults': dict(config)}), encoding='utf-8')
    with (swapped(up.module, folder=folder, **parts),
          swapped(portal, setup=setup_children),
          swapped(embodied.run, train=keeping_train)):
      up.main([])
  return kept


def _keep(kept, name, make):
  kept[name] = make()
  return kept[name]


def install():
  """Adapts upstream to the installed jax and elements; may be called twice.

  Runs first in every process that upstream starts.
  """
  _install_jit()
  _install_agg()
  _install_driver()


def _install_jit():
  """Since jax 0.7, jax.jit takes by name what upstream gives by position."""
  import jax
  original_jit = jax.jit
  names = ('in_shardings', 'out_shardings', 'static_argnums',
           'static_argnames', 'donate_argnums')
  params = inspect.signature(original_jit).parameters
  if params['in_shardings'].kind is not inspect.Parameter.KEYWORD_ONLY:
    return
  if getattr(original_jit, 'takes_positions', False):
    return

  @functools.wraps(original_jit)
  def jit(*args, **kwargs):
    fun, positions = args[:1], args[1:]
    return original_jit(*fun, **dict(zip(names, positions)), **kwargs)

  jit.takes_positions = True
  jax.jit = jit


def _install_agg():
  """3.3.1 asks for several aggregations at once; elements dropped that."""
  import elements
  import numpy as np
  original_add = elements.Agg.add
  if getattr(original_add, 'takes_tuples', False):
    return
  with contextlib.suppress(Exception):
    probe = elements.Agg()
    probe.add('x', 1.0, agg=('avg', 'max'))
    if {'x/avg', 'x/max'} == set(probe.result()):
      return

  quick = {'avg', 'mean', 'sum', 'min', 'max'} if hasattr(
      elements.Agg, '_initial') else set()

  @functools.wraps(original_add)
  def add(self, key_or_dict, value=None, agg=None, prefix=None):
    if not isinstance(agg, tuple):
      return original_add(self, key_or_dict, value, agg, prefix)
    items = key_or_dict if value is None else {key_or_dict: value}
    for key, value in items.items():
      # Every step of every environment comes by with some fifteen numbers, for
      # which the way of arrays takes several times as long.
      scalar = (
          quick.issuperset(agg) and np.ndim(value) == 0
          and not isinstance(value, str))
      value = float(value) if scalar else value
      for name in agg:
        full = f'{prefix}/{key}/{name}' if prefix else f'{key}/{name}'
        if not scalar:
          # Sums are made in place, each in an array of its own.
          original_add(self, full, copy.copy(value), name)
        elif full in self.reducers:
          self.reducers[full].update(value)
        else:
          self.reducers[full] = self._initial(full, value, name)

  add.takes_tuples = True
  elements.Agg.add = add


def _install_driver():
  """3.3.1 expects portal to pass a context to its environment processes."""
  import embodied
  serve = embodied.Driver._env_server
  if 'context' not in inspect.signature(serve).parameters:
    return
  embodied.Driver._env_server = staticmethod(env_server)
  env_server.original = serve


def env_server(envid, pipe, ctor):
  """Serves one environment to a 3.3.1 driver, in a process of its own."""
  install()
  # The process ends with its pipe or by the driver's kill, as on main.
  env_server.original(
      types.SimpleNamespace(running=True), envid, pipe, ctor)


def resolve_checkpoint(path):
  """Returns the folder of one saved checkpoint.

  Args:
    path: That folder, or the folder of checkpoints with the file `latest`.

  Raises:
    ConfigError: If there is no finished checkpoint.
  """
  folder = logdirlib.expand(path)
  latest = folder / 'latest'
  if latest.is_file():
    folder = folder / latest.read_text(encoding='utf-8').strip()
  if not (folder / 'done').is_file():
    choices = ' or '.join(f'<logdir>/{x}' for x in CHECKPOINTS.values())
    raise errors.ConfigError(
        f'run.from_checkpoint {str(path)!r} is not a finished checkpoint: '
        f'there is no file {str(folder / "done")!r}. Give {choices}.')
  return folder


def mend_checkpoint(logdir, version):
  """Lets a run go on that was killed while it saved.

  The file `latest` names the newest checkpoint. A process that dies while it
  writes that file leaves it empty, and upstream then refuses to start. The
  checkpoint before is still there, as it is removed afterwards.

  Returns:
    Name of the checkpoint that `latest` was pointed to, or '' if nothing was
    wrong or nothing is left.
  """
  folder = checkpoint(logdir, version)
  latest = folder / 'latest'
  finished = sorted(x.parent.name for x in folder.glob('*/done'))
  named = latest.read_text(encoding='utf-8').strip() if (
      latest.is_file()) else ''
  if named in finished:
    return ''
  if not finished:
    latest.unlink(missing_ok=True)
    return ''
  temp = folder.parent / f'{folder.name}-latest'
  temp.write_text(finished[-1], encoding='utf-8')
  temp.replace(latest)
  return finished[-1]


def write_legacy(checkpoint, target):
  """Writes a checkpoint's agent as the single file that 3.3.1 starts from.

  Its training scripts save in the folder layout of today's elements, but
  still read that of an older one: one pickled dictionary with the agent under
  the name `model`.
  """
  agent = pickle.loads((checkpoint / 'agent.pkl').read_bytes())
  target.write_bytes(pickle.dumps({'model': agent}))
  return target
