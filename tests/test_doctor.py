"""The doctor's arithmetic, one sick run for each check, and real logdirs."""

import dataclasses
import json
import types

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin import upstream
from lore_plugin.advisor.types import Description
from lore_plugin.advisor.types import Option
from lore_plugin.doctor import run as doctor
from lore_plugin.doctor import install as doctor_install

CONFIG = {
    'lore.enabled': True, 'lore.gate.beta_max': 3.0, 'lore.kl.target': 1.0,
    'lore.kl.penalty': True, 'lore.advisor.calls': 98,
    'lore.advisor.tokens': -1, 'lore.advisor.money': -1.0,
    'lore.describer': 'auto', 'run.steps': 2000.0, 'env.minigrid.view': 7,
    'task': 'minigrid_DoorKey-5x5'}
STATS = {
    'calls': 50, 'hits': 1900, 'misses': 100, 'states': 80, 'answered': 50,
    'refused_budget': 0, 'failures': 0}
ALONE = {'success': 0.9, 'episodes': 100, 'interval': [0.8, 0.95]}


def healthy(count=20):
  """A log without fault: 20 logged intervals and 100 episodes."""
  rows = [{
      'step': 100 * (i + 1), 'train/loss/grid': 50 / (i + 1),
      'train/loss/direction': 1.0, 'train/loss/policy': 5.0,
      'train/val': 0.5, 'train/lore/kl': 0.5, 'train/lore/lambda': 0.01,
      'train/lore/trust': 0.9, 'train/lore/uplift': 0.3,
      'train/lore/uplift_low': 0.1, 'train/lore/uplift_high': 0.5,
      'train/lore/control_episodes': 5.0 * i,
      'train/lore/advised_episodes': 15.0 * i,
      'epstats/log/lore_ceiling/avg': 0.1,
      'epstats/log/lore_beta/avg': 1.5,
      **{f'train/advisor/{k}': v * (i + 1) / count for k, v in STATS.items()},
  } for i in range(count)]
  steps = np.arange(1, 101) * 20
  journal = [
      {'step': int(x), 'score': 0.9, 'advised': int(i % 5 > 0), 'calls': i}
      for i, x in enumerate(steps)]
  return doctor.Log(
      dict(CONFIG), rows, steps, np.full(100, 0.9), journal,
      {'advisor': dict(STATS), 'alone': dict(ALONE)})


def set_all(log, **values):
  for row in log.rows:
    row.update({k.replace('__', '/'): v for k, v in values.items()})


def verdict(check, log):
  found = check(log)
  assert found.evidence
  if found.verdict in ('warning', 'problem'):
    assert found.change, found
  return found.verdict


def test_a_healthy_run_has_no_finding():
  for check in doctor.CHECKS:
    assert verdict(check, healthy()) == 'ok', check(healthy())


def test_nothing_logged_is_never_a_pass():
  """Where the log says nothing, no check says that all is well."""
  log = doctor.Log(dict(CONFIG), [], np.zeros(0, int), np.zeros(0), [])
  for check in doctor.CHECKS:
    expected = {
        doctor.check_log: 'warning', doctor.check_collisions: 'ok'}
    # What the texts say doesn't depend on the run.
    assert verdict(check, log) == expected.get(check, 'unknown')


def test_a_run_without_advisor():
  log = healthy()
  log.config['lore.enabled'] = False
  del log.summary['advisor']
  for check in (
      doctor.check_gate, doctor.check_kl, doctor.check_uplift,
      doctor.check_cache, doctor.check_budget, doctor.check_failures):
    assert verdict(check, log) == 'unknown'
    assert 'no advisor' in check(log).evidence
  assert verdict(doctor.check_reconstruction, log) == 'ok'
  assert verdict(doctor.check_alone, log) == 'ok'


@pytest.mark.parametrize('losses, expected', [
    ([4.0] * 4 + [4.0] * 12, 'problem'),
    ([4.0] * 4 + [4.5] * 12, 'problem'),
    # Quarters of 16 are 4 values: 4.0 against 3.6, then 3.1.
    ([4.0] * 12 + [3.6] * 4, 'warning'),
    ([4.0] * 12 + [3.1] * 4, 'ok'),
    ([4.0] * 15 + [float('nan')], 'problem'),
    ([4.0] * 3, 'unknown'),
])
def test_reconstruction(losses, expected):
  log = healthy()
  log.rows = [
      {'step': i, 'train/loss/grid': x / 2, 'train/loss/direction': x / 2,
       'train/loss/dyn': 99.0 - i} for i, x in enumerate(losses)]
  assert verdict(doctor.check_reconstruction, log) == expected


