"""Who can be asked. Built-in providers enter by the same door as others'.

A package of yours adds a provider by an entry point, and a user names it:

  [project.entry-points.'lore_plugin.providers']
  oracle = 'my_package:Oracle'

  --lore.advisor.provider oracle

A provider is a `lore_plugin.advisor.types.Provider` whose constructor takes
`(config, seed)`: the section `lore.advisor` as a mapping, and an integer.
"""

import importlib
import importlib.metadata
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ... import errors

if TYPE_CHECKING:
  # Whoever checks a configuration without numpy gets this far.
  from .. import types

GROUP = 'lore_plugin.providers'

# The same lines as in pyproject.toml, for a source tree that nobody installed.
BUILTIN = {
    'adversarial': 'lore_plugin.advisor.providers.adversarial:Adversarial',
    'anthropic': 'lore_plugin.advisor.providers.anthropic:Anthropic',
    'flawed': 'lore_plugin.advisor.providers.flawed:Flawed',
    'local': 'lore_plugin.advisor.providers.local:Local',
    'mock': 'lore_plugin.advisor.providers.mock:Mock',
    'openai': 'lore_plugin.advisor.providers.openai:OpenAI',
    'random': 'lore_plugin.advisor.providers.random:Random',
    'scripted': 'lore_plugin.advisor.providers.scripted:Scripted',
    'shuffled': 'lore_plugin.advisor.providers.shuffled:Shuffled',
    'uniform': 'lore_plugin.advisor.providers.uniform:Uniform',
}


def names() -> list[str]:
  """Returns the names of all registered providers, sorted."""
  found = {x.name for x in importlib.metadata.entry_points(group=GROUP)}
  return sorted(found | set(BUILTIN))


def load(name: str) -> Any:
  """Returns the provider class of that name, or of what 'auto' stands for.

  Raises:
    ConfigError: No provider of that name, or its package can't be imported.
  """
  name = resolve(name)
  points = {
      x.name: x.value
      for x in importlib.metadata.entry_points(group=GROUP)}
  points.update(BUILTIN)
  target = points[errors.choose(
      name, ['auto', *sorted(points)], 'advisor in lore.advisor.provider:')]
  module, _, attr = target.partition(':')
  try:
    return getattr(importlib.import_module(module), attr)
  except (ImportError, AttributeError) as e:
    raise errors.ConfigError(
        f'The advisor {name!r} ({target}) cannot be imported: {e}. Install the'
        ' package it needs, or choose another by --lore.advisor.provider.'
        ) from e


def resolve(name: str) -> str:
  """Returns the provider that 'auto' stands for; other names unchanged."""
  if name != 'auto':
    return name
  return 'anthropic' if os.environ.get('ANTHROPIC_API_KEY') else 'local'


def check_sight(made: 'Iterable[types.Provider]', world: str) -> None:
  """Raises a ConfigError if pictures are to be shown to who sees none.

  Args:
    made: Providers.
    world: Name of the world, for the error.
  """
  blind = [x for x in made if not x.sees]
  if blind:
    who = ', '.join(f'{x.name} ({x.model})' for x in blind)
    raise errors.ConfigError(
        f'The world {world} asks by pictures, which {who} can\'t see. Type '
        '--lore.advisor.provider anthropic, or openai with a model that sees, '
        'such as --lore.advisor.model gpt-4.1-mini.')


def create(
    name: str, config: Mapping[str, Any], seed: int) -> 'types.Provider':
  """Returns a new provider.

  Args:
    name: A registered name, or 'auto'.
    config: The section `lore.advisor`.
    seed: Integer; providers that draw are deterministic in it.

  Raises:
    ConfigError: Unknown name.
    AdvisorError: The provider can't be set up.
  """
  return load(name)(config, seed)
