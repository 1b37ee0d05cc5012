"""From a configuration to an advisor."""

import hashlib
import logging
import math
import os
import pathlib
from typing import Any

from .. import errors
from .. import logdir as logdirlib
from .. import options
from .. import retired
from ..worlds import registry
from . import advisor as advisorlib
from . import database
from . import experience as experiencelib
from . import policy as policylib
from . import prompts
from . import providers
from . import replay as replaylib
from . import store as storelib
from . import types
from .providers import http
from .remote import client as remote

log = logging.getLogger('lore_plugin')


def build(config: Any, actions: int) -> advisorlib.Advisor:
  """Returns the `Advisor` that a configuration asks for.

  Args:
    config: The whole configuration: `lore.advisor`, `logdir`, `seed`, and
      `lore.prior` where an agent may learn the advice.
    actions: Number of actions A.

  Raises:
    ConfigError: A value that isn't allowed.
    AdvisorError: No key, no model file, or the store can't be used.
  """
  section = config['lore']['advisor']
  validate(section)
  check_caps(section)
  world = str(dict(config['lore']).get('world', 'auto'))
  logdir = str(config['logdir'])
  path = locate(str(section['store']), logdir)
  replay = section['replay'] != 'none'
  made, store = [], None
  try:
    made = ask_whom(section, path, int(config['seed']))
    if registry.shows_pictures(world):
      providers.check_sight(made, world)
    store = storelib.Store(
        ':memory:' if replay else path, durable=any(x.paid for x in made),
        # Training waits for the store at most as long as for an answer.
        patience=min(float(section['timeout']), database.PATIENCE))
    warn(store)
    for provider in made:
      if isinstance(provider, remote.Remote):
        provider.follow(store)
    return advisorlib.Advisor(
        made, actions, settings(section),
        store=store, account=account(section, store, logdir),
        caps=caps(section), limits=limits(config['lore']),
        experience=experience(config['lore'], int(config['seed'])))
  except BaseException:
    for provider in made:
      provider.close()
    if store:
      store.close()
    raise


def rehearse(config: Any) -> list[str]:
  """Raises what `build` would, as far as that is known in seconds.

  Nothing is written or sent, and no language model is loaded.

  Args:
    config: As of `build`.

  Returns:
    What will be missed, though it ends no run.
  """
  section = config['lore']['advisor']
  validate(section)
  check_caps(section)
  if section['replay'] != 'none' or section['address']:
    return []
  notes = []
  seed, world = int(config['seed']), str(config['lore']['world'])
  for name in resolve_provider(section['provider']).split(','):
    kind = providers.load(name)
    kind.rehearse(section, seed)
    # What is asked over a network is made in no time.
    made = kind(section, seed) if kind.paid else kind
    try:
      if registry.shows_pictures(world):
        providers.check_sight([made], world)
      check_price(made, section['money'])
      if (silent := http.unheard(made.where)):
        notes.append(f'{name}: {silent}')
    finally:
      if kind.paid:
        made.close()
  return notes


def ask_whom(
    section: Any, path: pathlib.Path, seed: int) -> list[types.Provider]:
  """Returns the providers, or what stands in for them."""
  if section['replay'] != 'none':
    replay = replaylib.Replay(
        path, section['provider'], section['model'],
        prompts.VERSIONS[section['mode']], several=bool(section['address']))
    return [replay, *replay.others]
  if section['address']:
    server = remote.Remote(
        section['address'], section['mode'], float(section['timeout']))
    return [server, *server.others]
  return create(section, seed)


def warn(store: storelib.Store) -> None:
  """Says so where a file holds advice in words that nobody uses any more."""
  try:
    gone = retired.unused(store.worlds())
  except errors.StoreError:
    return  # Whoever reads a reply says it.
  if gone:
    log.warning(
        '%s holds %s, a world that is gone. They are kept, and not used.',
        store.path, gone)


def validate(section: Any) -> None:
  """Raises a ConfigError for a value of `lore.advisor` that isn't allowed."""
  options.check(section, 'lore.advisor')


def check_caps(section: Any) -> None:
  """Raises a ConfigError for caps of a run that only its server can keep.

  What a call costs is in the server's ledger. A run behind it would count
  nothing, and its caps would never be reached.
  """
  address = str(section['address'])
  if not address or section['replay'] != 'none':
    return
  for name in ('tokens', 'money'):
    if section[name] >= 0:
      raise errors.ConfigError(
          f'lore.advisor.{name} is {section[name]}, but what calls cost is'
          f' known to the server on {address} (lore.advisor.address) alone:'
          ' a run behind it can cap lore.advisor.calls. Start the server by'
          f' `python -m lore_plugin serve --lore.advisor.address {address}'
          f' --lore.advisor.{name} {section[name]}`, and type'
          f' --lore.advisor.{name} -1 here.')