@pytest.mark.parametrize('value, score, expected', [
    # The returns span 0 to 1. 0.1 and 0.3 of that are the limits.
    (0.55, 0.5, 'ok'), (0.65, 0.5, 'warning'), (0.85, 0.5, 'problem'),
    (0.0, 0.5, 'ok'), (0.05, 0.0, 'ok'), (0.5, 0.0, 'problem')])
def test_values(value, score, expected):
  log = healthy()
  set_all(log, train__val=value)
  log.scores = np.concatenate([[1.0, 0.0], np.full(98, score)])
  assert verdict(doctor.check_values, log) == expected


def test_values_without_any_return():
  log = healthy()
  log.scores = np.zeros(100)
  set_all(log, train__val=0.2)
  assert verdict(doctor.check_values, log) == 'problem'
  assert 'ever earned' in doctor.check_values(log).evidence
  set_all(log, train__val=0.005)
  assert verdict(doctor.check_values, log) == 'ok'


@pytest.mark.parametrize('ceiling, beta, low, trust, expected', [
    (0.95, 2.9, 0.0, 1.0, 'problem'), (0.6, 2.5, -0.1, 1.0, 'warning'),
    (0.95, 2.9, 0.2, 1.0, 'ok'), (0.1, 1.5, 0.0, 1.0, 'ok'),
    (0.0, 0.01, 0.0, 1.0, 'warning'), (0.0, 0.01, 0.0, 0.01, 'ok')])
def test_gate(ceiling, beta, low, trust, expected):
  log = healthy()
  set_all(log, **{
      'epstats/log/lore_ceiling/avg': ceiling,
      'epstats/log/lore_beta/avg': beta, 'train/lore/uplift_low': low,
      'train/lore/trust': trust})
  assert verdict(doctor.check_gate, log) == expected


def test_gate_without_the_comparison():
  """A ceiling is not excused by a proof that nobody made."""
  log = healthy()
  set_all(log, **{'epstats/log/lore_ceiling/avg': 0.95})
  for row in log.rows:
    del row['train/lore/uplift_low'], row['train/lore/trust']
  assert verdict(doctor.check_gate, log) == 'problem'


@pytest.mark.parametrize('above, expected', [
    (10, 'problem'), (7, 'warning'), (5, 'ok'), (0, 'ok')])
def test_kl(above, expected):
  """Of the 10 values in the second half."""
  log = healthy()
  for i, row in enumerate(log.rows):
    row['train/lore/kl'] = 1.1 if i < 10 or i >= 20 - above else 0.9
  assert verdict(doctor.check_kl, log) == expected


@pytest.mark.parametrize('kl, expected', [
    (0.05, 'ok'), (0.5, 'unknown'), (1.5, 'problem')])
def test_kl_with_a_schedule(kl, expected):
  """From a target of 1 nat to one of 0.1."""
  log = healthy()
  log.config.update({
      'lore.kl.schedule.mode': 'steps', 'lore.kl.schedule.end': 0.1})
  set_all(log, train__lore__kl=kl)
  assert verdict(doctor.check_kl, log) == expected


@pytest.mark.parametrize('low, high, trust, episodes, expected', [
    (0.1, 0.5, 1.0, 50, 'ok'), (-0.5, -0.1, 0.9, 50, 'problem'),
    (-0.5, -0.1, 0.01, 50, 'warning'), (-0.2, 0.2, 0.5, 50, 'ok'),
    (-0.2, 0.2, 0.5, 5, 'unknown'), (-0.2, 0.2, 0.01, 50, 'warning'),
    (0.1, 0.5, 1.0, 0, 'unknown')])
def test_uplift(low, high, trust, episodes, expected):
  log = healthy()
  set_all(log, **{
      'train/lore/uplift_low': low, 'train/lore/uplift_high': high,
      'train/lore/uplift': (low + high) / 2, 'train/lore/trust': trust,
      'train/lore/control_episodes': episodes,
      'train/lore/advised_episodes': episodes})
  assert verdict(doctor.check_uplift, log) == expected


def test_harm_that_many_looks_may_show_by_chance():
  log = healthy()
  for sure, expected in ((0.0, 'warning'), (1.0, 'problem')):
    set_all(log, **{
        'train/lore/uplift_low': -0.5, 'train/lore/uplift_high': -0.1,
        'train/lore/uplift': -0.3, 'train/lore/trust': 0.9,
        'train/lore/uplift_sure': sure})
    assert verdict(doctor.check_uplift, log) == expected


