"""What pydantic found wrong, as one of our messages."""

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic

from .. import errors

# Becomes the name of a folder.
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._+-]*')
M = typing.TypeVar('M', bound=pydantic.BaseModel)


class Model(pydantic.BaseModel):
  """The base of what is read from files: strict, without keys unknown."""

  model_config = pydantic.ConfigDict(
      extra='forbid', frozen=True, strict=True, allow_inf_nan=False)


def check(model: type[M], data: Any, where: str) -> M:
  """Returns a model of some data.

  Args:
    model: A subclass of `pydantic.BaseModel`.
    data: Plain values.
    where: What to call them in messages.

  Raises:
    ConfigError: The first of what is wrong, and what is allowed.
  """
  try:
    return model.model_validate(data)
  except pydantic.ValidationError as e:
    # A key that nobody knows is most likely a slip, and the cause of others.
    found = sorted(e.errors(), key=lambda x: x['type'] != 'extra_forbidden')
    raise errors.ConfigError(explain(model, found[0], where)) from e


def explain(
    model: type[pydantic.BaseModel], error: Mapping[str, Any],
    where: str) -> str:
  """Returns a sentence on one of pydantic's errors."""
  # Where a value may be of several kinds, the kind is a part of the path.
  path = [x for x in map(str, error['loc']) if not re.search(r'[\[({]', x)]
  if len(path) > 1 and path[-1] in ('int', 'float', 'str', 'dict'):
    path.pop()
  place = '.'.join(path)
  kind, value = error['type'], error['input']
  if kind == 'extra_forbidden':
    inner = follow(model, path[:-1])
    known = ', '.join(inner.model_fields) if inner else ''
    inside = f' ({".".join(path[:-1])})' if path[:-1] else ''
    return (
        f'Unknown key in {where}{inside}: {path[-1]!r}. Choose from: {known}.')
  if kind == 'missing':
    return f'{where} lacks the key {place!r}.'
  if kind == 'value_error':
    return f'{where}: {place}: {error["ctx"]["error"]}'
  return f'{where}: {place} is {shorten(value)}: {lower(error["msg"])}.'


def follow(
    model: type[pydantic.BaseModel] | None,
    path: Sequence[str]) -> type[pydantic.BaseModel] | None:
  """Returns the model that a path leads to, or None."""
  for name in path:
    field = getattr(model, 'model_fields', {}).get(name)
    if field is None:
      # A key of a table, or the number of an entry: what is in it.
      continue
    model = next(inside(field.annotation), None)
  return model


def inside(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
  """Yields the models in an annotation such as dict[str, Model | None]."""
  if isinstance(annotation, type) and issubclass(
      annotation, pydantic.BaseModel):
    yield annotation
  for part in typing.get_args(annotation):
    yield from inside(part)


def shorten(value: object) -> str:
  text = repr(value)
  return text if len(text) <= 60 else f'{text[:57]}...'


def lower(text: str) -> str:
  return text[:1].lower() + text[1:]


def name(value: object) -> str:
  """Returns a name of a folder; for pydantic's validators.

  Raises:
    ValueError: It is none.
  """
  if not isinstance(value, str) or not NAME.fullmatch(value):
    raise ValueError(
        f'{shorten(value)} becomes the name of a folder, which has letters, '
        'digits and . _ + -')
  return value
