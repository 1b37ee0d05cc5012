"""Examines the installation: everything that a first run needs."""

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable
from typing import Any

from .. import __version__
from .. import config as configlib
from .. import errors
from .. import secrets
from ..upstream import patch
from .. import upstream
from ..advisor import check as checklib
from ..advisor import providers
from ..advisor import build as service
from ..advisor.providers import http
from .finding import Finding

PACKAGES = (
    'jax', 'jaxlib', 'elements', 'ninjax', 'portal', 'numpy', 'gymnasium',
    'minigrid', 'anthropic', 'xllamacpp')
# Where the oldest jax is that upstream ran on.
OLDEST = {'jax': (0, 4, 33)}
# What to do about a call that fails. Where the message says it, nothing.
FAILED = (
    (errors.RejectedCall, 'The provider refuses: see the key, '
     '--lore.advisor.model and --lore.advisor.url.'),
    (errors.BusyCall, 'The provider works, but asks to wait: try again later, '
     'or raise the limit of its account.'),
    (errors.FailedCall, 'See the network and --lore.advisor.url; raise '
     '--lore.advisor.timeout for a slow model.'),
    (errors.ParseError, 'The model does not answer in the form it is asked '
     'for: try another --lore.advisor.model.'),
    (AssertionError, 'The provider breaks its own rules: report it to whoever '
     'wrote it.'),
)


def examine(argv: Iterable[str] = ()) -> list[Finding]:
  """Makes all checks.

  Args:
    argv: Flags as for training; they say whom to call.

  Returns:
    A list of `Finding`.

  Raises:
    ConfigError: A flag is wrong.
  """
  flags = list(argv)
  if '--configs' not in flags:
    flags = ['--configs', 'minigrid', 'lore', *flags]
  found = [check_versions(), check_upstream(), check_patch()]
  try:
    blocks = configlib.load()
  except errors.LoreError as e:
    return [*found, Finding('configuration', 'problem', str(e))]
  config = configlib.resolve(flags, blocks)
  section = config.lore.advisor
  service.validate(section)
  found.append(Finding(
      'configuration', 'ok', f'{len(config.flat)} keys; platform '
      f'{config.jax.platform}, {config.jax.compute_dtype}'))
  found.append(check_environment(config))
  found.append(check_key(section))
  found.append(check_model(section))
  for name in str(section.provider).split(','):
    found.append(check_call(providers.resolve(name.strip()), section))
  return found


def check_versions() -> Finding:
  """Which versions there are."""
  name, parts, missing, old = 'versions', [], [], []
  for package in PACKAGES:
    try:
      version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      missing.append(package)
      continue
    parts.append(f'{package} {version}')
    numbers = tuple(int(x) for x in version.split('.')[:3] if x.isdigit())
    if numbers < OLDEST.get(package, ()):
      old.append(f'{package} {version}')
  evidence = (
      f'LoRe {__version__}, Python {platform.python_version()}, '
      + ', '.join(parts))
  if missing:
    return Finding(
        name, 'problem', f'{evidence}; missing: {", ".join(missing)}',
        'Type `make setup` in the LoRe folder, or pip install '
        + ' '.join(missing))
  if old:
    return Finding(
        name, 'warning', f'{evidence}; older than was ever tried: '
        f'{", ".join(old)}', 'Type `make setup` in the LoRe folder.')
  return Finding(name, 'ok', evidence)


def check_upstream() -> Finding:
  """Whether the official code is there, and is what we know."""
  try:
    return Finding('upstream', 'ok', str(upstream.check()))
  except errors.LoreError as e:
    return Finding('upstream', 'problem', str(e), upstream.INSTALL)


