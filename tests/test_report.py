"""Figures, statistics and the page, from made-up results."""

import gzip
import html.parser
import json
import math
import pathlib
import re
import sys

import numpy as np
import pytest

from lore_plugin import __main__ as cli
from lore_plugin import errors
from lore_plugin.play import record
from lore_plugin.report import figures
from lore_plugin.report import load
from lore_plugin.report import page as viewer
from lore_plugin.report import stats
from lore_plugin.report import summary as report
from lore_plugin.report import words
from lore_plugin.runs import results as formats

sys.path.insert(0, str(pathlib.Path(__file__).parent / 'programs'))

import results  # noqa: E402

ARMS = {
    'rl-only': [5000, 5500, 6000, 5200, 5800],
    'fast': [0, 0, 1000, 0, 0],
    'alike': [5100, 5400, 5900, 5300, 5700],
    'never': [None] * 5,
    'half': [3000, None, 4000, None, None]}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """One report, with what can go wrong without being an error."""
  folder = tmp_path_factory.mktemp('results') / 'one'
  results.write(folder, ARMS, extra=[
      results.run('fast', 8, status='crashed', summary=None),
      results.run('lost', 0, status='missing', summary=None)])
  results.record_episode(folder / 'recordings', text='</script><b>')
  (folder / 'recordings' / 'cut.json.gz').write_bytes(b'\x1f\x8b')
  report.write([folder])
  return folder


@pytest.fixture(scope='module')
def page(made):
  return (made / 'report' / 'index.html').read_text()


@pytest.fixture(scope='module')
def section(made):
  text = (made / 'report' / 'statistics.json').read_text()
  return json.loads(text)['sections'][0]


def test_files(made):
  names = {x.name for x in (made / 'report').iterdir()}
  for figure in (
      'curves', 'steps', 'comparison', 'profile', 'cost', 'asking', 'series'):
    for theme in ('', '-dark'):
      for kind in ('png', 'svg'):
        assert f'{figure}{theme}.{kind}' in names
  png = (made / 'report' / 'curves.png').read_bytes()
  assert int.from_bytes(png[16:20]) == 1600, 'sharp at 800 pixels'


def test_page_needs_no_network(page):
  loaded = re.findall(r'(?:src|href|srcset|action)="([^"#]*)', page)
  assert loaded and all(x.startswith('data:') or not x for x in loaded)
  assert "default-src 'none'" in page
  assert not re.search(r'@import|url\(', page)


def test_page_is_well_formed(page):
  class Checker(html.parser.HTMLParser):
    open, ids = [], []
    void = {'meta', 'link', 'img', 'source', 'input', 'line', 'path'}

    def handle_starttag(self, tag, attrs):
      attrs = dict(attrs)
      self.ids += [attrs['id']] if 'id' in attrs else []
      assert tag != 'img' or 'alt' in attrs
      if tag not in self.void:
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
      pass

    def handle_endtag(self, tag):
      assert self.open.pop() == tag, tag

  checker = Checker()
  checker.feed(page)
  assert not checker.open and len(set(checker.ids)) == len(checker.ids)


def test_findings(section):
  shown = {x['arm']: x for x in section['findings'] if x['shown']}
  found = {x['arm']: x for x in section['findings'] if not x['shown']} | shown
  assert shown.keys() == {'fast', 'never', 'half'}
  assert re.search(
      r'fast against rl-only: 1\.33 \[.*\] times the steps to 0.9 alone '
      r'\(p = 0.0\d+\); 0\.\d\d \[.*\] times the steps to 0.9 \(p = ',
      found['fast']['text'])
  assert 'no difference shown' in found['alike']['text']
  assert 'an arm that never gets there would have' in found['alike']['text']
  assert 'so many seeds show' in found['alike']['text']
  assert '5 seeds only' in found['fast']['text']


def find(**compared):
  """What a comparison of two arms shows, of five runs each."""
  same = stats.Estimate(1.0, 0.9, 1.1, 5, p=1.0, error=0.1)
  section = {'arms': {x: {'finished': 5} for x in 'ab'}}
  return list(words.find('a', 'b', {
      'steps': same, 'alone_steps': same, 'final': None, 'alone': None,
      'ceiling': dict.fromkeys(('steps', 'alone_steps'), 1.24),
      'needed': {'steps': 14, 'alone_steps': None},
      'least_p': 0.008, 'planned': 1, 'paired': False, **compared}, section))


