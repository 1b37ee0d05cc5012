"""LoRe: a language model advises DreamerV3 while the agent is unsure.

docs/api.md tells what a program can call. It is imported when it is used.
"""

import importlib

__version__ = '0.2.0'

# Public names, and the module of each.
_WHERE = {
    'Advisor': 'api',
    'Agent': 'api',
    'Answer': 'api',
    'Run': 'api',
    'load': 'api',
    'train': 'api',
    'wrap': 'worlds.outward',
    'check_world': 'worlds.check',
    'Question': 'worlds.base',
    'Situation': 'worlds.base',
    'World': 'worlds.base',
    'LoreError': 'errors',
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> object:
  if name not in _WHERE:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  module = importlib.import_module(f'.{_WHERE[name]}', __name__)
  return getattr(module, name)


def __dir__() -> list[str]:
  return sorted({*globals(), *_WHERE})
