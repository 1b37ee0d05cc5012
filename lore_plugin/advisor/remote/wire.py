"""The messages between a run and the advisor's server, and their bounds.

Neither side trusts the other: what a message may hold is written here once,
and whatever is not of that form is refused whole.
"""

import os
import re
import socket
from typing import Annotated, Literal

import pydantic

from ... import errors
from .. import prompts
from .. import rows
from .. import store as storelib
from .. import types

FORMAT = 4
# Of servers that a client understands. Those of 3 name nobody in an answer.
FORMATS = (3, 4)
TOKEN = 'LORE_TOKEN'
LOOPBACK = ('127.0.0.1', '::1', 'localhost')

QUESTION = 1024 ** 2  # Bytes of the largest question; far above any.
ANSWER = 16 * 1024 ** 2  # Bytes of the largest answer.
PAGE = 4 * 1024 ** 2  # Bytes after which the feed begins another message.
ROWS = 256  # Replies in one message of the feed.

Name = Annotated[str, pydantic.Field(min_length=1, max_length=300)]
Text = Annotated[str, pydantic.Field(max_length=rows.LONGEST)]
Count = Annotated[int, pydantic.Field(ge=0, lt=2 ** 53)]
Amount = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Prompt = Annotated[str, pydantic.Field(max_length=300)]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Digest = Annotated[str, pydantic.Field(pattern='^[0-9a-f]{64}$')]
Mode = Literal['subgoal', 'action']
Texts = Annotated[list[Text], pydantic.Field(max_length=1000)]

assert set(Mode.__args__) == set(prompts.VERSIONS)


class Message(pydantic.BaseModel):
  model_config = pydantic.ConfigDict(extra='forbid', frozen=True)


class Other(Message):
  """Whom a server asks where the first one fails; see `Hello`."""
  provider: Name
  model: Name
  calibrate: bool = False
  prompts: dict[Mode, Prompt]


class Hello(Message):
  """What a client is told first.

  Attributes:
    format: Version of these messages.
    provider: Whom the server asks.
    model: Which model of theirs.
    paid: Whether its calls cost money or leave its machine.
    calibrate: Whether its scores carry a bias.
    sees: Whether it can be asked about pictures.
    prompts: Version of the prompt by mode.
    others: Whom it asks where that one fails, in their order.
    spent: Calls, tokens and dollars of all clients so far.
  """
  format: int
  provider: Name
  model: Name
  paid: bool = True
  calibrate: bool = False
  sees: bool = False
  prompts: dict[Mode, Prompt]
  others: Annotated[list[Other], pydantic.Field(max_length=100)] = []
  spent: dict[Name, Amount] = {}


class Question(Message):
  """A `Query` as plain values."""
  text: Text
  mission: Text
  version: Text
  actions: Texts
  options: Annotated[
      list[tuple[Text, Annotated[list[Count], pydantic.Field(max_length=1000)]]
           ], pydantic.Field(max_length=1000)]
  candidates: Annotated[
      list[Text], pydantic.Field(min_length=2, max_length=1000)]
  mode: Mode


class Answer(Message):
  """A `Reply`. What it cost is the server's business.

  Attributes:
    scores: One for each candidate.
    raw: The answer as it came.
    provider: Who gave it, '' where an older server does not say.
    model: Which model of theirs.
    prompt: Version of the prompt.
  """
  scores: Annotated[
      list[Finite], pydantic.Field(min_length=2, max_length=1000)]
  raw: Text
  provider: Annotated[str, pydantic.Field(max_length=300)] = ''
  model: Annotated[str, pydantic.Field(max_length=300)] = ''
  prompt: Prompt = ''


class Row(Message):
  """A stored reply, with the columns of the store and no others."""
  seq: Count
  key: Digest
  state: Digest
  provider: Name
  model: Name
  prompt: Text
  describer: Text
  mode: Mode
  text: Text
  mission: Text
  candidates: Annotated[
      list[Text], pydantic.Field(min_length=2, max_length=1000)]
  scores: Annotated[
      list[Finite], pydantic.Field(min_length=2, max_length=1000)]
  raw: Text
  parser: Count
  tokens_in: Count
  tokens_out: Count
  money: Amount
  seconds: Amount
  created: Amount