@pytest.mark.parametrize('enabled, change', [
    (True, 'Train longer'), (False, 'trust.enabled True')])
def test_no_uplift_yet(enabled, change):
  """Who has turned the comparison on is not told to."""
  log = healthy()
  log.config['lore.trust.enabled'] = enabled
  for row in log.rows:
    del row['train/lore/uplift']
  assert change in doctor.check_uplift(log).change


@pytest.mark.parametrize('changes, expected', [
    (dict(hits=0, misses=2000, states=2000), 'problem'),
    (dict(hits=800, misses=1200, states=1100), 'warning'),
    (dict(hits=800, misses=1200, states=80), 'warning'),
    (dict(hits=0, misses=100), 'unknown')])
def test_cache(changes, expected):
  log = healthy()
  log.summary['advisor'].update(changes)
  assert verdict(doctor.check_cache, log) == expected


def test_a_cache_that_was_switched_off():
  log = healthy()
  log.config['lore.advisor.cache'] = False
  log.summary['advisor'].update(hits=0, misses=2000)
  assert verdict(doctor.check_cache, log) == 'warning'
  assert 'is False' in doctor.check_cache(log).evidence


def test_cache_tells_new_texts_from_missing_replies():
  log = healthy()
  log.summary['advisor'].update(hits=800, misses=1200, states=1100)
  assert 'describer' in doctor.check_cache(log).change
  log.summary['advisor'].update(states=80)
  assert '--lore.advisor.calls' in doctor.check_cache(log).change


@pytest.mark.parametrize('first, refused, expected', [
    (4, 500, 'problem'), (4, 50, 'warning'), (16, 500, 'warning'),
    (0, 0, 'ok')])
def test_budget(first, refused, expected):
  log = healthy()
  log.summary['advisor']['refused_budget'] = refused
  for i, row in enumerate(log.rows):
    row['train/advisor/refused_budget'] = refused * (i >= first)
  assert verdict(doctor.check_budget, log) == expected


def test_no_budget_at_all():
  log = healthy()
  log.config['lore.advisor.calls'] = 0
  log.summary['advisor'].update(calls=0, refused_budget=1000)
  assert verdict(doctor.check_budget, log) == 'warning'
  assert 'no call is allowed' in doctor.check_budget(log).evidence


@pytest.mark.parametrize('changes, expected', [
    (dict(failures=2, failures_busy=2), 'warning'),
    (dict(failures=40, failures_rejected=40), 'problem'),
    (dict(calls=0, answered=0), 'problem'), (dict(calls=0), 'ok')])
def test_failures(changes, expected):
  log = healthy()
  log.summary['advisor'].update(changes)
  assert verdict(doctor.check_failures, log) == expected


def test_counters_of_a_run_under_way():
  log = healthy()
  log.summary = None
  assert verdict(doctor.check_log, log) == 'warning'
  assert '1900 of 2000' in doctor.check_cache(log).evidence


@pytest.mark.parametrize('alone, scores, expected', [
    (0.9, 0.9, 'ok'), (0.11, 0.9, 'problem'), (0.6, 0.9, 'warning'),
    (0.2, 0.0, 'warning'), (0.0, 0.0, 'problem')])
def test_alone(alone, scores, expected):
  log = healthy()
  log.summary['alone'] = {'success': alone, 'episodes': 100}
  for row in log.journal:
    row['score'] = scores
  assert verdict(doctor.check_alone, log) == expected


@pytest.mark.parametrize('control, expected', [(0.9, 'ok'), (0.0, 'problem')])
def test_alone_by_the_control_group(control, expected):
  log = healthy()
  log.summary = None
  for row in log.journal:
    row['score'] = 0.9 if row['advised'] else control
  assert verdict(doctor.check_alone, log) == expected
  log.journal = log.journal[:20]
  assert verdict(doctor.check_alone, log) == 'unknown'


def words(text, *names):
  return Description(
      text, 'go', ('a', 'b', 'c'),
      tuple(Option(x, (0,)) for x in names))


