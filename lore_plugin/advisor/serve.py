"""Runs the advisor as a process of its own, for many runs.

  export LORE_TOKEN=...   # only if other machines shall reach it
  python -m lore_plugin serve --logdir ~/advisor \\
    --lore.advisor.provider anthropic --lore.advisor.address 127.0.0.1:2225 \\
    --lore.advisor.calls 1000 --lore.advisor.money 5.0

  python -m dreamerv3 --configs minigrid lore \\
    --lore.advisor.address 127.0.0.1:2225

The options are those of a run. The caps hold for all clients together; where
each run shall have its own as well, set them there too. The advice is in
--lore.advisor.store, or in the logdir.
"""

import os
import signal
import sys
import threading

from .. import config as configlib
from .. import errors
from . import remote
from . import build as service
from . import store as storelib

ADDRESS = '127.0.0.1:2225'


def main(argv=None, ready=None):
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
  stop = threading.Event()
  providers, store, server = [], None, None
  try:
    providers = service.create(section, config.seed)
    path = service.locate(section.store, str(config.logdir))
    store = storelib.Store(path, durable=any(x.paid for x in providers))
    server = remote.Server(
        providers, store,
        address=section.address or ADDRESS,
        token=os.environ.get(remote.TOKEN, ''),
        account=section.account or 'served',
        caps=service.caps(section),
        patience=service.patience(section),
        timeout=section.timeout,
        retries=section.retries,
        workers=section.workers)
    if threading.current_thread() is threading.main_thread():
      for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    first = providers[0]
    print(
        f'Serving {first.name} ({first.model}) on {server.address}, advice in'
        f' {path}.', flush=True)
    if ready:
      ready(server)
    watch(store, section.account or 'served', stop)
  finally:
    if server:
      server.close()
    for provider in providers:
      provider.close()
    if store:
      store.close()


def watch(store, account, stop, every=60.0):
  """Says what was spent, when it changes, until `stop` is set."""
  said = store.spent(account)
  while not stop.wait(every):
    spent = store.spent(account)
    if spent != said:
      said = spent
      print(
          f'{spent["calls"]} calls, {spent["tokens"]} tokens,'
          f' {spent["money"]:.4f} dollars', flush=True)
