"""Runs upstream's unmodified main() with functions of ours in its places."""

import contextlib
import functools
import importlib
import importlib.util
import inspect
import json
import multiprocessing.resource_tracker
import pathlib
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .. import errors
from . import adapt
from . import source
from .find import INSTALL
from .find import find

# What upstream's scripts make and are asked for afterwards.
KEPT = ('agent', 'replay', 'replay_train', 'replay_eval', 'logger')


def module(name: str) -> types.ModuleType:
  """Imports upstream's module; its main.py must not rearrange sys.path.

  Raises:
    UpstreamError: It can't be imported.
  """
  before = list(sys.path)
  try:
    return importlib.import_module(name)
  except Exception as e:
    spec = importlib.util.find_spec(name)
    raise errors.UpstreamError(
        f'Can\'t import {name} from {spec.origin if spec else "anywhere"}: '
        f'{type(e).__name__}: {e}. {INSTALL}') from e
  finally:
    sys.path[:] = before


@functools.cache
def original() -> types.SimpleNamespace:
  """Upstream's main.py as it was before anything of ours was put into it.

  Returns:
    Namespace with `module`, and its functions `main`, `make_agent`,
    `make_env`, `make_logger`, `make_replay` and `wrap_env`; None for one that
    it lacks.
  """
  adapt.install()
  main = module('dreamerv3.main')
  names = (
      'main', 'make_agent', 'make_env', 'make_logger', 'make_replay',
      'wrap_env')
  return types.SimpleNamespace(
      module=main, **{k: getattr(main, k, None) for k in names})


@contextlib.contextmanager
def agent_class(factory: Callable[..., Any]) -> Iterator[None]:
  """Lets upstream's own make_agent build something else than its Agent.

  Args:
    factory: Called as factory(obs_space, act_space, config) in its place.

  Raises:
    UpstreamError: make_agent builds another class, of the user.
  """
  import dreamerv3.agent
  import embodied
  new, called = embodied.jax.Agent.__new__, []
  signature = inspect.signature(dreamerv3.agent.Agent.__init__)
  def build(*args, **kwargs):
    called.append(True)
    given = signature.bind(None, *args, **kwargs)
    _, *values = given.arguments.values()
    if len(values) > 3:
      more = list(given.arguments)[4]
      raise errors.UpstreamError(
          f'make_agent gives dreamerv3.agent.Agent {more}, which LoRe would '
          'not pass on. Put it into the configuration, or leave lore out of '
          '--configs.')
    return factory(*values)
  @functools.wraps(new)
  def watch(subcls, *args, **kwargs):
    if not called:
      raise errors.UpstreamError(
          f'make_agent in {inspect.getsourcefile(original().module)} builds '
          f'{subcls.__module__}.{subcls.__name__}, which LoRe knows nothing '
          'of: it advises dreamerv3.agent.Agent. Make your changes in that '
          'class, or leave lore out of --configs.')
    return new(subcls, *args, **kwargs)
  # Imported by name at its top it is main's as well.
  main = original().module
  mine = {'Agent': build} if (
      getattr(main, 'Agent', None) is dreamerv3.agent.Agent) else {}
  with (adapt.swapped(dreamerv3.agent, Agent=build),
        adapt.swapped(main, **mine),
        adapt.swapped(embodied.jax.Agent, __new__=staticmethod(watch))):
    yield


@contextlib.contextmanager
def drawing(act: Callable[[Any, Callable[..., Any]], Any]) -> Iterator[None]:
  """Replaces how upstream's policy draws actions, while jax traces it.

  Args:
    act: Called as act(dists, draw) with the distributions by action, and
      upstream's own way.
  """
  import dreamerv3.agent
  draw = dreamerv3.agent.sample
  with adapt.swapped(
      dreamerv3.agent, sample=lambda dists: act(dists, draw)):
    yield


@functools.cache
def makes(suite: str) -> bool:
  """Whether upstream's own make_env makes the tasks of a suite.

  It may name the suite itself, or read a table of another module.
  """
  found = find()
  if source.makes(found, suite):
    return True
  if not source.imported(found, 'make_env'):
    return False  # Known without importing upstream, and with it jax.
  words = source.names(found, 'make_env')
  known = vars(original().module)
  places = [known[x] for x in words if x in known]
  tables = places + [
      vars(x)[k] for x in places if isinstance(x, types.ModuleType)
      for k in words if k in vars(x)]
  return any(isinstance(x, dict) and suite in x for x in tables)


