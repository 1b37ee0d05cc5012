"""Figures, statistics and the page, from made-up results."""

import gzip
import html.parser
import json
import math
import pathlib
import re
import sys

import pytest

from lore_plugin import __main__ as cli
from lore_plugin import errors
from lore_plugin.report import figures
from lore_plugin.play import record
from lore_plugin.report import summary as report
from lore_plugin.report import stats
from lore_plugin.report import page as viewer

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
  report.write([folder], reps=300)
  return folder


@pytest.fixture(scope='module')
def page(made):
  return (made / 'report' / 'index.html').read_text()


@pytest.fixture(scope='module')
def section(made):
  return json.loads((made / 'summary.json').read_text())['sections'][0]


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
  found = {x['arm']: x for x in section['findings']}
  assert found['fast']['shown'] and 'fewer steps' in found['fast']['text']
  assert not found['alike']['shown']
  assert 'no difference shown' in found['alike']['text']
  assert found['never']['shown'] and 'at least' in found['never']['text']
  assert '5 seeds only' in found['fast']['text']


def find(**compared):
  """What a comparison of two arms shows, whose five runs all got there."""
  same = stats.times([1000.0] * 5, [True] * 5, reps=100)
  arms = {x: {'finished': 5, 'steps_to_goal': same} for x in 'ab'}
  return report.find('a', 'b', arms, {
      'open': False, 'limit': 8000, 'restricted': None, **compared})


def test_what_differs_where_the_steps_do_not():
  compared = {
      'ratio': stats.Estimate(1.0, 1.0, 1.0, 1.0, 5),
      'final': stats.difference([1.0] * 5, [1.0] * 5, reps=100),
      'alone': stats.difference([0.5] * 5, [0.9] * 5, reps=100)}
  found = find(**compared)
  assert found['shown']
  assert 'no difference shown in steps to 0.9' in found['text']
  assert 'success of the agent alone differs by -0.40' in found['text']
  assert 'end of training' not in found['text']
  found = find(**{**compared, 'alone': None})
  assert not found['shown'] and 'mean time' not in found['text']


@pytest.mark.parametrize('low, shown', [(1.1, True), (0.9, False)])
def test_a_restricted_mean_that_differs_shows_it(low, shown):
  found = find(
      ratio=stats.Estimate(0.8, math.inf, 1.2, 1.2, 5),
      restricted=stats.Estimate(low, 1.3, 1.2, 1.2, 5),
      final=None, alone=None)
  assert found['shown'] == shown
  assert 'no difference shown in steps to 0.9' in found['text']
  assert f'is 1.20 [{low:.2f}, 1.30] times as long' in found['text']


def test_an_open_ratio_comes_with_the_restricted_one(section):
  found = {x['arm']: x['text'] for x in section['findings']}
  assert 'within 8,000 steps the mean time is' in found['half']
  # Of 4k, 5k, 8k, 8k, 8k against 6k, 7k, 7k, 7k, 7k.
  assert section['comparisons']['half']['restricted']['value'] == (
      pytest.approx(33 / 34))


def test_numbers_by_hand(section):
  arm = section['arms']['fast']
  # Windows end at 1k, 1k, 1k, 1k and 2k; one of five is cut off at each end.
  assert arm['steps_to_goal']['value'] == 1000
  # rl-only: 6k, 7k, 7k, 7k, 7k, as all but the first start within a window.
  assert section['arms']['rl-only']['steps_to_goal']['value'] == 7000
  assert section['comparisons']['fast']['ratio']['value'] == (
      pytest.approx(1 / 7))
  assert section['comparisons']['fast']['improvement']['value'] == 1
  assert arm['at']['6000']['window']['value'] == 1
  assert section['arms']['never']['at']['8000']['cumulative']['value'] == 0
  assert section['arms']['rl-only']['at']['6000']['window']['value'] == (
      pytest.approx((0.5 + 0.8 + 0.2) / 3, abs=0.11))
  assert arm['calls'] == [40] * 5 and arm['money'] == [0.01] * 5