def check_patch() -> Finding:
  """Whether `python -m dreamerv3` runs with our parts."""
  name = 'patch'
  try:
    path = upstream.find().folder / '__main__.py'
  except errors.LoreError:
    return Finding(name, 'unknown', 'there is no dreamerv3 to look at')
  state = patch._state(path)
  if state == 'current':
    return Finding(name, 'ok', '`python -m dreamerv3` runs LoRe\'s parts')
  if state == 'foreign':
    return Finding(
        name, 'warning', f'{path} is not ours',
        'Use python -m lore_plugin instead of python -m dreamerv3.')
  return Finding(
      name, 'warning', f'dreamerv3/__main__.py is {state}',
      'Type python -m lore_plugin patch, or use python -m lore_plugin '
      'instead of python -m dreamerv3.')


def check_environment(config: Any) -> Finding:
  """Whether the task's environment can be made and described."""
  from .. import worlds as envs
  name = 'environment'
  try:
    env = envs.make(config, 0, upstream.unwrapped_env)
    try:
      obs = env.step({
          **{k: v.sample() for k, v in env.act_space.items()}, 'reset': True})
      count = int((obs['lore/state'] > 0).sum()) if (
          'lore/state' in obs) else 0
    finally:
      env.close()
  except errors.LoreError as e:
    return Finding(name, 'problem', str(e))
  except Exception as e:
    return Finding(
        name, 'problem', f'{config.task}: {type(e).__name__}: {e}',
        'Type --task minigrid_DoorKey-5x5 to see whether another one works.')
  return Finding(
      name, 'ok', f'{config.task} starts; its first state takes {count} bytes')


def check_key(section: Any) -> Finding:
  """Which keys are in the environment. Their values are never shown."""
  name = 'key'
  there = [x for x in http.KEYS if os.environ.get(x)]
  asked = [providers.resolve(x.strip()) for x in section.provider.split(',')]
  evidence = (
      ', '.join(f'{x} is set' for x in there) or 'no key is set') + (
      f'; the provider is {", ".join(asked)}')
  needs = {
      'anthropic': ('ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN'),
      'openai': ('OPENAI_API_KEY',)}
  for provider in asked:
    names = needs.get(provider)
    if names and not set(names) & set(there):
      # Servers of one's own often want no key.
      verdict = 'warning' if section.url else 'problem'
      return Finding(
          name, verdict, f'{evidence}, which needs {names[0]}',
          f'Type export {names[0]}=..., or --lore.advisor.provider local.')
  for key in there:
    value = os.environ[key]
    if value != value.strip() or not value.isascii():
      return Finding(
          name, 'problem', f'{key} has blanks around it, or odd characters',
          'Set it again, without line breaks.')
  return Finding(name, 'ok', evidence)


def check_model(section: Any) -> Finding:
  """Whether the embedded model's file is there."""
  from ..advisor.providers import local
  name = 'model file'
  asked = [providers.resolve(x.strip()) for x in section.provider.split(',')]
  wanted = 'local' in asked
  try:
    path = local.find(section.model if wanted else '')
    return Finding(
        name, 'ok', f'{os.path.basename(path)}, '
        f'{os.path.getsize(path) / 1e6:.0f} MB')
  except (errors.LoreError, OSError) as e:
    return Finding(name, 'problem' if wanted else 'warning', str(e))


def check_call(name: str, section: Any) -> Finding:
  """Calls a provider once, with a made-up state."""
  label = f'call to {name}'
  query = checklib.queries()[0]
  provider = None
  try:
    provider = providers.create(name, section, 0)
    begin = time.perf_counter()
    reply = provider.ask(query)
    seconds = time.perf_counter() - begin
    checklib._check(query, reply)
  except Exception as e:
    return Finding(
        label, 'problem', secrets.mask(f'{type(e).__name__}: {e}'),
        next((x for kind, x in FAILED if isinstance(e, kind)), ''))
  finally:
    if provider:
      provider.close()
  best = query.candidates[max(
      range(len(reply.scores)), key=lambda i: reply.scores[i])]
  return Finding(
      label, 'ok', f'{provider.model} answered {best!r} in {seconds:.2f} s '
      f'({reply.tokens_in} tokens read, {reply.tokens_out} written, '
      f'{reply.money:.5f} dollars)')