def own_arguments() -> set[str]:
  """Names what make_env takes besides a configuration and an index.

  Those that a user added are for the user's environments.
  """
  listed = list(inspect.signature(original().make_env).parameters.values())
  return {x.name for x in listed[2:] if x.kind != x.VAR_KEYWORD}


def unwrapped_env(config: Any, index: int, **overrides: Any) -> Any:
  """Upstream's make_env, without the wrappers that it puts around."""
  up = original()
  if up.wrap_env is None:
    return up.make_env(config, index, **overrides)
  with adapt.swapped(up.module, wrap_env=lambda env, config: env):
    return up.make_env(config, index, **overrides)


def wrap_env(env: Any, config: Any) -> Any:
  """Puts upstream's own wrappers around an environment."""
  up = original()
  return up.wrap_env(env, config) if up.wrap_env else env


def run(config: Any, argv: Iterable[str] = (), **parts: Any) -> dict[str, Any]:
  """Runs upstream's unmodified main() on a finished configuration.

  Args:
    config: elements.Config, all flags applied. Upstream reads it from a file,
      as the defaults.
    argv: Flags of its main() that are no keys of the configuration.
    **parts: Functions that replace those of upstream's main.py by name. They
      must be importable, because upstream sends them to other processes.

  Returns:
    What the scripts `train` and `train_eval` worked with: `agent`, `logger`
    and `replay`, or `replay_train` and `replay_eval`. Empty for scripts whose
    parts are in other processes.
  """
  import embodied
  import portal
  up = original()
  kept: dict[str, Any] = {}
  setup = portal.setup
  @functools.wraps(setup)
  def setup_children(*args, initfns=(), **kwargs):
    setup(*args, initfns=[adapt.install, *initfns], **kwargs)
  with tempfile.TemporaryDirectory(prefix='lore-') as temp:
    folder = pathlib.Path(temp)
    _furnish(folder, pathlib.Path(up.module.folder), config)
    with (adapt.swapped(up.module, folder=folder, **parts),
          adapt.swapped(portal, setup=setup_children),
          adapt.swapped(
              embodied.run, train=_keeping(embodied.run.train, kept),
              train_eval=_keeping(embodied.run.train_eval, kept))):
      up.main(list(argv))
  return kept


def _furnish(folder, theirs, config):
  """Makes a folder that looks like upstream's, but for its defaults."""
  blocks = {}
  for path in theirs.iterdir():
    if path.name == 'configs.yaml':
      import ruamel.yaml
      blocks = ruamel.yaml.YAML(typ='safe').load(
          path.read_text(encoding='utf-8'))
    else:
      with contextlib.suppress(OSError):  # Few need them.
        (folder / path.name).symlink_to(path)
  # JSON is YAML, and keeps every type that a configuration can hold.
  (folder / 'configs.yaml').write_text(
      json.dumps({**blocks, 'defaults': dict(config)}, default=str),
      encoding='utf-8')


def _keeping(script, kept):
  """Returns one of upstream's scripts that keeps what it works with."""
  signature = inspect.signature(script)
  @functools.wraps(script)
  def keeping(*args, **kwargs):
    given = signature.bind(*args, **kwargs)
    for name in KEPT:
      make = given.arguments.get(f'make_{name}')
      if make:
        given.arguments[f'make_{name}'] = functools.partial(
            _keep, kept, name, make)
    script(*given.args, **given.kwargs)
  return keeping


def _keep(kept, name, make):
  kept[name] = make()
  return kept[name]


def end_children() -> None:
  """Ends the processes that this one has started."""
  import psutil
  # multiprocessing's own ends by itself, and would be missed.
  tracker = getattr(
      multiprocessing.resource_tracker, '_resource_tracker', None)
  children = [
      x for x in psutil.Process().children(recursive=True)
      if x.pid != getattr(tracker, '_pid', None)]
  for child in children:
    with contextlib.suppress(psutil.NoSuchProcess):
      child.kill()
  psutil.wait_procs(children, timeout=5)


def stop(code: int) -> None:
  """Ends the whole program from one of upstream's threads or processes."""
  import portal
  portal.context.shutdown(code)


def stopped(error: BaseException) -> int | None:
  """Returns the code with which one of upstream's processes ended, or None.

  Args:
    error: What main() raised.
  """
  found = re.search(r'crashed with exit code (-?\d+)$', str(error))
  return int(found.group(1)) if found else None
