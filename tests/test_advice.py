"""What a run's advisor was asked: noted, told on the terminal, on the page."""

import json
import pathlib
import sys

import pytest

from lore_plugin import __main__ as cli
from lore_plugin import errors
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor import table as tablelib
from lore_plugin.advisor import types
from lore_plugin.report import advice
from lore_plugin.report import figures
from lore_plugin.report import training
from lore_plugin.report import summary as report

sys.path.insert(0, str(pathlib.Path(__file__).parent / 'programs'))

import results  # noqa: E402

WORDS = ('left', 'right')
OPTIONS = (types.Option('key', (0,)), types.Option('door', (1,)))


def describe(text, options=OPTIONS):
  return types.Description(text, 'find it', WORDS, options, version='t-1')


def query(text):
  return types.Query(describe(text), ('key', 'door'), 'subgoal')


def name(text):
  return storelib.question_key(query(text))[:tablelib.Names.LETTERS]


def write_run(folder, steps=2000, ended=True, told=True, provider='local'):
  """Writes the folder of a run in which every question led to a success."""
  folder.mkdir(parents=True)
  folder.joinpath('config.yaml').write_text(
      'task: minigrid_DoorKey-5x5\nseed: 3\nrun: {steps: 3000, envs: 2}\n'
      'lore:\n  enabled: true\n  advisor: {store: ""}\n')
  log, journal = [], []
  for i, step in enumerate(range(20, steps + 1, 20)):
    won = float(i % 10 > 0)
    row = {'step': step, 'episode/score': won, 'episode/length': 10.0}
    if told:
      row['episode/success'] = won
    if i == 1:
      row.update({
          'train/lore/kl': 0.5, 'train/advisor/calls': 2.0,
          'train/advisor/spent_money': 0.25})
    log.append(row)
    journal.append({
        'step': step, 'env': 0, 'score': won, 'length': 10,
        'advised': int(won), 'calls': 2.0, 'asked': [3],
        'questions': [[name('a key'), 'key']] if won else []})
  write = lambda rows: '\n'.join(map(json.dumps, rows)) + '\n'
  folder.joinpath('metrics.jsonl').write_text(write(log))
  folder.joinpath('episodes.jsonl').write_text(write(journal))
  if ended:
    folder.joinpath('summary.json').write_text(json.dumps({
        'measure': 'success' if told else 'return', 'windows': [0.9, 0.9],
        'at': {}, 'last': 0.9, 'steps_to_goal': 0, 'episodes': len(log),
        'return': 0.9, 'seconds': 60.0, 'alone': None}))
  store = storelib.Store(folder / 'advice.sqlite')
  who = storelib.Identity(provider, 'tiny.gguf:1:ab', 'subgoal-1')
  for text, scores in (('a key', (0.0, -2.0)), ('<b>a door', (-1.0, 0.0))):
    ticket, _ = store.reserve('run-1', storelib.reply_key(who, query(text)))
    store.settle(ticket, who, query(text), types.Reply(
        scores, 'it said so', 30, 1, 0.125, 0.5))
  ticket, _ = store.reserve('run-1', 'other')
  store.fail(ticket, 7, 0.0, 'no words', 'unreadable')
  store.close()
  return folder


@pytest.fixture
def logdir(tmp_path):
  return write_run(tmp_path / 'mine')


@pytest.fixture
def quickly(monkeypatch):
  """Draws no figure; tests of suites draw them all."""
  monkeypatch.setattr(figures, 'PLOTS', ())


def test_what_is_read(logdir):
  found = advice.read(logdir)
  assert found['calls'] == 3 and found['tokens'] == 69
  assert found['dollars'] == 0.25
  assert found['episodes']['advised'] == {
      'episodes': 90, 'success': 1.0, 'return': 1.0, 'cut': 0}
  assert found['episodes']['control']['success'] == 0
  key, door = found['questions']
  assert key['choices'] == [['key', 0.8808], ['door', 0.1192]]
  assert key['pursued'] == {'key': key['led_to']} and not door['pursued']
  assert door['best'] == 'door' and door['led_to']['episodes'] == 0
  assert key['led_to'] == found['episodes']['advised']
  assert found['unanswered'][0]['reason'] == 'unreadable'


