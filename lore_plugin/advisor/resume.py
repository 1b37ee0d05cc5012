"""What of an advisor lives in a checkpoint, and how a run goes on from it.

Replies are in the store; here are counters, what the call policy remembers,
and what was spent. Nothing here grows with the length of a run: names are few
and short, and which replies a replay has given is said in ranges.
"""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from . import replay as replaylib
from . import store as storelib
from . import types
from .remote import client as remote

log = logging.getLogger('lore_plugin')


def save(advisor: Any) -> dict[str, Any]:
  """Returns what a resumed run needs beside the store, as plain values."""
  table = advisor.table
  return {
      'steps': advisor.steps,
      'counts': dict(advisor.counts),
      'policy': advisor.policy.save(),
      'failed': table.failed.save(),
      'answered': table.answered.save(),
      'replies': [known(advisor, x.provider) for x in advisor.sources],
      'sources': identities(advisor.sources),
      'asked': identities(asked(advisor)),
      'replayed': replays(advisor),
      **({'experience': advisor.guide.experience.save()}
         if advisor.guide else {}),
      'account': advisor.asker.account,
      'spent': advisor.spent()}


def load(advisor: Any, data: dict[str, Any], resumed: bool = True) -> None:
  """Goes on where `save` was called.

  A replay knows again exactly the replies that it knew; otherwise all that the
  store holds are known anyway.

  Args:
    advisor: The `Advisor`; its lock is held.
    data: What `save` returned, also in version 0.1.
    resumed: Whether it is the same run that goes on. Another one, which only
      begins there, learns what choices led to and what is in vain to ask; it
      counts, spends and knows the replies of nobody but itself.
  """
  for name in failed(advisor, data):
    advisor.table.failed.add(name)
  if advisor.guide and 'experience' in data:
    advisor.guide.experience.load(data['experience'])
  if not resumed:
    return
  advisor.steps = data['steps']
  advisor.counts.clear()
  advisor.counts.update(data['counts'])
  advisor.policy.load(data['policy'])
  for name in data.get('answered', ()):
    advisor.table.answered.add(name)
  if 'account' in data and advisor.settings.own:
    advisor.asker.account = data['account']
  know(advisor, data['replies'])
  if 'account' in data:
    carry(advisor, data['account'], data['spent'])
  if advisor.asker.caps.calls:
    compare(advisor, data)


def failed(advisor: Any, data: dict[str, Any]) -> list[str]:
  """Returns names of questions that are in vain to ask, also now.

  What one provider can't answer another may, and what a replay lacks, whoever
  it recorded.
  """
  if 'failed' not in data:
    # Visits and tries of each state; two tries were allowed.
    return [k for k, (_, tries) in data['states'].items() if tries >= 2]
  gone = data.get('replayed', False) and not replays(advisor)
  return data['failed'] if is_same(advisor, data) and not gone else []


def replays(advisor: Any) -> bool:
  """Returns whether recorded answers are given, and nobody is asked."""
  return any(
      isinstance(x.provider, replaylib.Replay) for x in advisor.sources)


def carry(advisor: Any, account: str, spent: dict[str, float]) -> None:
  """Lets the greater count hold: the store's, or the checkpoint's.

  The folder may have been moved, and the store removed.
  """
  if advisor.asker.account != account:
    return
  try:
    advisor.store.carry(account, spent)
  except Exception as e:
    # Nothing is asked before that is counted.
    advisor.asker.owed = spent
    advisor.counts.note('store', e)


def asked(advisor: Any) -> list:
  """Returns the sources that are asked themselves."""
  return [x for x in advisor.sources if not x.provider.silent]


def is_same(advisor: Any, data: dict[str, Any]) -> bool:
  """Returns whether the advisor is the one that a checkpoint tells of.

  Whom a server asks where its first provider fails is the server's affair, and
  checkpoints of earlier versions do not tell of them.
  """
  if 'sources' not in data:
    return True  # Version 0.1 tells of nobody.
  every = [list(x) for x in data['sources']]
  before = every, [list(x) for x in data.get('asked', every)]
  now = identities(advisor.sources)
  if now in before or identities(asked(advisor)) in before:
    return True
  # Who never answered is in no recording.
  return replays(advisor) and all(x in every for x in now)


def compare(advisor: Any, data: dict[str, Any]) -> None:
  """Says so where a resumed run has another advisor than before."""
  if is_same(advisor, data):
    return
  before = data.get('asked', data['sources'])
  flags = (
      f'--lore.advisor.provider {",".join(x[0] for x in before)}'
      f' --lore.advisor.model {before[0][1] if before else repr("")}')
  where = next((
      x.provider.where for x in advisor.sources
      if isinstance(x.provider, remote.Remote)), '')
  log.warning(
      'This run was advised by %s until now, and is from now on by %s. To keep'
      ' its advisor, %s.', told(before), told(identities(asked(advisor))),
      # The server settles who is asked.
      f'start the server on {where} with {flags}' if where
      else f'type {flags}')


def told(sources: list) -> str:
  """Returns who advises, in words."""
  return ', '.join(f'{name} ({model}, {prompt})'
                   for name, model, prompt in sources)


def known(advisor: Any, provider: types.Provider) -> Any:
  """Returns which replies are known, as `Replay.load` takes it."""
  if isinstance(provider, replaylib.Replay):
    return provider.save()
  # All that are stored by now.
  try:
    seq, key = advisor.store.latest()
  except Exception as e:
    advisor.counts.note('store', e)
    seq, key = 0, ''
  return {'ranges': [[1, seq]] if seq else [], 'last': key}


def identities(sources: Sequence[Any]) -> list[list[str]]:
  return [list(dataclasses.astuple(x.identity)) for x in sources]


def know(advisor: Any, replies: list) -> None:
  """Lets a replay know again what it knew."""
  whose = {x.identity: x for x in advisor.sources}
  for rank, source in enumerate(advisor.sources):
    if not isinstance(source.provider, replaylib.Replay) or not replies:
      continue
    # In version 0.1, one list of keys for all.
    given = replies if isinstance(replies[0], str) else replies[rank]
    for row in source.provider.load(given) if given else ():
      ticket, _ = advisor.store.reserve(advisor.asker.account, row['key'])
      advisor.table.take(
          advisor.store.copy(ticket, row), whose[storelib.Identity.of(row)])