def test_what_differs_where_the_steps_do_not():
  """No tick stands before a difference that is not shown."""
  found = find(alone=stats.Estimate(-0.4, -0.5, -0.3, 5, p=0.01))
  assert [x['shown'] for x in found] == [True, False]
  assert found[0]['text'] == (
      'a against b: -0.40 [-0.50, -0.30] in success of the agent alone after '
      'training (p = 0.010) (5 seeds only).')
  assert found[1]['text'] == (
      'a against b: no difference shown in steps to 0.9 alone: 1.00 '
      '[0.90, 1.10] times (p = 1.000, so many seeds show 1.32, an arm that '
      'never gets there would have 1.24); in steps to 0.9: 1.00 [0.90, 1.10] '
      'times (p = 1.000, so many seeds show 1.32, an arm that never gets '
      'there would have 1.24, and to see a ratio of 1.3 takes about 14 seeds) '
      '(5 seeds only).')
  assert [x['shown'] for x in find()] == [False]


def test_three_against_three_show_nothing(tmp_path, quickly):
  folder = results.write(
      tmp_path / 'a', {'rl-only': [5000] * 3, 'x': [0] * 3})
  page = report.write([folder]).read_text()
  assert 'too few seeds to show anything (3 against 3; the least' in page
  assert 'can give a p value below 0.10' in page


def test_numbers_by_hand(section):
  arm = section['arms']['fast']
  # Windows end at 1k, 1k, 1k, 1k and 2k.
  assert arm['steps_to_goal']['value'] == 1200
  assert arm['steps_to_goal_reached'] == 5
  assert arm['at']['6000']['window']['value'] == 1
  # Of the last window the episodes that would fail had no time to.
  assert 7000 < section['stop'] < 8000 and '8000' not in arm['at']
  assert section['arms']['never']['at']['6000']['cumulative']['value'] == 0
  assert section['arms']['rl-only']['at']['6000']['window']['value'] == (
      pytest.approx((0.5 + 0.8 + 0.2) / 3, abs=0.11))
  assert section['comparisons']['fast']['improvement']['steps'] == 1
  assert arm['calls'] == [40] * 5 and arm['money'] == [0.01] * 5


def made_run(rows, steps=3000, envs=4):
  """A run of (end, length, success, advised)."""
  step, length, success, advised = np.array(rows, float).T
  about = formats.Record(**results.run('x', 0, steps=steps, envs=envs))
  return load.Run(about, {
      'step': step, 'length': length, 'success': success,
      'advised': advised}, finished=True)


def test_windows_hold_the_episodes_that_begin_in_them():
  """The first to end are the short ones, that is the successes."""
  early = [(40 * i, 10, 1, 1) for i in range(1, 21)]
  late = [(1300 + i, 250, 0, 0) for i in range(20)]
  good = [(2400 + 12 * i, 10, 1, 0) for i in range(40)]
  run = made_run(early + late + good)
  assert run.begins()[[0, 20]].tolist() == [1, 300]
  # By their ends the first window would be all success. Episodes take up to
  # 1,000 steps, so that nothing is known of the last window.
  assert load.settled([run]) == 2000
  assert run.windows(2000)[0] == 0.5 and np.isnan(run.windows(2000)[1:]).all()
  assert run.between(0, 400) == 11 / 31
  assert math.isnan(run.between(1000, 2000)), 'none began there'
  assert run.outcome() == (3000, True)
  # The tenth without advice.
  assert run.alone() == (2508, True)


def test_evaluations_go_before_control_episodes():
  run = made_run([(10 * i, 2, 1, 0) for i in range(1, 50)])
  assert run.alone() == (100, True)
  run.evaluated = {
      'step': np.array([1000.0, 2000, 3000]),
      'success': np.array([0.89, 0.9, 0.2])}
  assert run.alone() == (2000, True)
  run.evaluated['success'] = np.array([0, 0.5, 0.89])
  assert run.alone() == (3000, False)