def resolve_provider(names: str) -> str:
  """Returns who is asked, 'auto' replaced by what it stands for here.

  Where a suite is planned, once, so that all its runs are advised by the same,
  wherever they run.

  Args:
    names: `lore.advisor.provider`: one name, or several with commas between.

  Returns:
    The same without 'auto', each name once.
  """
  found = [providers.resolve(x.strip()) for x in str(names).split(',')]
  return ','.join(dict.fromkeys(found))


def create(section: Any, seed: int) -> list[types.Provider]:
  """Returns the providers that `lore.advisor.provider` names, in order.

  Raises:
    ConfigError: An unknown name, or a cap on money without a price.
    AdvisorError: One of them can't be set up.
  """
  made = []
  try:
    for name in resolve_provider(section['provider']).split(','):
      made.append(providers.create(name, section, seed))
    for provider in made:
      check_price(provider, section['money'])
  except BaseException:
    for provider in made:
      provider.close()
    raise
  return made


def settings(section: Any) -> advisorlib.Settings:
  """Returns the `Settings` in a section `lore.advisor`."""
  return advisorlib.Settings(
      mode=section['mode'],
      calibrate=section['calibrate'],
      ask=section['ask'],
      timeout=float(section['timeout']),
      retries=int(section['retries']),
      strict=section['replay'] == 'strict',
      cache=bool(section['cache']),
      own=not section['account'])


def caps(section: Any) -> storelib.Caps:
  """Returns the `Caps` in a section `lore.advisor`."""
  return storelib.Caps(
      int(section['calls']), int(section['tokens']), float(section['money']))


def limits(lore: Any) -> policylib.Limits:
  """Returns the `Limits` in a section `lore`."""
  section = lore['advisor']
  learned = dict(lore).get('prior')
  return policylib.Limits(
      cooldown=int(section['cooldown']), min_u=float(section['min_u']),
      sure=float(learned['confidence']) if (
          learned and learned['enabled']) else math.inf,
      **{key: section['policy'][key] for key in section['policy']})


def experience(lore: Any, seed: int) -> experiencelib.Experience | None:
  """Returns the `Experience` of a run; None where there is nothing to learn.

  Actions are asked for in states that hardly return.
  """
  wanted = dict(lore).get('experience', {}).get('enabled')
  if not wanted or lore['advisor']['mode'] != 'subgoal':
    return None
  return experiencelib.Experience(seed)


def account(section: Any, store: storelib.Store, logdir: str) -> str:
  """Returns the name under which the ledger counts a run's calls.

  A file of advice in the logdir names it, so that a folder which was moved or
  is reached by a link goes on with the same count. In a file elsewhere, which
  many runs may share, the folder names it, until the checkpoint does.

  Args:
    section: `lore.advisor`; its `account` counts first.
    store: The `Store`.
    logdir: The run's folder.
  """
  if section['account']:
    return str(section['account'])
  folder = logdirlib.expand(logdir)
  name = 'run-' + hashlib.sha256(
      os.path.realpath(folder).encode()).hexdigest()[:16]
  if store.path == ':memory:' or os.path.realpath(
      pathlib.Path(store.path).parent) != os.path.realpath(folder):
    return name
  noted = store.note('account')
  if not noted:
    # A file of version 0.1 names nothing; perhaps its folder was moved.
    runs = [x for x in store.accounts() if x.startswith('run-')]
    noted = store.annotate(
        'account', runs[0] if len(runs) == 1 and name not in runs else name)
  return noted


def check_price(
    provider: types.Provider | type[types.Provider], cap: float) -> None:
  """Raises a ConfigError where a cap on money could never be met."""
  price = getattr(provider, 'price', None)
  if not provider.paid or cap < 0 or price is None or price.known:
    return
  raise errors.ConfigError(
      f'lore.advisor.money caps the cost at {cap} dollars, but the price of'
      f' {provider.model!r} is not known. Type --lore.advisor.price.input and'
      ' --lore.advisor.price.output, in dollars a million tokens.')


def locate(store: str, logdir: str) -> pathlib.Path:
  """Returns the path of the file of advice.

  Args:
    store: `lore.advisor.store`: a file, a folder, or ''.
    logdir: Where '' puts it.
  """
  path = logdirlib.expand(store or logdir)
  if store and path.suffix and not path.is_dir():
    return path
  return path / 'advice.sqlite'


def introduce(advisor: advisorlib.Advisor) -> str:
  """Returns the line that says at a run's start who advises it."""
  names = [
      f'{x.identity.provider} ({x.identity.model})'
      + (f' at {x.provider.where}' if x.provider.where else '')
      + (f', {price}' if (price := getattr(x.provider, 'price', '')) else '')
      for x in advisor.sources]
  calls = advisor.asker.caps.calls
  most = 'as many calls as it takes' if calls < 0 else f'at most {calls} calls'
  spent = advisor.spent()['calls']
  return (
      f'Advisor: {", then ".join(names)}; {advisor.settings.mode}s, {most}'
      f'{f", {spent} made so far" if spent else ""}; advice in'
      f' {advisor.store.path}.')
