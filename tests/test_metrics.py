"""docs/metrics.md names what the code logs, and nothing else."""

import ast
import inspect
import pathlib
import re

import pytest
from advising import consider

from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import counts
from lore_plugin.advisor import database
from lore_plugin.advisor import experience
from lore_plugin.advisor import policy
from lore_plugin.advisor import types
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.agent import trust
from lore_plugin.runs import collect

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / 'docs/metrics.md').read_text(encoding='utf-8')
SIGNALS = ('entropy', 'value', 'disagreement')


def section(title):
  """Returns the text under a heading that begins so."""
  found = re.split(r'^## ', PAGE, flags=re.M)
  return next(x for x in found if x.startswith(title))


def documented(title):
  """Returns the names in the first cells of a section's tables."""
  cells = re.findall(r'^\| (`.+?) \|', section(title), re.M)
  return {y for x in cells for y in re.findall(r'`(\w+)`', x)}


def keys(tree, function):
  """Returns the keys of dicts that a function makes, f-strings filled in."""
  (where,) = (
      x for x in ast.walk(tree)
      if isinstance(x, ast.FunctionDef) and x.name == function)
  names = set()
  for node in ast.walk(where):
    if isinstance(node, ast.Dict):
      names |= {x.value for x in node.keys if isinstance(x, ast.Constant)}
    if isinstance(node, ast.DictComp) and isinstance(
        node.key, ast.JoinedStr):
      text = ast.unparse(node.key)[2:-1]
      names |= {text.replace('{k}', x) for x in SIGNALS}
    if isinstance(node, ast.Assign) and isinstance(
        node.targets[0], ast.Subscript):
      key = node.targets[0].slice
      names |= {key.value} if isinstance(key, ast.Constant) else set()
    if isinstance(node, ast.Yield):
      names.add(node.value.elts[0].value)
  return names


@pytest.fixture(scope='module')
def agent():
  path = ROOT / 'lore_plugin/agent/lore.py'
  return ast.parse(path.read_text(encoding='utf-8'))


def test_training(agent):
  logged = keys(agent, '_after') | keys(agent, '_advice_loss')
  logged |= trust.Trust(trust.Settings()).stats().keys()
  assert documented('Training') == logged


def test_steps(agent):
  logged = keys(agent, '_describe')
  assert documented('Each step') == logged


def test_calls():
  logged = {'states', 'answered', 'pending', 'hit_rate', 'failures'}
  logged |= set(counts.ALWAYS)
  logged |= experience.Experience().stats().keys()
  for path in (ROOT / 'lore_plugin/advisor').glob('*.py'):
    text = path.read_text(encoding='utf-8')
    logged |= set(re.findall(r"counts\['(\w+)'\]", text))
  logged = {x for x in logged if not x.startswith('refused_')}
  logged |= {f'spent_{x}' for x in ('calls', 'tokens', 'money')}
  families = {'failures_KIND', 'asked_REASON', 'refused_REASON'}
  assert documented('Calls') == logged | families
  text = section('Calls')
  for name in (*counts.KINDS, 'internal'):
    assert f'`{name}`' in text, name


def test_which_counters_are_of_this_process_alone():
  """The others go on where a run was saved."""
  reply = types.Reply((0.0, -1.0), tokens_in=7, tokens_out=2, money=0.5)
  make = lambda: service.Advisor(
      Mock(default=reply), 4, service.Settings(ask='sync'),
      experience=experience.Experience())
  first, second = make(), make()
  for text in ('a', 'b', 'a'):
    consider(first, text)
  before = first.stats()
  assert before['calls'] == 2 and before['tokens_in'] == 14
  second.load(first.save())
  after = second.stats()
  lost = {k for k in before if after.get(k) != before[k]}
  assert lost == {'states'}
  rows = re.findall(r'^\| `(\w+)` .*process', section('Calls'), re.M)
  # Nothing is under way here; what was is asked again.
  assert set(rows) == lost | {'pending'}
  consider(second, 'c')
  assert second.stats()['calls'] == 3


def test_reasons_of_the_call_policy():
  on = policy.CallPolicy(policy.Limits(macro=True, min_u=0.0))
  refused = set(re.findall(r"return '(\w+)'", inspect.getsource(
      policy.CallPolicy.refuse)))
  assert len(refused) == 4
  for name in {*on.reasons, *policy.CallPolicy().reasons, *refused}:
    assert f'`{name}`' in section('Calls'), name


def test_what_is_collected_is_documented():
  for found in collect.METRICS.values():
    for name in found:
      last = name.removesuffix('/avg').rpartition('/')[2]
      assert f'`{last.removeprefix("lore_")}`' in PAGE or last in (
          'val', 'ret'), name


def test_tables_of_the_store():
  db = database.Database(':memory:')
  with db.read() as reader:
    tables = [x[0] for x in reader.execute(
        "select name from sqlite_master where type = 'table' and name not "
        "like 'sqlite_%'")]
    found = {
        x: {y[1] for y in reader.execute(f'pragma table_info({x})')}
        for x in tables}
  db.close()
  text = section('Files of a run')
  for table, columns in found.items():
    (row,) = re.findall(rf'^\| `{table}` \| (.*) \|$', text, re.M)
    assert columns <= set(re.findall(r'`(\w+)`', row)), table
  assert f'`user_version` {database.FORMAT}' in text