def test_the_agent_alone_over_time(tmp_path):
  folder = results.write(tmp_path / 'a', {'rl-only': [None] * 5, 'x': [0] * 5})
  rows = [
      ('suite', arm, results.TASK, seed, step, rate, rate, 100)
      for arm, rates in (('rl-only', (0, 0.2, 0.4)), ('x', (0.5, 0.95, 1)))
      for seed in range(5)
      for step, rate in zip((2000, 4000 + 2000 * (seed == 4), 8000), rates)]
  results.table(folder / 'alone.csv.gz', formats.ALONE, rows)
  report.write([folder])
  section = json.loads(
      (folder / 'report' / 'statistics.json').read_text())['sections'][0]
  arms = section['arms']
  assert arms['x']['alone_steps']['value'] == (4 * 4000 + 6000) / 5
  assert arms['x']['alone_steps_reached'] == 5
  assert arms['rl-only']['alone_steps']['value'] == 8000
  assert arms['rl-only']['alone_steps_reached'] == 0
  ratio = section['comparisons']['x']['alone_steps']
  assert ratio['value'] == pytest.approx(4400 / 8000)
  assert (folder / 'report' / 'alone.png').exists()


def test_a_control_episode_that_took_too_long_ends_a_row():
  """In training it is the success that the environment calls it."""
  rows = [(10 * i, 2, 1, 0) for i in range(1, 15)]
  rows[8] = (90, 2, 1, 0.5)
  run = made_run(rows)
  # The tenth after it would be the nineteenth; without it it is the tenth.
  assert run.alone() == (3000, False)
  assert run.between(0, 200) == 1
  rows += [(10 * i, 2, 1, 0) for i in range(15, 25)]
  assert made_run(rows).alone() == (190, True)


def test_what_still_runs_at_the_end_may_fail():
  rows = [(2000 + 80 * i, 10, 1, 0) for i in range(1, 12)]
  assert made_run(rows, envs=1).outcome() == (3000, True)
  assert made_run(rows, envs=4).outcome() == (3000, False)
  # Nor is it known of the window before, where an episode may take that long.
  early = [(x - 1000, y, won, z) for x, y, won, z in rows]
  assert made_run(early).outcome() == (2000, True)
  assert made_run([(1500, 375, 0, 0), *early]).outcome() == (3000, False)


def test_environments_of_older_runs():
  run = made_run([(363, 91, 1, 0), (1001, 251, 0, 0)], envs=None)
  assert run.envs == 4


def test_an_arm_without_control_episodes_is_never_alone():
  assert made_run([(10 * i, 2, 1, 1) for i in range(1, 50)]).alone() == (
      3000, False)


def test_censored_runs_stay_visible(section, page):
  half = section['arms']['half']
  assert half['steps_to_goal_reached'] == 2
  assert '2 of 5' in page
  assert 'within 8,000 steps, and count as that long: never 5 of 5' in page


def test_notes_are_visible(page, section):
  assert '1 of 27 runs crashed' in page and '1 of 27 runs missing' in page
  assert 'Fewer than 10 seeds' in page
  assert 'no finished run' in page, 'an arm without runs has its row'
  assert 'cut.json.gz can&#x27;t be read' in page
  # Of all statistics of an arm that is like the reference.
  rows = re.findall(r'<th scope="row"[^>]*>alike</th>(.*?)</tr>', page)
  assert [x.count('no difference shown') for x in rows] == [0, 0, 4, 0]
  assert 'c0ffee1234' in page and 'minigrid fast' in page
  assert section['arms']['fast']['seeds'] == [0, 1, 2, 3, 4]


def test_episodes_cannot_leave_their_script(page):
  data = re.search(r'id="episodes">(.*?)</script>', page, re.S).group(1)
  assert '<' not in data
  episode, = json.loads(data)
  assert episode['steps'][0]['text'] == '</script><b> 0'
  assert 'advised, greedy' in episode['label']


@pytest.fixture
def quickly(monkeypatch):
  """Draws the first figure alone."""
  monkeypatch.setattr(figures, 'PLOTS', figures.PLOTS[:1])


def test_same_results_same_files(made, tmp_path, quickly):
  folders = [tmp_path / 'a', tmp_path / 'b']
  for folder in folders:
    report.write([made], folder)
  names = sorted(x.name for x in folders[0].iterdir())
  assert len(names) == 6, names
  for name in names:
    assert (folders[0] / name).read_bytes() == (
        folders[1] / name).read_bytes(), name
  # One figure more or less changes no other.
  assert (folders[0] / 'curves.svg').read_bytes() == (
      made / 'report' / 'curves.svg').read_bytes()


