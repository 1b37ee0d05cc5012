"""Answers from a file of stored advice alone, so that a run can be repeated.

Replay takes the place of the provider, not of the cache: the call policy and
the caps decide as they did, and each reply becomes known at the step at which
it was asked for. So a run in sync mode with `lore.deterministic` is repeated
bit for bit, offline and without a key. The file is not changed.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from .. import errors
from .. import retired
from . import providers
from . import store as storelib
from . import types
from .providers import flawed

MODES = ('none', 'strict', 'lenient')


class Replay(types.Provider):
  """Gives the stored answers of another provider, or of several.

  Args:
    path: File of advice.
    name: Whose answers: a provider's name, or several with commas between,
      the preferred one first; 'auto' if the file tells.
    model: Which model's; '' if the file tells.
    prompt: Which prompt's.
    several: Whether 'auto' means all whom the file tells of: a run behind a
      server has answers of each that the server asked.

  Attributes:
    identity: Whose answers are preferred.
    others: Whose answers are given besides. An advisor takes them as sources
      after this one, so that their answers are theirs.

  Raises:
    StoreError: There is no such file, or it can't be read.
    ConfigError: The file does not tell whose answers are meant.
  """

  def __init__(
      self, path: str | os.PathLike, name: str = 'auto', model: str = '',
      prompt: str = '', several: bool = False):
    self.store = storelib.Store(path, readonly=True)
    self._given: dict[Any, str] = {}
    try:
      self._check()
      self._whose = self._choose(name, model, prompt, several)
    except BaseException:
      self.store.close()
      raise
    self.identity, *others = self._whose
    self.others = [Recorded(x) for x in others]
    self.name = self.identity.provider
    self.model = self.identity.model
    # Stored scores are taken as they are, also if the parser has improved.
    self.parser = 0
    self.sees = True  # Whoever answered did.
    self.calibrate = is_biased(self.name)

  def _check(self):
    worlds = self.store.worlds()
    if worlds and retired.WORLDS.keys() >= worlds.keys():
      raise errors.ConfigError(
          f'{self.store.path!r} can\'t be replayed: it holds '
          f'{retired.unused(worlds)}, a world that is gone, and nothing else.'
          ' Type --lore.advisor.replay none, or use the version of LoRe that'
          ' made it.')

  def _choose(self, name, model, prompt, several):
    """Returns whose answers are meant, the preferred one first."""
    # The one whom a server prefers is asked first.
    held = [storelib.Identity(*x) for x in self.store.query(
        'select provider, model, prompt from replies'
        ' group by provider, model, prompt order by min(seq)')]
    names = list(dict.fromkeys(x.strip() for x in name.split(',')))
    fitting, clear = [], True
    for one in names:
      found = [
          x for x in held if prompt in ('', x.prompt)
          and (x.provider == one or one == 'auto' and x.provider not in names)
          and (is_named(x.model, model) or len(names) > 1 and is_fixed(x))]
      clear &= len(found) <= 1 or several and one == 'auto'
      fitting += found
    if fitting and clear:
      return fitting
    told = '; '.join(
        f'{x.provider} {x.model!r} {x.prompt}, {n} replies'
        for x, n in self.store.identities())
    raise errors.ConfigError(
        f'lore.advisor.replay needs one advisor, but {len(fitting)} in'
        f' {self.store.path!r} fit provider {name!r}, model {model!r}, prompt'
        f' {prompt!r}. It holds: {told or "nothing"}. Type'
        ' --lore.advisor.provider and --lore.advisor.model, or name another'
        ' file by --lore.advisor.store PATH. Of a run that asked b where a'
        ' failed, type --lore.advisor.provider a,b.')

  def ask(self, query: types.Query) -> types.Reply:
    for identity in self._whose:
      row = self.store.get(storelib.reply_key(identity, query))
      if row:
        break
    else:
      raise errors.ReplayError(
          f'{self.store.path!r} holds no answer for this state:'
          f' {query.description.text!r:.200}. Type --lore.advisor.replay'
          ' lenient to go on without advice there.')
    self._given[row['seq']] = row['key']
    return types.Reply(
        row['scores'], row['raw'], row['tokens_in'], row['tokens_out'],
        row['money'], row['seconds'], by=dataclasses.astuple(identity))

  def save(self) -> dict:
    """Returns which replies were given, as plain values.

    Replies are numbered in the order in which they were asked for, so that a
    few ranges of numbers name them all.
    """
    given = sorted(self._given)
    last = given[-1] if given else None
    return {'ranges': ranges(given), 'last': self._given.get(last, '')}

  def load(self, data: Any) -> list[dict]:
    """Goes on where `save` was called.

    Args:
      data: What `save` returned, also that of a run that asked for itself; or
        a list of keys as in version 0.1.

    Returns:
      Rows of the replies that were given, of those whose answers it gives.

    Raises:
      StoreError: The file is another one than then.
    """
    if isinstance(data, list):
      rows = [x for x in map(self.store.get, data) if x]
    else:
      rows = list(self._within(data['ranges']))
      if rows and rows[-1]['key'] != data['last']:
        raise errors.StoreError(
            f'{self.store.path!r} is not the file whose advice this run knows.'
            ' Name that by --lore.advisor.store PATH.')
    self._given = {x['seq']: x['key'] for x in rows}
    return [x for x in rows if storelib.Identity.of(x) in self._whose]

  def _within(self, spans):
    """Yields the rows whose numbers are in [first, last] of some span."""
    for first, last in spans:
      after = first - 1
      while after < last and (rows := self.store.since(after)):
        yield from (x for seq, x in rows if x and seq <= last)
        after = rows[-1][0]

  def close(self) -> None:
    self.store.close()


class Recorded(types.Provider):
  """Whose answers a replay gives besides those of whom it prefers.

  Args:
    identity: Whose they are.
  """

  silent = True
  sees = True
  parser = 0

  def __init__(self, identity: storelib.Identity):
    self.identity = identity
    self.name = identity.provider
    self.model = identity.model
    self.calibrate = is_biased(self.name)

  def ask(self, query: types.Query) -> types.Reply:
    raise errors.RefusedCall('elsewhere')


def is_biased(name: str) -> bool:
  """Returns whether the scores of a provider carry a bias."""
  try:
    return providers.load(name).calibrate
  except errors.ConfigError:
    # Its package is not installed here; subgoals need no calibration.
    return False


def is_fixed(identity: storelib.Identity) -> bool:
  """Returns whether a provider has this one model, whatever was typed."""
  try:
    return providers.load(identity.provider).model == identity.model
  except errors.ConfigError:
    return False


def is_named(identity: str, model: str) -> bool:
  """Whether `lore.advisor.model` means an advisor of a file.

  Args:
    identity: The model as the file has it: 'tiny.gguf:98362432:b179c952' of a
      file of weights.
    model: What was typed: a name, the path of such a file, the share of right
      answers of the advisor `flawed`, or ''.
  """
  if model in ('', identity) or flawed.is_named(identity, model):
    return True
  # The weights need not be there any more, nor in the same place.
  path, name = pathlib.PurePath(model), identity.partition(':')[0]
  return path.suffix == '.gguf' and path.name == name != identity


def ranges(numbers: Iterable[int]) -> list[list[int]]:
  """Returns [first, last] of each run of whole numbers in a row, sorted."""
  out: list[list[int]] = []
  for x in numbers:
    if out and x == out[-1][1] + 1:
      out[-1][1] = x
    else:
      out.append([x, x])
  return out
