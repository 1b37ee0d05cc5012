"""Runs the advisor as a process of its own, for many runs.

  export LORE_TOKEN=...   # only if other machines shall reach it
  python -m lore_plugin serve --logdir ~/advisor \\
    --lore.advisor.provider anthropic --lore.advisor.address 127.0.0.1:2225 \\
    --lore.advisor.calls 1000 --lore.advisor.money 5.0

  python -m dreamerv3 --configs minigrid lore \\
    --lore.advisor.address 127.0.0.1:2225

The options are those of a run. The caps hold for all clients together. A run
may cap its own calls as well, by --lore.advisor.calls there; tokens and money
can be capped here alone, where they are known. The advice is in
--lore.advisor.store, or in the logdir. What was spent is in the answer to
`curl -H "Authorization: Bearer $LORE_TOKEN" 127.0.0.1:2225/v1/hello`.

Token and questions travel in clear. Across a network that others share, let
the server listen on 127.0.0.1 and reach it by `ssh -L 2225:127.0.0.1:2225`.
"""

import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ... import config as configlib
from ... import errors
from ...worlds import registry
from .. import asker as askerlib
from .. import build as service
from .. import circuit as circuitlib
from .. import prompts
from .. import store as storelib
from .. import types
from . import server as serverlib
from . import wire

ADDRESS = '127.0.0.1:2225'


def main(
    argv: Sequence[str] | None = None,
    ready: Callable[[serverlib.Server], Any] | None = None) -> None:
  """Serves until it is interrupted or terminated.

  Args:
    argv: Flags, as for training.
    ready: Called with the `Server` once it listens.

  Raises:
    LoreError: It can't be set up.
  """
  argv = sys.argv[1:] if argv is None else list(argv)
  if argv[:1] in (['--help'], ['-h'], ['help']):
    print(__doc__)
    return
  config = configlib.resolve(argv, configlib.load())
  section = config.lore.advisor
  service.validate(section)
  if section.replay != 'none':
    raise errors.ConfigError(
        'A server asks; lore.advisor.replay is for runs. Type'
        ' --lore.advisor.replay none.')
  account = section.account or 'served'
  token = wire.read_token()
  stop = threading.Event()
  providers, store, server, made = [], None, None, {}
  try:
    if config.lore.world != 'auto':
      registry.get(config.lore.world)  # For the prompt that it brings along.
    providers = service.create(section, config.seed)
    path = service.locate(section.store, str(config.logdir))
    store = storelib.Store(path, durable=any(x.paid for x in providers))
    service.warn(store)
    made = askers(
        providers, store, account=account,
        caps=service.caps(section),
        effort=askerlib.Effort(section.timeout, section.retries))
    server = serverlib.Server(
        made, section.address or ADDRESS, token)
    if threading.current_thread() is threading.main_thread():
      for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    announce(server, providers[0], path)
    if ready:
      ready(server)
    watch(store, account, stop)
    print(f'Ended. {told(store.spent(account))}.')
  finally:
    if server:
      server.close()
    for asker in made.values():
      # What was paid for while there was no room, if there is by now.
      asker.finish()
    for provider in providers:
      provider.close()
    if store:
      store.close()


def askers(
    providers: Sequence[types.Provider], store: storelib.Store,
    account: str = 'served', caps: storelib.Caps = storelib.Caps(),
    patience: circuitlib.Patience = circuitlib.Patience(),
    effort: askerlib.Effort = askerlib.Effort()) -> dict[str, askerlib.Asker]:
  """Returns an `Asker` for each mode, with circuits in common.

  Args:
    providers: Who is asked, the preferred one first.
    store: Where replies and the ledger are.
    account: Name under which the ledger counts calls.
    caps: What all runs together may spend.
    patience: Tunables of the circuits.
    effort: How hard to try.
  """
  circuits = [circuitlib.Circuit(patience) for _ in providers]
  return {
      mode: askerlib.Asker(
          [askerlib.Source(i, x, askerlib.identify(x, mode), y)
           for i, (x, y) in enumerate(zip(providers, circuits))],
          store, account, caps, effort)
      for mode in prompts.VERSIONS}


def announce(
    server: serverlib.Server, first: types.Provider, path: Any) -> None:
  """Says that the server listens, and who may listen in."""
  if server.clear:
    print(
        'The token travels in clear: whoever sees the network can read it. An'
        ' `ssh -L` tunnel to a server on 127.0.0.1 hides it.', flush=True)
  print(
      f'Serving {first.name} ({first.model}) on {server.address}, advice in'
      f' {path}. Next, in another terminal: python -m lore_plugin --configs'
      f' minigrid lore --lore.advisor.address {server.address}', flush=True)


def watch(
    store: storelib.Store, account: str, stop: threading.Event,
    every: float = 60.0) -> None:
  """Says what was spent, when it changes, until `stop` is set."""
  said = store.spent(account)
  while not stop.wait(every):
    spent = store.spent(account)
    if spent != said:
      said = spent
      print(told(spent), flush=True)


def told(spent: Mapping[str, float]) -> str:
  """Says what an account has spent."""
  return (
      f'{spent["calls"]} calls, {spent["tokens"]} tokens, '
      f'{spent["money"]:.4f} dollars')