def test_an_environment_that_names_no_success(tmp_path):
  folder = results.write(
      tmp_path / 'a', {'rl-only': [None] * 5, 'x': [0] * 5}, says=False,
      task='gymnasium_CartPole-v1')
  page = report.write([folder]).read_text()
  assert 'does not say what a success is' in page
  assert 'Mean return while training' in page and '0.90' in page
  assert 'in mean return late in training (p = 0.008)' in page
  assert 'never reached' not in page
  names = {x.name for x in (folder / 'report').iterdir()}
  assert 'curves.svg' in names and 'steps.svg' not in names
  section, = json.loads(
      (folder / 'report' / 'statistics.json').read_text())['sections']
  assert section['measure'] == 'return'
  assert section['arms']['x']['steps_to_goal_reached'] == 0
  assert section['arms']['x']['at']['6000']['window']['value'] == (
      pytest.approx(0.9))


def test_runs_shorter_than_a_window(tmp_path, quickly):
  folder = results.write(
      tmp_path / 'a', {'rl-only': [0] * 5, 'x': [None] * 5}, steps=300)
  page = report.write([folder]).read_text()
  assert 'in steps to 0.9: 1.00 [1.00, 1.00] times (p = 1.000' in page


def raises(folders, *said):
  with pytest.raises(errors.ConfigError) as e:
    load.load(folders)
  for word in said:
    assert word in str(e.value), str(e.value)


def test_bad_folders(tmp_path):
  raises([tmp_path / 'none'], 'no folder', 'ablate')
  (tmp_path / 'empty').mkdir()
  raises([tmp_path / 'empty'], 'is empty', 'ablate')
  folder = results.write(tmp_path / 'a', {'rl-only': [0]})
  (folder / 'runs.json').unlink()
  raises([folder], 'no runs.json')
  (folder / 'runs.json').write_text('[{"arm"')
  raises([folder], 'runs.json')
  (folder / 'runs.json').write_text('[{"arm": "a"}]')
  raises([folder], "lacks the key 'suite'")


