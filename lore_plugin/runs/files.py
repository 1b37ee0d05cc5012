"""The file of a suite: what may stand in it, and how it is read."""

import pathlib
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pydantic

from .. import errors
from . import models

TASK = re.compile(r'[A-Za-z0-9][\w./:+-]*')
# Values of a suite, with what anchors stand for written out.
MOST = 10_000

Name = Annotated[str, pydantic.BeforeValidator(models.name)]


def task_name(value: object) -> str:
  if not (isinstance(value, str) and TASK.fullmatch(value)) or '..' in value:
    raise ValueError(
        f'{models.shorten(value)} is no name of a task, such as '
        'minigrid_DoorKey-5x5.')
  return value


def whole(value: object) -> object:
  """Turns 1e4, which YAML reads as a number with a point, into an integer."""
  if isinstance(value, float) and value.is_integer():
    return int(value)
  return value


def unique(values: list) -> list:
  twice = [x for x in values if values.count(x) > 1]
  if twice:
    raise ValueError(f'it holds {twice[0]!r} twice.')
  return values


Task = Annotated[str, pydantic.BeforeValidator(task_name)]
Steps = Annotated[
    int, pydantic.BeforeValidator(whole), pydantic.Field(ge=1)]
Seed = Annotated[int, pydantic.Field(ge=0)]
Blocks = Annotated[list[str], pydantic.AfterValidator(unique)]
Share = Literal['none', 'file', 'service']


class ArmFile(models.Model):
  """An arm as a suite's file has it; see `suites.Arm`."""

  configs: Blocks | None = None
  overrides: dict[str, Any] | None = None
  share: Share | None = None
  rival: str = ''
  adversary: str = ''


class Budget(models.Model):
  """Caps on what is shared; None is no cap of its own."""

  calls: int | None = None
  tokens: int | None = None
  money: float | None = None


class SuiteFile(models.Model):
  """A suite's file; see `suites`."""

  name: Name
  about: str = ''
  steps: Steps | dict[str, Steps]
  seeds: Annotated[
      list[Seed], pydantic.Field(min_length=1),
      pydantic.AfterValidator(unique)]
  tasks: Annotated[
      list[Task], pydantic.Field(min_length=1),
      pydantic.AfterValidator(unique)]
  configs: Blocks = []
  overrides: dict[str, Any] | None = None
  env: dict[str, str | int | float] | None = None
  alone_every: Annotated[
      int, pydantic.BeforeValidator(whole), pydantic.Field(ge=0)] = 0
  share: Share = 'none'
  budget: Budget = Budget()
  arms: Annotated[
      dict[Name, ArmFile | None], pydantic.Field(min_length=1)]

  @pydantic.field_validator('seeds', mode='before')
  @classmethod
  def _count(cls, value):
    plain = isinstance(value, int) and not isinstance(value, bool)
    return list(range(value)) if plain and value > 0 else value


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads a suite's file as plain values.

  Raises:
    ConfigError: It can't be read, or names something twice.
  """
  import ruamel.yaml
  try:
    data = ruamel.yaml.YAML(typ='safe').load(
        path.read_text(encoding='utf-8'))
  except ruamel.yaml.constructor.DuplicateKeyError as e:
    found = re.search(r'duplicate key "([^"]*)"', str(e))
    line = e.problem_mark.line + 1 if e.problem_mark else '?'
    raise errors.ConfigError(
        f'{path} names {found.group(1) if found else "a key"!r} twice (line '
        f'{line}). Every arm and key needs a name of its own.') from e
  except (OSError, UnicodeDecodeError, ruamel.yaml.YAMLError) as e:
    raise errors.ConfigError(f'Can\'t read the suite {path}: {e}') from e
  except RecursionError as e:
    raise errors.ConfigError(f'{path} is nested too deeply.') from e
  if not isinstance(data, dict):
    raise errors.ConfigError(
        f'{path} must hold keys and values: '
        f'{", ".join(SuiteFile.model_fields)}.')
  if sum(1 for _ in zip(range(MOST + 1), walk(data))) > MOST:
    raise errors.ConfigError(
        f'{path} holds more than {MOST:,} values, with what its anchors stand '
        'for written out. Write a suite of its own for each part.')
  return data


def walk(value: Any) -> Iterator[Any]:
  """Yields every value below one, as often as anchors repeat it."""
  left = [value]
  while left:
    value = left.pop()
    yield value
    if isinstance(value, dict):
      left += [*value, *value.values()]
    elif isinstance(value, list):
      left += value
