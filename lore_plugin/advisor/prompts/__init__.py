"""Turns a query into the words that a language model reads.

A prompt is a file named by mode and version, `subgoal-1.txt`, of parts. A
world whose words have a prompt of their own is asked for subgoals by the file
named as its version is, `minigrid-3.txt`, and one of another package by what
it brings along (`learn`): whoever changes that changes the world's version,
by which replies are stored. Part
`# system` says what is wanted, for models that follow instructions; `# prefix`
is the fixed beginning with its worked examples; `# mission` and `# question`
are the forms that each query fills in. Prefix, mission and question follow one
another directly, from what changes never to what changes always, so that the
beginning can be cached. The question ends where the answer begins, so that a
model that only continues texts can be asked as well.

The fields are one line each. Whatever an observation or a mission contains, it
is put on that line: it can't end it, begin another, or close the examples.
"""

import dataclasses
import functools
import importlib.resources
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from ... import errors
from .. import pictures
from .. import types

VERSIONS = {'subgoal': 'subgoal-1', 'action': 'action-1'}
# Where the question is a picture.
VISION = 'vision-1'

# Characters kept of each field; a long text keeps its beginning.
LIMIT = {'mission': 200, 'text': 1200, 'candidate': 80}


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
  """What a provider sends.

  Attributes:
    version: Name and version of the prompt's file; part of the identity of
      stored advice.
    system: Instructions for models that follow them.
    prefix: The fixed beginning, the same for all queries of this version.
    mission: The part that the task decides, the same within an episode.
    question: The part that the state decides, up to where the answer begins.
    candidates: The answers to choose from, cleaned, in the query's order; K
      entries. An answer continues the question after one space.
    picture: A PNG in base64 that belongs to the question; '' for none.
  """
  version: str
  system: str
  prefix: str
  mission: str
  question: str
  candidates: tuple[str, ...]
  picture: str = ''


def render(query: types.Query) -> Prompt:
  """Writes the prompt of a query.

  Args:
    query: A `Query`. Any unicode; K >= 2 candidates.

  Returns:
    A `Prompt`.

  Raises:
    ConfigError: If there is no prompt for the query's mode.
  """
  version = choose(query)
  parts = load(version)
  text, picture = query.description.text, ''
  if pictures.is_picture(text):
    text, picture = 'The one in the picture.', pictures.enlarge(text)
  fields = _fields(query.description.mission, text, query.candidates)
  mission, question = (fill(parts[x], fields) for x in ('mission', 'question'))
  return Prompt(
      version, parts['system'], parts['prefix'], mission, question,
      tuple(map(_word, query.candidates)), picture)


def _word(candidate):
  return clean(candidate, LIMIT['candidate']) or '-'


def _fields(mission, text, candidates):
  """Returns what is filled into the forms of mission and question."""
  return {
      'options': ', '.join(map(_word, candidates)),
      'mission': clean(mission, LIMIT['mission']) or 'none',
      'text': clean(text, LIMIT['text']) or 'nothing known'}


def choose(query: types.Query) -> str:
  """Returns the version of the prompt of a query.

  Raises:
    ConfigError: If there is no prompt for the query's mode.
  """
  errors.choose(query.mode, VERSIONS, 'mode in lore.advisor.mode')
  if pictures.is_picture(query.description.text):
    return VISION
  world = query.description.version
  if query.mode == 'subgoal' and world in worlds():
    return world
  return VERSIONS[query.mode]


def worlds() -> frozenset[str]:
  """Returns the versions of the worlds with a prompt of their own."""
  return _files() | _brought.keys()


@functools.lru_cache
def _files():
  files = importlib.resources.files(__name__).iterdir()
  names = {x.name.removesuffix('.txt') for x in files
           if x.name.endswith('.txt')}
  return frozenset(names.difference([*VERSIONS.values(), VISION]))


@functools.lru_cache
def ranks(version: str) -> bool:
  """Returns whether a prompt asks for a ranking of what is always the same.

  Its question lists no options, so that nothing of it is a model's liking for
  words that it has just read: what is liked at any stage belongs to the
  answer.
  """
  return '{options}' not in load(version)['question']


# Prompts that worlds of other packages brought along: parts by version.
_brought: dict[str, dict[str, str]] = {}


def learn(world: type[Any]) -> None:
  """Takes in the prompt that a world brings along, if it does.

  Args:
    world: Its class: `version`, `manual` and `examples` of a `World`.

  Raises:
    ConfigError: It can't be used; says why.
  """
  if not world.manual and not world.examples:
    return
  general = load(VERSIONS['subgoal'])
  form = general['mission'] + general['question'] + ' {answer}\n\n'
  told = ''
  try:
    for question, answer in world.examples:
      if answer not in question.choices:
        raise ValueError(f'{answer!r} is none of {question.choices}')
      told += fill(form, {'answer': _word(answer), **_fields(
          question.mission, question.facts, question.choices)})
    system = ' '.join(str(world.manual).split())
  except (TypeError, ValueError, AttributeError) as e:
    raise errors.ConfigError(
        f'The prompt of the world {world.__name__} can\'t be used: {e}. Its '
        f'examples are pairs of a Question and the choice that is right '
        f'there; docs/worlds.md shows how.') from e
  _brought[world.version] = {
      **general, 'system': f'{system}\n' if system else general['system'],
      'prefix': told or general['prefix']}


def fill(form: str, fields: Mapping[str, str]) -> str:
  """Returns a form with its fields filled in.

  In one pass: a field that contains a field's name is not filled in again.
  """
  return re.sub(r'\{(\w+)\}', lambda x: fields[x.group(1)], form)


def clean(text: str, limit: int) -> str:
  """Returns text as one line that no prompt or model takes for its frame.

  White space and control characters become single spaces, quotation marks
  become apostrophes, and the brackets that models use for their own markers
  ('<|im_end|>', '[INST]') become round.

  Args:
    text: Any string.
    limit: Most characters to keep.
  """
  text = unicodedata.normalize('NFC', text)
  text = ''.join(
      ' ' if unicodedata.category(x)[0] in 'CZ' else x for x in text)
  text = re.sub('["`\u00ab\u00bb\u2018-\u201f]', "'", text)
  text = text.translate(_BRACKETS)
  return ' '.join(text.split())[:limit].strip()


_BRACKETS = str.maketrans('<>[]{}|#', '()()()/ ')


def load(version: str) -> dict[str, str]:
  """Returns a prompt: {part: text}."""
  return _brought[version] if version in _brought else _read(version)


@functools.lru_cache
def _read(version):
  """Reads a prompt's file."""
  file = importlib.resources.files(__name__) / f'{version}.txt'
  _, *parts = re.split(
      r'^# (system|prefix|mission|question)\n',
      file.read_text('utf-8'), flags=re.M)
  parts = dict(zip(parts[::2], parts[1::2]))
  parts['question'] = parts['question'].rstrip('\n')
  return parts