def test_half_written_rows(tmp_path):
  folder = results.write(tmp_path / 'a', {'rl-only': [0]})
  path = folder / 'episodes.csv.gz'
  whole = path.read_bytes()
  path.write_bytes(whole[:len(whole) // 2])
  raises([folder], 'episodes.csv.gz')
  text = gzip.decompress(whole)
  path.write_bytes(gzip.compress(text[:-6]))
  raises([folder], 'episodes.csv.gz', 'cut off')
  path.write_bytes(gzip.compress(b'arm,seed\n'))
  raises([folder], 'no column suite')
  path.write_bytes(gzip.compress(text.split(b'\n')[0] + b'\n'))
  raises([folder], 'No run', '1 missing')


def test_no_finished_run(tmp_path):
  folder = results.write(tmp_path / 'a', {}, extra=[
      results.run('x', 0, status='crashed', summary=None),
      results.run('x', 1, status='missing', summary=None)])
  raises([folder], '0 finished, 1 crashed, 1 missing', 'ablate')


def test_mixed_configurations(tmp_path):
  a = results.write(tmp_path / 'a', {'rl-only': [0]}, extra=[
      results.run('rl-only', 7, argv=['--configs', 'other'])])
  rows = gzip.decompress((a / 'episodes.csv.gz').read_bytes())
  more = rows.split(b'\n')[1].replace(b',0,50,', b',7,50,')
  (a / 'episodes.csv.gz').write_bytes(gzip.compress(rows + more + b'\n'))
  raises([a], 'different configurations', 'other', 'seed 7')
  b = results.write(tmp_path / 'b', {'x': [0]})
  raises([b, b], 'suite/x', 'once')
  c = results.write(tmp_path / 'c', {'x': [0]}, steps=4000)
  records = json.loads((c / 'runs.json').read_text())
  records[0]['seed'] = 5
  (c / 'runs.json').write_text(json.dumps(records))
  rows = gzip.decompress((c / 'episodes.csv.gz').read_bytes())
  (c / 'episodes.csv.gz').write_bytes(gzip.compress(
      rows.replace(b'DoorKey-5x5,0,', b'DoorKey-5x5,5,')))
  raises([b, c], 'different configurations', '4,000 steps')


def test_own_flags_are_no_configuration():
  line = load.configuration([
      'python', '-m', 'lore_plugin', '--configs', 'minigrid', 'lore',
      '--seed', '3', '--logdir', 'x', '--lore.advisor.account=y',
      '--run.steps', '8'])
  assert line == '--configs minigrid lore --run.steps 8'
  assert load.configuration(['--seed', '3'], {'rival': 'jsrl 2'}) == (
      "rival 'jsrl 2',")


def test_errors_of_the_command(tmp_path, capsys, monkeypatch):
  assert cli.main(['report', str(tmp_path / 'none')]) == 2
  assert 'no folder' in capsys.readouterr().err
  assert cli.main(['report', str(tmp_path), '--reps', '3']) == 2
  assert 'at least 100' in capsys.readouterr().err
  folder = results.write(tmp_path / 'a', {'rl-only': [0]})
  assert cli.main(['report', str(folder), '--recordings', 'nowhere']) == 2
  assert 'evaluate' in capsys.readouterr().err
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  assert cli.main(['report', str(folder)]) == 2
  assert "pip install '.[report]'" in capsys.readouterr().err


def test_recordings_of_other_versions(tmp_path):
  (tmp_path / 'a.json.gz').write_bytes(gzip.compress(b'{"version": 0}'))
  (tmp_path / 'b.json.gz').write_bytes(gzip.compress(b'[]'))
  results.record_episode(tmp_path)
  episodes, notes = record.read(tmp_path)
  assert len(episodes) == 1 and len(notes) == 2


def test_embedded_json():
  data = {'x': '</script><!-- &', 'y': [None, 1.5]}
  text = viewer.embed(data)
  assert json.loads(text) == data and not set('<>&') & set(text)


@pytest.mark.parametrize('estimate, text', [
    (stats.Estimate(0.5, 0.0, 1.0, 5), '0.50 [0.00, 1.00]'),
    (stats.Estimate(0.5, math.nan, math.nan, 3, 0.1, 0.9),
     '0.50 (0.10 to 0.90)'),
    (stats.Estimate(0.5, math.nan, math.nan, 1, 0.5, 0.5), '0.50 (1 seed)'),
    (None, '--')])
def test_estimates_in_words(estimate, text):
  assert words.tell(estimate, '.2f') == text


def test_names_that_mean_something_elsewhere(tmp_path, quickly):
  """Dollars are mathematics to matplotlib, a half of a pair is no text."""
  folder = results.write(tmp_path / 'a', {'rl-only': [0], 'a$b$_{': [0]})
  assert 'a$b$_{' in report.write([folder]).read_text()
  broken = results.write(tmp_path / 'b', {'x\ud800': [0]}, rows=False)
  raises([broken], 'is no name', "can't be printed")


def test_a_recording_with_what_is_no_number(tmp_path):
  results.record_episode(tmp_path)
  path, = tmp_path.glob('*.json.gz')
  text = gzip.decompress(path.read_bytes()).decode()
  path.write_bytes(gzip.compress(text.replace(
      '"u": 0.5', '"u": NaN', 1).encode()))
  (episode,), notes = record.read(tmp_path)
  assert episode['steps'][0]['u'] is None and not notes
  assert 'NaN' not in viewer.embed([episode])


def test_results_are_read_as_they_were_written(made, tmp_path):
  """Also those of earlier versions, whose records are not compressed."""
  records = formats.read_records(made)
  columns, rows = formats.read_rows(
      made / 'episodes.csv.gz', formats.EPISODES)
  assert columns == list(formats.EPISODES)
  formats.write(
      tmp_path, records, [x for v in rows.values() for x in v], [], {})
  assert formats.read_records(tmp_path) == records
  assert formats.read_rows(
      tmp_path / 'episodes.csv.gz', formats.EPISODES) == (columns, rows)
  formats.check_folder(tmp_path)
  assert not (tmp_path / 'runs.json').exists()


def test_a_place_of_its_own_leaves_the_results_alone(tmp_path, quickly):
  folder = results.write(tmp_path / 'one', {'rl-only': [0, 1000]})
  before = sorted(x.name for x in folder.iterdir())
  report.write([folder], tmp_path / 'out')
  assert sorted(x.name for x in folder.iterdir()) == before
  assert (tmp_path / 'out' / 'statistics.json').is_file()
