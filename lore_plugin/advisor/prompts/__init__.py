"""Turns a query into the words that a language model reads.

A prompt is a file named by mode and version, `subgoal-1.txt`, of three parts:
`# system` says what is wanted (for models that follow instructions), `# prefix`
is the fixed beginning with its worked examples, and `# question` is the form
that each query fills in. The text of a query ends where the answer begins, so
that a model that only continues texts can be asked as well.

The fields are one line each. Whatever an observation or a mission contains, it
is put on that line: it can't end it, begin another, or close the examples.
"""

import dataclasses
import functools
import importlib.resources
import re
import unicodedata

from ... import errors

VERSIONS = {'subgoal': 'subgoal-1', 'action': 'action-1'}

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
    question: The query's own part, up to where the answer begins. It follows
      the prefix directly.
    candidates: The answers to choose from, cleaned, in the query's order; K
      entries. An answer continues the question after one space.
  """
  version: str
  system: str
  prefix: str
  question: str
  candidates: tuple[str, ...]


def render(query):
  """Writes the prompt of a query.

  Args:
    query: A `Query`. Any unicode; K >= 2 candidates.

  Returns:
    A `Prompt`.

  Raises:
    ConfigError: If there is no prompt for the query's mode.
  """
  errors.choose(query.mode, VERSIONS, 'mode in lore.advisor.mode')
  version = VERSIONS[query.mode]
  system, prefix, form = load(version)
  fields = {
      'mission': clean(query.description.mission, LIMIT['mission']) or 'none',
      'text': clean(query.description.text, LIMIT['text']) or 'nothing known',
  }
  question = re.sub(r'\{(\w+)\}', lambda x: fields[x.group(1)], form)
  candidates = tuple(
      clean(x, LIMIT['candidate']) or '-' for x in query.candidates)
  return Prompt(version, system, prefix, question, candidates)


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
  """Reads a prompt's file: (system, prefix, form of the question)."""
  file = importlib.resources.files(__name__) / f'{version}.txt'
  _, *parts = re.split(
      r'^# (system|prefix|question)\n', file.read_text('utf-8'), flags=re.M)
  parts = dict(zip(parts[::2], parts[1::2]))
  return (
      parts['system'].strip(), parts['prefix'], parts['question'].rstrip('\n'))
