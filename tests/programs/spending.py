"""Takes the place of a training run that asks until its cap, and is killed.

It asks for one reply a call, at 0.25 dollars each, and prints how many it
could ask for and how many it knew. Nothing is closed at its end.
"""

import os
import pathlib
import sys

from lore_plugin.advisor import build
from lore_plugin.advisor import store as storelib


def main(flags):
  logdir = flags['--logdir']
  store = storelib.Store(pathlib.Path(logdir) / 'advice.sqlite')
  account = build.account({'account': ''}, store, logdir)
  terms = storelib.Terms(storelib.Caps(money=1.0), money=0.25)
  known = store.query('select count(*) from ledger')[0][0]
  asked = 0
  while store.reserve(account, f'{known + asked}', terms)[0] is not None:
    asked += 1
  print(f'knew {known}, asked {asked}', flush=True)
  os._exit(1)


if __name__ == '__main__':
  args = sys.argv[1:]
  main({x: y for x, y in zip(args, args[1:]) if x.startswith('--')})
