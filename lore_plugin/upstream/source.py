"""What upstream's main.py says of itself, read without running it.

A user's checkout may have flags, suites, scripts and outputs of its own. They
are theirs: nothing of ours takes their place or calls them unknown.
"""

import ast
import functools
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from .find import Upstream

# What upstream's main.py imports by itself.
OWN = frozenset((
    'elements', 'embodied', 'embodied.envs', 'functools', 'importlib', 'numpy',
    'os', 'pathlib', 'portal', 'ruamel', 'sys'))
FLAG = re.compile(r'--([A-Za-z_][\w.-]*)')


@functools.cache
def parse(path: pathlib.Path) -> ast.Module:
  """Returns the syntax tree of a file; an empty one if it can't be read."""
  try:
    return ast.parse(path.read_text(encoding='utf-8'))
  except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
    return ast.parse('')  # Importing it will tell.


def flags(found: Upstream) -> set[str]:
  """Returns the names of the flags that main.py reads by itself.

  They are keywords of `Flags(...)`, and whatever is written with its dashes.
  """
  names = set()
  for node in ast.walk(parse(found.folder / 'main.py')):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      match = FLAG.fullmatch(node.value)
      names |= {match.group(1)} if match else set()
    if isinstance(node, ast.Call) and _name(node.func) == 'Flags':
      names |= {x.arg for x in node.keywords if x.arg}
  return names - {'configs', 'help'}


def split(
    found: Upstream, argv: Iterable[Any],
    keys: Iterable[str]) -> tuple[list[str], list[str]]:
  """Parts the flags that only main.py knows from those of the configuration.

  Args:
    found: The copy of upstream.
    argv: Flags with their values.
    keys: Names of the configuration's flags, which go before.

  Returns:
    The flags of the configuration, and those of main.py, each with values.
  """
  own = flags(found) - set(keys)
  ours: list[str] = []
  theirs: list[str] = []
  goal = None
  for arg in map(str, argv):
    if arg.startswith('--'):
      name = arg.removeprefix('--').partition('=')[0]
      goal = theirs if name in own else ours
    (ours if goal is None else goal).append(arg)
  return ours, theirs


def words(found: Upstream, function: str) -> set[str]:
  """Returns all texts that a function of main.py, or a table there, names.

  Args:
    found: The copy of upstream.
    function: Name of the function. Tables are dictionaries that main.py makes
      outside of any function.
  """
  tree = parse(found.folder / 'main.py')
  parts = [
      x for x in tree.body
      if isinstance(x, ast.FunctionDef) and x.name == function
      or isinstance(x, (ast.Assign, ast.AnnAssign))]
  return {
      x.value for part in parts for x in ast.walk(part)
      if isinstance(x, ast.Constant) and isinstance(x.value, str)}


def compared(found: Upstream, function: str) -> set[str]:
  """Returns the texts that a function of main.py tells cases apart by."""
  parts = [
      x for x in ast.walk(parse(found.folder / 'main.py'))
      if isinstance(x, ast.FunctionDef) and x.name == function]
  cases = [
      x for part in parts for x in ast.walk(part)
      if isinstance(x, (ast.Compare, ast.MatchValue, ast.Dict))]
  return {
      x.value for case in cases for x in ast.walk(case)
      if isinstance(x, ast.Constant) and isinstance(x.value, str)}


def names(found: Upstream, function: str) -> set[str]:
  """Returns the names and attributes that a function of main.py reads."""
  parts = [
      x for x in ast.walk(parse(found.folder / 'main.py'))
      if isinstance(x, ast.FunctionDef) and x.name == function]
  return {
      _name(x) for part in parts for x in ast.walk(part)
      if isinstance(x, (ast.Name, ast.Attribute))}


def imported(found: Upstream, function: str) -> set[str]:
  """Returns what a function reads that main.py imports from a user's module.

  What upstream's own main.py imports holds no table of suites.
  """
  bound = set()
  for node in ast.walk(parse(found.folder / 'main.py')):
    theirs: list[ast.alias] = []
    if isinstance(node, ast.Import):
      theirs = [
          x for x in node.names if x.name.partition('.')[0] not in OWN]
    elif isinstance(node, ast.ImportFrom) and node.module not in OWN:
      theirs = node.names
    bound |= {(x.asname or x.name).partition('.')[0] for x in theirs}
  return bound & names(found, function)


def makes(found: Upstream, suite: str) -> bool:
  """Whether main.py's own make_env makes the tasks of a suite."""
  return any(
      x == suite or x.startswith(f'{suite}_')
      for x in words(found, 'make_env'))


def taken(found: Upstream, suites: Iterable[str]) -> list[str]:
  """Returns which of some suites main.py's own make_env makes."""
  return [x for x in suites if makes(found, x)]


def _name(node):
  return getattr(node, 'attr', getattr(node, 'id', ''))
