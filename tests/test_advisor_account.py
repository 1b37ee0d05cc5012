"""One account a run: wherever its folder is, and whatever became of its file.
"""

import copy
import logging
import pickle
import shutil

import pytest
from advising import consider

from lore_plugin import errors
from lore_plugin import options
from lore_plugin.advisor import build
from lore_plugin.advisor import store as storelib

DEFAULTS = options.section('lore.advisor')


@pytest.fixture
def make():
  made = []

  def fn(logdir, saved=None, resumed=True, **kwargs):
    section = copy.deepcopy(DEFAULTS)
    section.update({'provider': 'scripted', 'calls': 6, **kwargs})
    made.append(build.build({
        'logdir': str(logdir), 'seed': 0, 'lore': {'advisor': section}}, 4))
    if saved:
      made[-1].load(pickle.loads(saved), resumed)
    return made[-1]
  yield fn
  for advisor in made:
    advisor.close()


def ask(advisor, *texts):
  """Asks about states. Returns how many calls that made."""
  before = advisor.stats()['calls']
  for text in texts:
    consider(advisor, text)
  return advisor.stats()['calls'] - before


def end(advisor):
  """Ends a run. Returns its checkpoint."""
  saved = pickle.dumps(advisor.save())
  advisor.close()
  return saved


def test_folder_that_was_moved(make, tmp_path):
  first = make(tmp_path / 'a')
  assert ask(first, *'abcd') == 4
  saved = end(first)
  shutil.move(tmp_path / 'a', tmp_path / 'b')
  for checkpoint in (saved, None):
    # Also if it was killed before it saved anything.
    second = make(tmp_path / 'b', checkpoint)
    assert second.spent()['calls'] >= 4
    ask(second, *'efgh')
    assert second.spent()['calls'] == 6
    second.close()


def test_folder_reached_by_a_link(make, tmp_path):
  first = make(tmp_path / 'a')
  ask(first, *'abcd')
  first.close()
  (tmp_path / 'link').symlink_to(tmp_path / 'a')
  assert ask(make(tmp_path / 'link'), *'efgh') == 2


def test_link_to_a_run_whose_advice_is_elsewhere(make, tmp_path):
  store = str(tmp_path / 'shared' / 'x.sqlite')
  first = make(tmp_path / 'a', store=store)
  ask(first, *'abcd')
  first.close()
  (tmp_path / 'a').mkdir()
  (tmp_path / 'link').symlink_to(tmp_path / 'a')
  assert ask(make(tmp_path / 'link', store=store), *'efgh') == 2


def test_file_that_was_removed(make, tmp_path):
  first = make(tmp_path / 'a')
  ask(first, *'abcd')
  saved = end(first)
  shutil.rmtree(tmp_path / 'a')
  second = make(tmp_path / 'a', saved)
  assert second.spent()['calls'] == 4
  assert ask(second, *'abcd') == 2


def test_moved_with_its_advice_elsewhere(make, tmp_path):
  store = str(tmp_path / 'shared' / 'x.sqlite')
  first = make(tmp_path / 'a', store=store)
  ask(first, *'abcd')
  second = make(tmp_path / 'b', end(first), store=store)
  assert ask(second, *'efgh') == 2


def test_others_in_the_same_file_have_their_own(make, tmp_path):
  store = str(tmp_path / 'shared' / 'x.sqlite')
  first = make(tmp_path / 'a', store=store)
  assert ask(first, *'abcd') == 4
  assert ask(make(tmp_path / 'b', store=store), *'efghij') == 6
  # Advice of a run's own folder is read by another run.
  own = make(tmp_path / 'c')
  assert ask(own, *'kl') == 2
  other = make(tmp_path / 'd', store=str(tmp_path / 'c'))
  assert ask(other, *'mnopqr') == 6
  assert own.spent()['calls'] == 2


def test_store_knows_more_than_the_checkpoint(make, tmp_path):
  first = make(tmp_path / 'a')
  ask(first, *'ab')
  saved = pickle.dumps(first.save())
  ask(first, *'cd')
  first.close()
  assert ask(make(tmp_path / 'a', saved), *'efgh') == 2


def test_new_run_from_the_checkpoint_of_another(make, tmp_path):
  first = make(tmp_path / 'a')
  ask(first, *'abcd')
  second = make(tmp_path / 'b', end(first), resumed=False)
  assert ask(second, *'efghij') == 6


