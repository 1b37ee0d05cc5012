"""The rules of the house: who may import whom, and how long a part may be.

docs/architecture.md gives the rooms. What breaks a rule today is listed in
`KNOWN`, from which lines are only taken away.
"""

import ast
import graphlib
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
# Only `__main__` and `api` open these.
TOOLS = {'play', 'runs', 'report', 'doctor'}
FOREIGN = {'dreamerv3', 'embodied', 'portal'}  # Only `upstream` touches these.

KNOWN: set[str] = set()  # Nothing, by now.


def parse(folder):
  """Returns trees by dotted name of the module, without the package's."""
  found = {}
  for path in sorted((ROOT / folder).rglob('*.py')):
    parts = path.relative_to(ROOT).with_suffix('').parts
    name = '.'.join(parts).removesuffix('.__init__')
    found[name] = path, ast.parse(path.read_text(encoding='utf-8'))
  return found


MODULES = parse('lore_plugin')


def imports(name):
  """Returns the modules that one imports, wherever in it."""
  path, tree = MODULES[name]
  package = name if path.name == '__init__.py' else name.rpartition('.')[0]
  found = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found |= {x.name for x in node.names}
    if isinstance(node, ast.ImportFrom):
      up = package.split('.')[:len(package.split('.')) + 1 - node.level]
      base = '.'.join([*(up if node.level else []),
                       *([node.module] if node.module else [])])
      inner = {x for x in node.names if f'{base}.{x.name}' in MODULES}
      found |= {f'{base}.{x.name}' for x in inner}
      if len(inner) < len(node.names):
        found.add(base)
  return found


def room(name):
  """Returns the room of a module: 'advisor', or '__main__' of the hall."""
  return (name + '.').split('.')[1] if name.startswith('lore_plugin') else ''


def forbidden(name, other):
  """Returns whether a module must not import another."""
  here, there, top = room(name), room(other), other.split('.')[0]
  if top in FOREIGN or other.startswith('elements.'):
    return here != 'upstream'
  if here in ('advisor', 'worlds'):
    return there == 'agent' or top == 'jax'
  if there in TOOLS and here not in {*TOOLS, '__main__', 'api'}:
    return here not in ('launch', 'finish') or other not in (
        'lore_plugin.play.rollout', 'lore_plugin.play.alone')
  return False


def broken(rule):
  """Returns what breaks a rule and isn't known to."""
  return sorted(set(rule) - KNOWN)


def test_who_imports_whom():
  assert not broken(
      f'{name} imports {other}' for name in MODULES
      for other in imports(name) if forbidden(name, other))


def test_no_circles():
  graph = {
      name: {x for x in imports(name) if x in MODULES and x != name
             and f'{name} imports {x}' not in KNOWN} for name in MODULES}
  tuple(graphlib.TopologicalSorter(graph).static_order())


def sizes(name, path, tree):
  """Yields whatever is too long in a module."""
  if len(path.read_text(encoding='utf-8').splitlines()) > 500:
    yield f'{name}: file over 500 lines'
  for x in ast.walk(tree):
    lines = getattr(x, 'end_lineno', 0) - getattr(x, 'lineno', 0) + 1
    if isinstance(x, ast.ClassDef) and lines > 300:
      yield f'{name}.{x.name}: class over 300 lines'
    if isinstance(x, (ast.FunctionDef, ast.AsyncFunctionDef)):
      if lines > 60:
        yield f'{name}.{x.name}: function over 60 lines'
      count = len(x.args.posonlyargs + x.args.args + x.args.kwonlyargs) - 1
      if x.name == '__init__' and count > 10:
        yield f'{name}: constructor over 10 arguments'


def test_sizes():
  modules = {**MODULES, **parse('tests'), **parse('benchmarks')}
  assert not broken(
      x for name, (path, tree) in modules.items()
      for x in sizes(name, path, tree))


def test_no_test_imports_another():
  assert not broken(
      f'{name} imports {other.split(".")[-1]}'
      for name, (_, tree) in parse('tests').items()
      for node in ast.walk(tree)
      for other in ([x.name for x in node.names]
                    if isinstance(node, ast.Import) else
                    [node.module or ''] if isinstance(node, ast.ImportFrom)
                    else [])
      if other.split('.')[-1].startswith('test_'))
