"""Upstream's main() without LoRe: run_upstream.py CONFIGS FLAGS...

What today's jax and elements need is done here once more, in short, so that
nothing of the package takes part.
"""

import inspect
import pathlib
import sys

import elements
import jax

names = ('in_shardings', 'out_shardings', 'static_argnums', 'static_argnames',
         'donate_argnums')
jit = jax.jit
if 'KEYWORD_ONLY' in str(
    inspect.signature(jit).parameters['in_shardings'].kind.name):
  jax.jit = lambda f, *args, **kw: jit(f, **dict(zip(names, args)), **kw)


def add(self, key, value=None, agg=None, prefix=None, plain=elements.Agg.add):
  if isinstance(agg, tuple):
    [plain(self, f'{key}/{x}', value, x, prefix) for x in agg]
  else:
    plain(self, key, value, agg, prefix)


elements.Agg.add = add

import dreamerv3.main  # noqa: E402
import tiny  # noqa: E402

assert not any(x.startswith('lore_plugin') for x in sys.modules)
tiny.prepare()
dreamerv3.main.folder = pathlib.Path(sys.argv[1])
dreamerv3.main.main(sys.argv[2:])
assert not any(x.startswith('lore_plugin') for x in sys.modules)