class News(Message):
  """Replies in the order of `seq`; `more` says that others follow."""
  rows: Annotated[list[Row], pydantic.Field(max_length=ROWS)]
  more: bool


class Problem(Message):
  """Why there is no answer.

  Attributes:
    error: Name of a class of errors.CallError.
    message: What happened; of a RefusedCall the reason.
    retry_after: Seconds to wait, if that helps.
  """
  error: Literal[
      'RejectedCall', 'BusyCall', 'FailedCall', 'ParseError', 'RefusedCall']
  message: Text
  retry_after: Amount | None = None


def pack(query: types.Query) -> Question:
  """Returns a query as a message.

  Raises:
    RejectedCall: It exceeds the bounds of a message.
  """
  desc = query.description
  try:
    return Question(
        text=desc.text, mission=desc.mission, version=desc.version,
        actions=desc.actions,
        options=[(x.name, x.actions) for x in desc.options],
        candidates=query.candidates, mode=query.mode)
  except pydantic.ValidationError as e:
    raise errors.RejectedCall(f'The question is none: {brief(e)}.') from e


def unpack(question: Question) -> types.Query:
  """Returns the query that `pack` took apart."""
  options = tuple(
      types.Option(name, tuple(actions)) for name, actions in question.options)
  description = types.Description(
      question.text, question.mission, tuple(question.actions), options, (),
      question.version)
  return types.Query(
      description, tuple(question.candidates), question.mode)


def belongs(row: Row, identity: storelib.Identity, mode: str) -> bool:
  """Returns whether a row is of an identity, and stored where it says."""
  if (row.provider, row.model, row.prompt, row.mode) != (
      identity.provider, identity.model, identity.prompt, mode):
    return False
  if len(row.scores) != len(row.candidates):
    return False
  query = types.Query(
      types.Description(row.text, row.mission, (), version=row.describer),
      tuple(row.candidates), row.mode)
  return (row.state, row.key) == (
      storelib.question_key(query), storelib.reply_key(identity, query))


def brief(error: pydantic.ValidationError) -> str:
  """Returns the first thing that is wrong, without what was sent."""
  first, *_ = error.errors(include_input=False, include_url=False)
  place = '.'.join(map(str, first['loc'][:4]))
  return f'{place}: {first["msg"]}' if place else first['msg']


def read_token() -> str:
  """Returns the token of the environment; '' if there is none.

  Raises:
    ConfigError: It can't be sent in a header.
  """
  token = os.environ.get(TOKEN, '')
  if not re.fullmatch(r'[!-~]*', token):
    raise errors.ConfigError(
        f'{TOKEN} holds blanks, line breaks or letters outside ASCII. Set it'
        f' again: export {TOKEN}=$(openssl rand -hex 16)')
  return token


def parse(address: str) -> tuple[str, int]:
  """Returns host and port of 'host:port'.

  Raises:
    ConfigError: It is not of that form.
  """
  host, _, port = str(address).rpartition(':')
  host = host.strip('[]')
  if not re.fullmatch(r'[A-Za-z0-9._:%-]+', host) or not re.fullmatch(
      '[0-9]{1,5}', port) or int(port) > 65535:
    raise errors.ConfigError(
        f'{address!r} is no address (lore.advisor.address). Give host and'
        ' port, as in 127.0.0.1:2225.')
  return host, int(port)


def join(host: str, port: int) -> str:
  """Returns 'host:port', as `parse` reads it and a URL holds it."""
  return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def is_loopback(host: str) -> bool:
  """Returns whether a header `Host` names this machine as itself alone."""
  found = re.fullmatch(
      r'(?:\[(?P<six>[0-9A-Fa-f:]+)\]|(?P<name>[^\[\]:]+))(?::[0-9]*)?', host)
  if found is None:
    return False
  return (found['six'] or found['name'].lower()) in LOOPBACK


def free_port(host: str) -> int:
  """Returns a port that nobody uses now."""
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  with socket.socket(family, socket.SOCK_STREAM) as sock:
    sock.bind((host, 0))
    return sock.getsockname()[1]
