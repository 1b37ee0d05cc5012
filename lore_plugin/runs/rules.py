"""Rules that an arm names: a word, and a number where the rule takes one."""

from collections.abc import Mapping

from .. import errors


def read(text: str, kind: str, examples: Mapping[str, str]) -> tuple[str, int]:
  """Returns a rule's name and its number, 0 where it takes none.

  Args:
    text: 'turns 3000'.
    kind: What to call it in messages: 'adversary'.
    examples: How each rule with a number may be written; '' for the others.

  Raises:
    ConfigError: There is no such rule, or its number is wrong.
  """
  name, _, number = text.strip().partition(' ')
  errors.choose(name, examples, kind)
  if not examples[name]:
    if number:
      raise errors.ConfigError(
          f'The {kind} {name!r} takes no number, but {number!r} is given. '
          f'Write: {kind}: {name}')
    return name, 0
  if not number.strip().isdigit() or int(number) < 1:
    raise errors.ConfigError(
        f'The {kind} {name!r} takes a whole number of at least 1, not '
        f'{number!r}: {examples[name]}.')
  return name, int(number)