@pytest.mark.parametrize('cases, wrong, expected', [
    # Two states look alike and share an action: nothing is lost.
    ([('x', {0, 1}), ('x', {1, 2})], '0.0%', 'ok'),
    # Of four states, one of two that look alike is missed.
    ([('x', {0}), ('x', {1}), ('y', {0}), ('z', {2})], '25.0%', 'warning'),
    ([('x', {0}), ('x', {1})], '50.0%', 'problem'),
    ([('x', {0}), ('x', {0}), ('x', {1})], '33.3%', 'problem'),
])
def test_collisions_by_hand(cases, wrong, expected):
  found = doctor.judge_cases(
      [(words(x), frozenset(y)) for x, y in cases], 'Toy')
  assert found.verdict == expected and f'misses in {wrong}' in found.evidence


def test_candidates_tell_states_apart():
  found = doctor.judge_cases(
      [(words('x', 'one'), frozenset([0])),
       (words('x', 'two'), frozenset([1]))], 'Toy')
  assert found.verdict == 'ok'


@pytest.mark.parametrize('task, change, message', [
    ('crafter_reward', {}, 'no planner knows'),
    ('minigrid_DoorKey-5x5', {'lore.describer': 'mine'}, 'no planner knows'),
    ('minigrid_KeyCorridorS3R1', {}, 'too many states'),
    ('minigrid_DoorKey-5x5', {'env.minigrid.view': 3}, 'a view of 7')])
def test_collisions_that_nobody_can_judge(task, change, message):
  log = healthy()
  log.config.update({'task': task, **change})
  found = doctor.check_collisions(log)
  assert found.verdict == 'unknown' and message in found.evidence


# --- Folders and the command ------------------------------------------------


@pytest.fixture
def logdir(tmp_path):
  """The healthy run, as files."""
  log = healthy()
  nested = {}
  for key, value in log.config.items():
    at = nested
    *path, last = key.split('.')
    for part in path:
      at = at.setdefault(part, {})
    at[last] = value
  (tmp_path / 'config.yaml').write_text(json.dumps(nested))
  dump = lambda name, rows: (tmp_path / name).write_text(
      ''.join(json.dumps(x) + '\n' for x in rows))
  dump('metrics.jsonl', log.rows)
  dump('scores.jsonl', [
      {'step': int(x), 'episode/score': float(y)}
      for x, y in zip(log.steps, log.scores)])
  dump('episodes.jsonl', log.journal)
  (tmp_path / 'summary.json').write_text(json.dumps(log.summary))
  return tmp_path


def test_the_command_on_a_folder(logdir, capsys):
  doctor.main([str(logdir)])
  assert capsys.readouterr().out.endswith(
      '11 ok, 0 warning, 0 problem, 0 unknown\n')
  doctor.main(['--json', str(logdir)])
  data = json.loads(capsys.readouterr().out)
  assert data['verdict'] == 'ok' and len(data['findings']) == 11
  assert set(data['findings'][0]) == {
      'check', 'verdict', 'evidence', 'change'}


def test_a_problem_shows_in_the_exit_code(logdir, capsys):
  summary = json.loads((logdir / 'summary.json').read_text())
  summary['alone']['success'] = 0.0
  (logdir / 'summary.json').write_text(json.dumps(summary))
  with pytest.raises(SystemExit) as e:
    doctor.main([str(logdir)])
  assert e.value.code == 1
  assert 'problem  agent alone' in capsys.readouterr().out


def test_a_half_written_folder(logdir, capsys):
  """Killed while it wrote: the torn line is no fault, and is no row."""
  for name in ('metrics.jsonl', 'scores.jsonl', 'episodes.jsonl'):
    with (logdir / name).open('a') as f:
      f.write('{"step": 99')
  (logdir / 'summary.json').write_text('{"wind')
  log = doctor.read(logdir)
  assert len(log.rows) == 20 and len(log.steps) == 100 and not log.summary
  found = doctor.check_log(log)
  assert found.verdict == 'warning' and 'lines that' in found.evidence
  (logdir / 'config.yaml').write_text('lore: {enab')
  with pytest.raises(errors.ConfigError, match='half written'):
    doctor.read(logdir)


def test_folders_without_a_run(tmp_path, logdir):
  empty = tmp_path / 'empty'
  with pytest.raises(errors.ConfigError, match='not a folder'):
    doctor.read(empty)
  empty.mkdir()
  with pytest.raises(errors.ConfigError, match='it is empty'):
    doctor.read(empty)
  outer = tmp_path / 'outer'
  (outer / 'inner').mkdir(parents=True)
  (outer / 'inner' / 'config.yaml').touch()
  with pytest.raises(errors.ConfigError, match='Runs are inside'):
    doctor.read(outer)
  (logdir / 'metrics.jsonl').unlink()
  (logdir / 'scores.jsonl').unlink()
  with pytest.raises(errors.ConfigError, match='logged nothing yet'):
    doctor.read(logdir)
  with pytest.raises(errors.ConfigError, match='after the logdir'):
    doctor.main([str(logdir), 'another'])