def test_control_episodes_that_took_too_long():
  row = {'advised': 0.5, 'success': 1.0, 'score': 0.7}
  found = advice.outcome([row, {'advised': 0, 'success': 0.0, 'score': 0.1}])
  assert found == {
      'episodes': 2, 'success': 0.0, 'return': 0.4, 'cut': 1}
  assert advice.told(found) == (
      '2 (1 took too long, and were advised then), success 0.00, mean return '
      '0.40')


def test_on_the_terminal(logdir, capsys):
  assert cli.main(['advice', str(logdir)]) == 0
  out = capsys.readouterr().out
  for line in (
      '2 questions, 3 calls, 69 tokens, $0.2500',
      '  > key   0.88  pursued in 90, success 1.00, mean return 1.00',
      '    door  0.12', 'unreadable, 7 tokens',
      'Met in advised episodes: 90, success 1.00, mean return 1.00',
      f'Next: python -m lore_plugin report {logdir} --open'):
    assert line in out
  assert 'local (tiny.gguf), 31 tokens, $0.1250' in out


def test_searched_and_as_json(logdir, capsys):
  assert cli.main(['advice', str(logdir), '--json', 'A +D']) == 0
  found = json.loads(capsys.readouterr().out)
  assert [x['text'] for x in found['questions']] == ['<b>a door']
  assert cli.main(['advice', str(logdir), '(']) == 2
  assert 'no regular expression' in capsys.readouterr().err


def test_no_advice(tmp_path, logdir, capsys):
  assert cli.main(['advice', str(tmp_path / 'none')]) == 2
  assert 'there is no such folder' in capsys.readouterr().err
  for path in logdir.glob('advice.sqlite*'):
    path.unlink()
  assert cli.main(['advice', str(logdir)]) == 2
  assert 'doctor' in capsys.readouterr().err
  (logdir / 'config.yaml').write_text('task: [')
  assert cli.main(['advice', str(logdir)]) == 2
  assert 'written by half' in capsys.readouterr().err


def test_report_of_one_run(logdir, quickly):
  page = report.write([logdir]).read_text()
  assert 'LoRe: runs' in page and '1 run.' in page
  assert 'mine: as it ended' in page and 'mine: what the advisor' in page
  assert '▶ key 0.88, door 0.12' in page and '&lt;b&gt;a door' in page
  assert '90, success 1.00, mean return 1.00' in page
  assert 'has not ended' not in page and 'rl-only' not in page
  assert 'Commit' not in page


def test_report_of_a_run_that_still_trains(tmp_path, quickly):
  folder = write_run(tmp_path / 'a', ended=False)
  page = report.write([folder]).read_text()
  assert 'a has not ended: its log goes to step 2,000 of 3,000.' in page
  run, _ = training.read(folder, 'a')
  assert run.money() == 0.25 and run.calls() == 3 and run.steps == 2000
  (folder / 'metrics.jsonl').write_text('{"step": 5}\n')
  (folder / 'summary.json').unlink(missing_ok=True)
  with pytest.raises(errors.ConfigError, match='no training episode'):
    report.write([folder])


def test_report_where_nobody_says_what_success_is(tmp_path, quickly):
  folder = write_run(tmp_path / 'a', told=False)
  config = folder / 'config.yaml'
  config.write_text(config.read_text().replace('minigrid_', 'crafter_'))
  page = report.write([folder]).read_text()
  assert 'does not say what a success is' in page
  assert 'Mean return of the agent alone' in page


def test_report_of_several(tmp_path, quickly):
  runs = [write_run(tmp_path / x / 'run') for x in 'ab']
  suite = results.write(tmp_path / 'suite', {'rl-only': [0, 1000]})
  page = report.write(
      [*runs, runs[0], suite], tmp_path / 'out', reference='a/run').read_text()
  assert 'b/run against a/run: too few seeds' in page
  assert 'suite: DoorKey-5x5' in page and 'rl-only' in page
  assert training.names([tmp_path / 'x', tmp_path / 'y']) == {
      tmp_path / 'x': 'x', tmp_path / 'y': 'y'}


def test_the_page_is_opened(logdir, quickly, monkeypatch, capsys):
  seen = []
  monkeypatch.setattr(
      report.webbrowser, 'open', lambda url: seen.append(url) or False)
  assert cli.main(['report', str(logdir), '--open']) == 0
  page = logdir / 'report' / 'index.html'
  assert seen == [page.as_uri()]
  out = capsys.readouterr().out
  assert 'No browser was found' in out
  assert f'Next: python -m lore_plugin evaluate {logdir} --record' in out