def test_censored_runs_stay_visible(section, page):
  half = section['arms']['half']
  assert half['reached'] == 2
  assert half['steps_to_goal']['value'] is None
  # Of 4k, 5k, 8k, 8k, 8k the middle three, each at least that.
  assert half['steps_to_goal']['at_least'] == 7000
  assert half['steps_to_goal']['interval'][1] is None
  assert 'at least 7,000 [' in page and '∞]' in page
  assert 'censored at their length: never 5 of 5, half 3 of 5' in page


def test_notes_are_visible(page, section):
  assert '1 of 27 runs crashed' in page and '1 of 27 runs missing' in page
  assert 'Fewer than 10 seeds' in page
  assert 'no finished run' in page, 'an arm without runs has its row'
  assert 'cut.json.gz can&#x27;t be read' in page
  # Of all statistics of an arm that is like the reference.
  rows = re.findall(r'<th scope="row">alike</th>(.*?)</tr>', page)
  assert [x.count('no difference shown') for x in rows] == [0, 0, 5, 0]
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
    report.write([made], folder, reps=300)
  names = sorted(x.name for x in folders[0].iterdir())
  assert len(names) == 6
  for name in names:
    assert (folders[0] / name).read_bytes() == (
        folders[1] / name).read_bytes(), name
  # One figure more or less changes no other.
  assert (folders[0] / 'curves.svg').read_bytes() == (
      made / 'report' / 'curves.svg').read_bytes()


def test_tasks_and_suites_are_kept_apart(tmp_path, quickly):
  a = results.write(tmp_path / 'a', {'rl-only': [0], '<b>': [0]})
  b = results.write(
      tmp_path / 'b', {'x': [None, None, None]}, 'minigrid_Unlock', 2000)
  out = tmp_path / 'out'
  report.write([a, b], out, reps=100)
  names = {x.name for x in out.iterdir()}
  assert 'suite-minigrid-doorkey-5x5-curves.svg' in names
  assert 'suite-minigrid-unlock-curves.svg' in names
  sections = json.loads((out / 'summary.json').read_text())['sections']
  assert [list(x['arms']) for x in sections] == [['rl-only', '<b>'], ['x']]
  page = (out / 'index.html').read_text()
  assert '<b>' not in page and '&lt;b&gt;' in page
  assert 'too few seeds to compare (1)' in page
  assert 'There is no finished arm &#x27;rl-only&#x27;' in page
  assert 'No episodes were recorded' in page


def test_runs_shorter_than_a_window(tmp_path, quickly):
  folder = results.write(
      tmp_path / 'a', {'rl-only': [0] * 3, 'x': [None] * 3}, steps=300)
  page = report.write([folder], reps=100).read_text()
  assert 'no difference shown in steps to 0.9; no seed of either' in page


def raises(folders, *words):
  with pytest.raises(errors.ConfigError) as e:
    report.load(folders)
  for word in words:
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
  raises([folder], 'lacks suite')


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
  line = report.configuration([
      'python', '-m', 'lore_plugin', '--configs', 'minigrid', 'lore',
      '--seed', '3', '--logdir', 'x', '--lore.advisor.account=y',
      '--run.steps', '8'])
  assert line == '--configs minigrid lore --run.steps 8'


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


@pytest.mark.parametrize('least, most, text', [
    (0.5, 0.5, '0.50 [0.00, 1.00]'),
    (0.5, float('inf'), 'at least 0.50 [0.00, 1.00]'),
    (0.0, float('inf'), 'at least 0.00 [0.00, 1.00]'),
    (0.0, 0.25, 'at most 0.25 [0.00, 1.00]')])
def test_estimates_in_words(least, most, text):
  assert report.tell(
      stats.Estimate(0.0, 1.0, least, most, 5), '.2f') == text


def test_a_place_of_its_own_leaves_the_results_alone(tmp_path, quickly):
  folder = results.write(tmp_path / 'one', {'rl-only': [0, 1000]})
  before = sorted(x.name for x in folder.iterdir())
  report.write([folder], tmp_path / 'out', reps=100)
  assert sorted(x.name for x in folder.iterdir()) == before
  assert (tmp_path / 'out' / 'summary.json').is_file()