# --- The installation -------------------------------------------------------


def test_installation(monkeypatch, capsys):
  for name in doctor_install.http.KEYS:
    monkeypatch.delenv(name, raising=False)
  doctor.main(['--json', '--lore.advisor.provider', 'scripted'])
  found = {
      x['check']: x for x in json.loads(capsys.readouterr().out)['findings']}
  assert set(found) == {
      'versions', 'upstream', 'patch', 'configuration', 'environment', 'key',
      'model file', 'call to scripted'}
  for name in ('versions', 'upstream', 'environment', 'call to scripted'):
    assert found[name]['verdict'] == 'ok', found[name]


def section(**values):
  return types.SimpleNamespace(**{
      'provider': 'anthropic', 'url': '', 'model': '', **values})


def test_a_key_is_never_shown(monkeypatch):
  monkeypatch.setenv('ANTHROPIC_API_KEY', 'not-a-key-1234')
  monkeypatch.delenv('OPENAI_API_KEY', raising=False)
  found = doctor_install.check_key(section())
  assert found.verdict == 'ok' and 'ANTHROPIC_API_KEY' in found.evidence
  assert '1234' not in str(dataclasses.astuple(found))
  monkeypatch.setenv('ANTHROPIC_API_KEY', 'not-a-key-1234\n')
  found = doctor_install.check_key(section())
  assert found.verdict == 'problem'
  assert '1234' not in str(dataclasses.astuple(found))


def test_missing_keys(monkeypatch):
  for name in doctor_install.http.KEYS:
    monkeypatch.delenv(name, raising=False)
  assert doctor_install.check_key(section()).verdict == 'problem'
  openai = section(provider='local,openai', url='http://127.0.0.1:1/v1')
  assert doctor_install.check_key(openai).verdict == 'warning'
  assert doctor_install.check_key(section(provider='auto')).verdict == 'ok'


def test_missing_parts(monkeypatch):
  found = doctor_install.check_model(
      section(provider='local', model='/nowhere.gguf'))
  assert found.verdict == 'problem' and 'nowhere.gguf' in found.evidence
  monkeypatch.setattr(
      doctor_install, 'PACKAGES', ('numpy', 'no-such-package'))
  found = doctor_install.check_versions()
  assert found.verdict == 'problem' and 'no-such-package' in found.change


def test_no_upstream(monkeypatch):
  def find():
    raise errors.UpstreamError('DreamerV3 is not installed.')
  monkeypatch.setattr(upstream, 'find', find)
  assert doctor_install.check_upstream().verdict == 'problem'
  assert doctor_install.check_patch().verdict == 'unknown'


@pytest.mark.parametrize('state, expected', [
    ('absent', 'warning'), ('foreign', 'warning')])
def test_patch(monkeypatch, tmp_path, state, expected):
  monkeypatch.setattr(
      upstream, 'find', lambda: types.SimpleNamespace(folder=tmp_path))
  if state == 'foreign':
    (tmp_path / '__main__.py').write_text('print()\n')
  assert doctor_install.check_patch().verdict == expected


def test_a_provider_that_fails(monkeypatch):
  monkeypatch.setenv('ANTHROPIC_API_KEY', 'not-a-key-1234')

  class Broken:
    def close(self):
      self.closed = True

    def ask(self, query):
      raise errors.RejectedCall('no such key: not-a-key-1234')

  broken = Broken()
  monkeypatch.setattr(
      doctor_install.providers, 'create', lambda *args: broken)
  found = doctor_install.check_call('anthropic', section())
  assert found.verdict == 'problem' and broken.closed
  assert found.evidence == 'RejectedCall: no such key: ...'


def test_readable_without_a_screen():
  text = doctor.table([
      doctor.Finding('a', 'ok', 'fine'),
      doctor.Finding('b', 'problem', 'broken', 'mend it')])
  assert text == (
      'ok       a: fine\nproblem  b: broken\n         -> mend it\n'
      '1 ok, 0 warning, 1 problem, 0 unknown')
  assert doctor.overall([]) == 'ok'


