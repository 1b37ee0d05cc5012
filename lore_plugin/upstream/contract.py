"""What LoRe relies on in upstream, and the checks that it is there."""

import inspect

from .. import errors
from .find import INSTALL
from .find import KNOWN
from .find import find
from .run import module as load

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
      module = load(name)
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
        f'not know: {"; ".join(problems)}. Known are {KNOWN}. '
        f'{INSTALL}')
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
