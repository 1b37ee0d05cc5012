"""Words for actions: the environment's own, or the user's."""

from typing import Any

from .. import errors

NUMBERED = 'numbered'


def find(env: Any) -> tuple[str, ...]:
  """Returns an environment's words for its discrete actions, or ().

  Looks through the wrappers for `action_names`, for `get_action_meanings` (as
  Atari has it), for an enumeration `actions` (as MiniGrid has it), and for
  the table of upstream's Atari.

  Args:
    env: An environment with `act_space` (ours and upstream's) or
      `action_space` (Gymnasium's), however it is wrapped.
  """
  count = _count(env)
  seen: list = []
  while env is not None and not any(env is x for x in seen):
    seen.append(env)
    for read in (_names, _meanings, _members, _table):
      words = tuple(str(x).lower().replace('_', ' ') for x in read(env))
      if words and len(words) == count:
        return words
    inner = (_get(env, x) for x in ('env', '_env', 'unwrapped'))
    env = next((x for x in inner if x is not None), None)
  return ()


def choose(env: Any, given: str, found: tuple[str, ...]) -> tuple[str, ...]:
  """Returns the words for actions, as the user or the environment has them.

  Args:
    env: An environment with `act_space`.
    given: `lore.actions`.
    found: The world's words; () where it knows none.

  Raises:
    ConfigError: Too many or too few are given, or none where some are needed.
  """
  count = _count(env)
  if given == NUMBERED:
    return tuple(f'action {i}' for i in range(count))
  words = tuple(' '.join(x.split()) for x in given.split(','))
  if given:
    if len(words) != count or not any(words):
      raise errors.ConfigError(
          f'lore.actions has {len(words)} words, {given!r}, but the task has '
          f'{count} actions. Give a word for each, with commas between; one '
          'that is left empty is never advised.')
    return words
  if not found:
    raise errors.ConfigError(
        f'The task has {count} actions and no words for them, so that no '
        'model could tell which is which. Type --lore.actions \'left, right, '
        f'...\' with {count} words in their order, or --lore.actions '
        f'{NUMBERED} to call them action 0, action 1 and so on.')
  return found


def _count(env):
  space = _get(env, 'act_space')
  if space is not None:
    return int(space['action'].high)
  return int(_get(_get(env, 'action_space'), 'n') or 0)


def _get(env, name):
  """Returns an attribute; None also where a wrapper raises another error."""
  try:
    return getattr(env, name, None)
  except Exception:
    return None


def _names(env):
  found = _get(env, 'action_names')
  return found if isinstance(found, (list, tuple)) else ()


def _meanings(env):
  fn = _get(env, 'get_action_meanings')
  return fn() if callable(fn) else ()


def _members(env):
  try:
    return [x.name for x in _get(env, 'actions') or ()]
  except (TypeError, AttributeError):
    return ()


def _table(env):
  names, chosen = _get(env, 'ACTION_MEANING'), _get(env, 'actionset')
  try:
    return [names[int(x)] for x in chosen or ()] if names else ()
  except (TypeError, ValueError, IndexError):
    return ()
