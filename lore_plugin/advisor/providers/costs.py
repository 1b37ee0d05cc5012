"""How many tokens a call takes: bounds, and what a server says it used."""

import json
from collections.abc import Iterable


# Tokens of a picture of 512 x 512 pixels: 350 to 8,500 where it was looked up.
PICTURE = 10_000


def bound(args: dict, written: int, pictures: int = 0) -> int:
  """Returns the most tokens a request can read: no tokenizer makes more
  tokens of a text than it has bytes; a thousand are for what a server puts
  around it.

  Args:
    args: The request, without pictures.
    written: Tokens that it may write.
    pictures: How many pictures there are beside.
  """
  around = 1000 + pictures * PICTURE
  return len(json.dumps(args).encode()) + around + written


def used(counts: Iterable, most: int, least: int = 0) -> int:
  """Returns the tokens that a server says it counted.

  A server may say nothing, or anything. Then a call costs what was set aside
  for it, as nothing else is known; and never more.

  Args:
    counts: Numbers to add, as they came; None for those that are absent.
    most: The most that the sum can be.
    least: The least.
  """
  try:
    counts = [int(x) for x in counts if x is not None]
  except (TypeError, ValueError, OverflowError):
    return most
  fits = counts and min(counts) >= 0 and least <= sum(counts) <= most
  return sum(counts) if fits else most
