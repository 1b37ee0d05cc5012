"""Turns a query into the words that a language model reads.

A prompt is a file named by mode and version, `subgoal-1.txt`, of parts. A
world whose words have a prompt of their own is asked for subgoals by the file
named as its version is, `minigrid-3.txt`: whoever changes that file changes
the world's version, by which replies are stored. Part
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

from ... import errors
from .. import pictures

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


def render(query):
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
  candidates = tuple(
      clean(x, LIMIT['candidate']) or '-' for x in query.candidates)
  text, picture = query.description.text, ''
  if pictures.is_picture(text):
    text, picture = 'The one in the picture.', pictures.enlarge(text)
  fields = {
      'options': ', '.join(candidates),
      'mission': clean(query.description.mission, LIMIT['mission']) or 'none',
      'text': clean(text, LIMIT['text']) or 'nothing known',
  }
  mission, question = (fill(parts[x], fields) for x in ('mission', 'question'))
  return Prompt(
      version, parts['system'], parts['prefix'], mission, question,
      candidates, picture)


def choose(query):
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


@functools.lru_cache
def worlds():
  """Returns the versions of the worlds with a prompt of their own."""
  files = importlib.resources.files(__name__).iterdir()
  names = {x.name.removesuffix('.txt') for x in files
           if x.name.endswith('.txt')}
  return frozenset(names.difference([*VERSIONS.values(), VISION]))


@functools.lru_cache
def ranks(version):
  """Returns whether a prompt asks for a ranking of what is always the same.

  Its question lists no options, so that nothing of it is a model's liking for
  words that it has just read: what is liked at any stage belongs to the
  answer.
  """
  return '{options}' not in load(version)['question']


def fill(form, fields):
  """Returns a form with its fields filled in.

  In one pass: a field that contains a field's name is not filled in again.
  """
  return re.sub(r'\{(\w+)\}', lambda x: fields[x.group(1)], form)


def clean(text, limit):
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


@functools.lru_cache
def load(version):
  """Reads a prompt's file: {part: text}."""
  file = importlib.resources.files(__name__) / f'{version}.txt'
  _, *parts = re.split(
      r'^# (system|prefix|mission|question)\n',
      file.read_text('utf-8'), flags=re.M)
  parts = dict(zip(parts[::2], parts[1::2]))
  parts['question'] = parts['question'].rstrip('\n')
  return parts