def test_account_that_was_named(make, tmp_path):
  first = make(tmp_path / 'a', account='ours')
  ask(first, *'abcd')
  saved = end(first)
  shutil.rmtree(tmp_path / 'a')
  assert ask(make(tmp_path / 'a', saved, account='ours'), *'efgh') == 2
  # Whoever names another one means it.
  assert ask(make(tmp_path / 'b', saved, account='new'), *'efgh') == 4


def test_moved_file_of_version_0_1(make, tmp_path):
  first = make(tmp_path / 'a')
  ask(first, *'abcd')
  first.close()
  store = storelib.Store(tmp_path / 'a' / 'advice.sqlite')
  with store._db.write() as db:
    db.execute('delete from notes')
  store.close()
  shutil.move(tmp_path / 'a', tmp_path / 'b')
  assert ask(make(tmp_path / 'b'), *'efgh') == 2


def test_removed_while_it_is_used(make, tmp_path, caplog):
  first = make(tmp_path / 'a')
  assert ask(first, *'abcd') == 4
  (tmp_path / 'a' / 'advice.sqlite').unlink()
  assert ask(first, *'efgh') == 0
  assert 'removed or replaced' in caplog.text
  # What is known stays known.
  assert consider(first, 'a')[1].all()
  second = make(tmp_path / 'a', end(first))
  assert ask(second, *'abcd') == 2


def test_a_store_that_is_locked_for_a_while_as_a_run_goes_on(
    make, tmp_path, monkeypatch):
  """Nothing is asked before four of six calls are counted; then two are."""
  first = make(tmp_path / 'a')
  assert ask(first, *'abcd') == 4
  saved = end(first)
  shutil.rmtree(tmp_path / 'a')
  second = make(tmp_path / 'a')

  def locked(*args):
    raise errors.StoreError('locked by another program')
  with monkeypatch.context() as patch:
    patch.setattr(second.store, 'carry', locked)
    second.load(pickle.loads(saved))
    assert ask(second, *'ef') == 0
  assert ask(second, *'efgh') == 2
  assert second.spent()['calls'] == 6


def test_another_advisor_than_before(make, tmp_path, caplog):
  first = make(tmp_path / 'a')
  saved = end(first)
  with caplog.at_level(logging.WARNING, 'lore_plugin'):
    make(tmp_path / 'a', saved).close()
    assert not caplog.records
    make(tmp_path / 'a', saved, provider='random')
  assert 'was advised by scripted' in caplog.text
  assert 'type --lore.advisor.provider scripted' in caplog.text


def test_auto_is_decided_once(monkeypatch):
  monkeypatch.delenv('ANTHROPIC_API_KEY', raising=False)
  assert build.resolve_provider('auto') == 'local'
  monkeypatch.setenv('ANTHROPIC_API_KEY', 'x')
  assert build.resolve_provider('auto') == 'anthropic'
  assert build.resolve_provider('auto, local,anthropic') == 'anthropic,local'
  assert build.resolve_provider('scripted') == 'scripted'


def test_who_advises_is_said_at_the_start(make, tmp_path):
  first = make(tmp_path / 'a')
  line = build.introduce(first)
  assert line.startswith('Advisor: scripted (')
  assert 'subgoals, at most 6 calls; advice in' in line
  ask(first, *'ab')
  first.close()
  assert '6 calls, 2 made so far' in build.introduce(make(tmp_path / 'a'))


def test_checkpoint_of_version_0_1(make, tmp_path):
  advisor = make(tmp_path / 'a')
  advisor.load({
      'steps': 7, 'counts': {'calls': 3, 'hits': 2},
      'policy': {
          'steps': {0: 7}, 'td': {}, 'seats': {0: (9, False, 0.0, [])},
          'situations': [], 'means': (None, None, 0, 0.0)},
      'states': {64 * 'a': [3, 0], 64 * 'b': [1, 2]}, 'replies': [64 * 'c']})
  assert advisor.stats()['calls'] == 3 and advisor.steps == 7
  assert 64 * 'b' in advisor.table.failed
  assert 64 * 'a' not in advisor.table.failed


def test_what_was_spent_is_known_without_the_file(make, tmp_path):
  first = make(tmp_path / 'a')
  assert ask(first, *'abcd') == 4
  # Overwritten while the run uses it.
  (tmp_path / 'a' / 'advice.sqlite').write_bytes(b'x' * 100_000)
  (tmp_path / 'a' / 'advice.sqlite-wal').write_bytes(b'x' * 100_000)
  assert first.spent()['calls'] == 4
  assert first.save()['spent']['calls'] == 4
