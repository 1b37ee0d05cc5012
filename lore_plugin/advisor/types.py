"""The nouns that travel between environment, agent and advisor.

An environment describes what its agent sees as a `Description`, which crosses
process borders as a fixed-size uint8 array (`lore/state`). The advisor turns a
description into a `Query` for a `Provider`, gets a `Reply`, and makes action
logits, the `Advice`, of it. Nothing here imports jax.
"""

import abc
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
  """A subgoal that can be advised, and how to pursue it from here.

  Attributes:
    name: The subgoal in words, unique within its description: 'take the key'.
    actions: Indices of the actions that lead towards it, as far as the agent
      can see. Empty where the agent can't tell.
  """
  name: str
  actions: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
  """What the agent sees, in words. An advisor is told nothing else.

  Attributes:
    text: The observation in words. One to a few sentences; or a picture, see
      `pictures`.
    mission: The task in words.
    actions: The word for each action, in the order of the action space; A
      entries. '' marks an action that is never to be advised.
    options: Subgoals to choose from; empty if the world knows none.
    events: Macro boundaries that this step crossed: 'key taken'. Not part of
      the state's identity.
    version: Name and version of the world: 'minigrid-3'.
  """
  text: str
  mission: str
  actions: tuple[str, ...]
  options: tuple[Option, ...] = ()
  events: tuple[str, ...] = ()
  version: str = ''

  def encode(self, size: int) -> np.ndarray:
    """Returns the description as UTF-8 JSON, zero-padded. Shape [size], u8."""
    data = json.dumps([
        self.text, self.mission, self.actions,
        [(x.name, x.actions) for x in self.options],
        self.events, self.version,
    ], ensure_ascii=False, separators=(',', ':')).encode('utf-8')
    if len(data) > size:
      raise errors.EnvError(
          f'A description takes {len(data)} bytes, but lore.text_bytes is '
          f'{size}. Set --lore.text_bytes {-(-len(data) // 512) * 512}.')
    out = np.zeros(size, np.uint8)
    out[:len(data)] = np.frombuffer(data, np.uint8)
    return out

  @classmethod
  def decode(cls, array: np.ndarray | bytes) -> 'Description':
    """Reads what `encode` wrote. Takes an array or bytes, padded or not."""
    data = bytes(array) if isinstance(array, bytes) else array.tobytes()
    text, mission, actions, options, events, version = json.loads(
        data.rstrip(b'\0').decode('utf-8'))
    options = tuple(Option(name, tuple(acts)) for name, acts in options)
    return cls(
        text, mission, tuple(actions), options, tuple(events), version)


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
  """One question to a provider: which of the candidates is best here?

  Attributes:
    description: What the agent sees.
    candidates: The answers to choose from, in words; K >= 2 entries.
    mode: 'action' if candidates are actions, 'subgoal' if they are options.
  """
  description: Description
  candidates: tuple[str, ...]
  mode: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
  """What a provider answered.

  Attributes:
    scores: Natural log-probability of each candidate, up to a constant; K
      finite entries.
    raw: The answer as it came, for the record; parsed again when the parser
      improves.
    tokens_in: Tokens read, cached ones included; None if nobody says.
    tokens_out: Tokens written; None if nobody says.
    money: Price of the call in US dollars; None if nobody says.
    seconds: Wall time of the call.
    by: Who answered, where that may be another than who was asked: provider,
      model and version of the prompt.
  """
  scores: tuple[float, ...]
  raw: str = ''
  tokens_in: int | None = 0
  tokens_out: int | None = 0
  money: float | None = 0.0
  seconds: float = 0.0
  by: tuple[str, str, str] | None = None


class Provider(abc.ABC):
  """Answers queries. Implementations are registered in an entry-point group.

  Attributes:
    name: The provider's name in `lore.advisor.provider`.
    model: Which model answers; part of the identity of stored advice.
    paid: Whether calls leave this machine or cost money. Paid providers are
      asked asynchronously by default.
    calibrate: Whether the scores carry a bias per candidate that its mean
      over states estimates (contextual calibration).
    sees: Whether it can be asked about a picture.
    parser: Version of `parse`; stored replies of an older one are read anew.
    where: Address of the server that is asked; '' for none.
    silent: Whether it is never asked itself: another brings its answers.
  """

  name = ''
  model = ''
  paid = False
  calibrate = False
  sees = False
  parser = 1
  where = ''
  silent = False

  @classmethod
  def rehearse(cls, config: Mapping[str, Any], seed: int) -> None:
    """Raises what the constructor would, if that takes no second to know.

    A paid provider is made instead, and closed.
    """
    del config, seed

  @abc.abstractmethod
  def ask(self, query: Query) -> Reply:
    """Returns a `Reply` to a `Query`.

    Raises:
      CallError: In one of its classes; nothing else may be raised.
    """

  def estimate(self, query: Query) -> tuple[int, float]:
    """Returns the most that a call may take: tokens, and US dollars."""
    del query
    return 0, 0.0

  def parse(self, raw: str, count: int) -> tuple[float, ...]:
    """Reads the scores of K = count candidates out of a stored `Reply.raw`.

    Raises:
      ParseError: They can't be read.
    """
    raise errors.ParseError(f'{type(self).__name__} keeps no answers.')

  def close(self) -> None:
    """Frees what the provider holds. May be called twice."""
