"""The doctor's arithmetic, one sick run for each check, and real logdirs."""

import json
import pickle

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.doctor import advice
from lore_plugin.doctor import calls
from lore_plugin.doctor import finding
from lore_plugin.doctor import learning
from lore_plugin.doctor import log as loglib
from lore_plugin.doctor import run as doctor
from lore_plugin.upstream import checkpoint

CONFIG = {
    'lore.enabled': True, 'lore.gate.beta_max': 3.0, 'lore.kl.target': 1.0,
    'lore.kl.penalty': True, 'lore.advisor.calls': 98,
    'lore.advisor.tokens': -1, 'lore.advisor.money': -1.0,
    'run.steps': 2000.0,
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
      {'step': int(x), 'score': 0.9, 'success': 1.0,
       'advised': int(i % 5 > 0), 'calls': i}
      for i, x in enumerate(steps)]
  return loglib.Log(
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
  log = loglib.Log(dict(CONFIG), [], np.zeros(0, int), np.zeros(0), [])
  for check in doctor.CHECKS:
    expected = 'warning' if check is doctor.check_log else 'unknown'
    assert verdict(check, log) == expected


def test_a_run_without_advisor():
  log = healthy()
  log.config['lore.enabled'] = False
  del log.summary['advisor']
  for check in (
      advice.check_gate, advice.check_kl, advice.check_uplift,
      calls.check_cache, calls.check_budget, calls.check_failures):
    assert verdict(check, log) == 'unknown'
    assert 'no advisor' in check(log).evidence
  assert verdict(learning.check_reconstruction, log) == 'ok'
  assert verdict(learning.check_alone, log) == 'ok'


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
  assert verdict(learning.check_reconstruction, log) == expected


@pytest.mark.parametrize('value, score, expected', [
    # The returns span 0 to 1. 0.1 and 0.3 of that are the limits.
    (0.55, 0.5, 'ok'), (0.65, 0.5, 'warning'), (0.85, 0.5, 'problem'),
    (0.0, 0.5, 'ok'), (0.05, 0.0, 'ok'), (0.5, 0.0, 'problem')])
def test_values(value, score, expected):
  log = healthy()
  set_all(log, train__val=value)
  log.scores = np.concatenate([[1.0, 0.0], np.full(98, score)])
  assert verdict(learning.check_values, log) == expected


def test_values_without_any_return():
  log = healthy()
  log.scores = np.zeros(100)
  set_all(log, train__val=0.2)
  assert verdict(learning.check_values, log) == 'problem'
  assert 'ever earned' in learning.check_values(log).evidence
  set_all(log, train__val=0.005)
  assert verdict(learning.check_values, log) == 'ok'


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
  assert verdict(advice.check_gate, log) == expected


@pytest.mark.parametrize('hopes, expected', [
    ([0.5] * 20, 'ok'), ([0.0] * 10 + [0.1] * 10, 'ok'),
    ([1.0] * 10 + [0.0] * 10, 'problem'), ([0.0] * 20, 'problem')])
def test_gate_that_is_held_open_by_hope(hopes, expected):
  log = healthy()
  set_all(log, **{
      'epstats/log/lore_ceiling/avg': 0.95,
      'train/lore/uplift_low': -0.1})
  for row, hope in zip(log.rows, hopes, strict=True):
    row['train/lore/hope'] = hope
  assert verdict(advice.check_gate, log) == expected


def test_gate_without_the_comparison():
  """A ceiling is not excused by a proof that nobody made."""
  log = healthy()
  set_all(log, **{'epstats/log/lore_ceiling/avg': 0.95})
  for row in log.rows:
    del row['train/lore/uplift_low'], row['train/lore/trust']
  assert verdict(advice.check_gate, log) == 'problem'


@pytest.mark.parametrize('above, expected', [
    (10, 'problem'), (7, 'warning'), (5, 'ok'), (0, 'ok')])
def test_kl(above, expected):
  """Of the 10 values in the second half."""
  log = healthy()
  for i, row in enumerate(log.rows):
    row['train/lore/kl'] = 1.1 if i < 10 or i >= 20 - above else 0.9
  assert verdict(advice.check_kl, log) == expected


@pytest.mark.parametrize('kl, expected', [
    (0.05, 'ok'), (0.5, 'unknown'), (1.5, 'problem')])
def test_kl_with_a_schedule(kl, expected):
  """From a target of 1 nat to one of 0.1."""
  log = healthy()
  log.config.update({
      'lore.kl.schedule.mode': 'steps', 'lore.kl.schedule.end': 0.1})
  set_all(log, train__lore__kl=kl)
  assert verdict(advice.check_kl, log) == expected


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
  assert verdict(advice.check_uplift, log) == expected


def test_harm_that_many_looks_may_show_by_chance():
  log = healthy()
  for shown, expected in ((0.0, 'warning'), (-1.0, 'problem')):
    set_all(log, **{
        'train/lore/uplift_low': -0.5, 'train/lore/uplift_high': -0.1,
        'train/lore/uplift': -0.3, 'train/lore/trust': 0.9,
        'train/lore/uplift_shown': shown})
    assert verdict(advice.check_uplift, log) == expected


@pytest.mark.parametrize('enabled, change', [
    (True, 'Train longer'), (False, 'trust.enabled True')])
def test_no_uplift_yet(enabled, change):
  """Who has turned the comparison on is not told to."""
  log = healthy()
  log.config['lore.trust.enabled'] = enabled
  for row in log.rows:
    del row['train/lore/uplift']
  assert change in advice.check_uplift(log).change


@pytest.mark.parametrize('changes, expected', [
    (dict(hits=0, misses=2000, states=2000), 'problem'),
    (dict(hits=800, misses=1200, states=1100), 'warning'),
    (dict(hits=800, misses=1200, states=80), 'warning'),
    (dict(hits=0, misses=100), 'unknown')])
def test_cache(changes, expected):
  log = healthy()
  log.summary['advisor'].update(changes)
  assert verdict(calls.check_cache, log) == expected


def test_a_cache_that_was_switched_off():
  log = healthy()
  log.config['lore.advisor.cache'] = False
  log.summary['advisor'].update(hits=0, misses=2000)
  assert verdict(calls.check_cache, log) == 'warning'
  assert 'is False' in calls.check_cache(log).evidence


def test_pictures_are_not_expected_to_return():
  log = healthy()
  log.summary['advisor'].update(hits=0, misses=2000, states=2000)
  log.config['lore.world'] = 'vision'
  assert verdict(calls.check_cache, log) == 'ok'


def test_cache_tells_new_texts_from_missing_replies():
  log = healthy()
  log.summary['advisor'].update(hits=800, misses=1200, states=1100)
  assert 'new words' in calls.check_cache(log).change
  log.summary['advisor'].update(states=80, refused_budget=9)
  assert '--lore.advisor.calls' in calls.check_cache(log).change


@pytest.mark.parametrize('first, refused, expected', [
    (4, 500, 'problem'), (4, 50, 'warning'), (16, 500, 'warning'),
    (0, 0, 'ok')])
def test_budget(first, refused, expected):
  log = healthy()
  log.summary['advisor']['refused_budget'] = refused
  for i, row in enumerate(log.rows):
    row['train/advisor/refused_budget'] = refused * (i >= first)
  assert verdict(calls.check_budget, log) == expected


def test_no_budget_at_all():
  log = healthy()
  log.config['lore.advisor.calls'] = 0
  log.summary['advisor'].update(calls=0, refused_budget=1000)
  assert verdict(calls.check_budget, log) == 'warning'
  assert 'no call is allowed' in calls.check_budget(log).evidence


@pytest.mark.parametrize('changes, expected', [
    (dict(failures=2, failures_busy=2), 'warning'),
    (dict(failures=40, failures_rejected=40), 'problem'),
    (dict(calls=0, answered=0), 'problem'), (dict(calls=0), 'ok'),
    (dict(calls=0, answered=0, sole=900), 'ok'),
    (dict(calls=0, answered=0, sole=900, refused_budget=1), 'problem')])
def test_failures(changes, expected):
  log = healthy()
  log.summary['advisor'].update(changes)
  assert verdict(calls.check_failures, log) == expected


@pytest.mark.parametrize('refused, words', [
    ({'cooldown': 900, 'budget': 3}, 'lower --lore.advisor.cooldown'),
    ({'certain': 900}, '--lore.advisor.min_u'), ({'control': 9}, 'Nothing'),
    ({'budget': 900, 'cooldown': 3}, 'Allow more calls'),
    ({'open': 900}, 'see the finding "calls"'), ({}, 'Train longer'),
    ({'odd': 5}, "'odd'")])
def test_two_of_98_calls_lead_to_what_held_back_the_others(refused, words):
  """More calls are no help where few of those allowed were made."""
  log = healthy()
  log.summary['advisor'].update(hits=800, misses=1200, calls=2, **{
      f'refused_{k}': v for k, v in refused.items()})
  found = calls.check_cache(log)
  assert words in found.change
  assert ('Allow more calls' in found.change) == ('Allow' in words)


@pytest.mark.parametrize('kind, words', [
    ('rejected', 'the key'), ('busy', 'asks to wait'), ('failed', 'network'),
    ('parse', 'another --lore.advisor.model'), ('store', 'the disk')])
def test_failures_lead_to_their_cause(kind, words):
  log = healthy()
  log.config.update({
      'lore.advisor.provider': 'openai', 'lore.advisor.model': 'm'})
  log.summary['advisor'].update({
      'failures': 40, f'failures_{kind}': 39, 'failures_internal': 1})
  found = calls.check_failures(log)
  assert words in found.change
  assert 'doctor --lore.advisor.provider openai --lore.advisor.model m`' in (
      found.change)


def test_the_cap_that_is_used_up_is_named():
  log = healthy()
  log.config['lore.advisor.money'] = 2.0
  log.summary['advisor'].update(calls=2, money=1.99, refused_budget=500)
  assert 'Raise --lore.advisor.money, or' in calls.check_budget(log).change


@pytest.mark.parametrize('saved, expected', [
    (2000, 'ok'), (2100, 'ok'), (None, 'ok'), (300, 'problem')])
def test_a_log_ahead_of_the_checkpoint(logdir, saved, expected):
  if saved is not None:
    folder = checkpoint.folder(logdir) / '20260101T000000F000000'
    folder.mkdir(parents=True)
    (folder / 'step.pkl').write_bytes(pickle.dumps(saved))
    (folder / 'done').touch()
  found = doctor.check_log(loglib.read(logdir))
  assert found.verdict == expected
  assert ('1,700 steps were trained and not saved' in found.evidence) == (
      expected != 'ok')


def test_counters_of_a_run_under_way():
  log = healthy()
  log.summary = None
  assert verdict(doctor.check_log, log) == 'warning'
  assert '1900 of 2000' in calls.check_cache(log).evidence


@pytest.mark.parametrize('alone, scores, expected', [
    (0.9, 0.9, 'ok'), (0.11, 0.9, 'problem'), (0.6, 0.9, 'warning'),
    (0.2, 0.0, 'warning'), (0.0, 0.0, 'problem')])
def test_alone(alone, scores, expected):
  log = healthy()
  log.summary['alone'] = {'success': alone, 'episodes': 100}
  for row in log.journal:
    row.update(score=scores, success=float(scores > 0))
  assert verdict(learning.check_alone, log) == expected


@pytest.mark.parametrize('said, expected', [
    (None, 'unknown'), (0.0, 'problem'), (1.0, 'ok')])
def test_a_return_is_no_success(said, expected):
  """CartPole's returns are all above 0, whatever it learns."""
  log = healthy()
  log.summary = None
  log.config['task'] = 'gymnasium_CartPole-v1'
  for row in log.journal:
    row.update(score=20.0, success=said)
  assert verdict(learning.check_alone, log) == expected


def test_an_evaluation_without_a_notion_of_success():
  """Of Crafter, without advice and so without a journal."""
  log = healthy()
  log.config.update({'task': 'crafter_symbolic', 'lore.enabled': False})
  log.journal = []
  log.summary['alone'] = {'success': None, 'episodes': 40, 'score': 3.25}
  found = learning.check_alone(log)
  assert found.verdict == 'unknown'
  assert 'mean return 3.25 in 40 episodes of new seeds' in found.evidence
  log.config['task'] = 'gymnasium_FrozenLake-v1'
  log.summary['alone'] = dict(ALONE)
  assert 'in 100 episodes of new seeds' in learning.check_alone(log).evidence


@pytest.mark.parametrize('control, expected', [(0.9, 'ok'), (0.0, 'problem')])
def test_alone_by_the_control_group(control, expected):
  log = healthy()
  log.summary = None
  for row in log.journal:
    row['success'] = float(row['advised'] or control > 0)
  assert verdict(learning.check_alone, log) == expected
  log.journal = log.journal[:20]
  assert verdict(learning.check_alone, log) == 'unknown'


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
      '10 ok, 0 warning, 0 problem, 0 unknown\n')
  doctor.main(['--json', str(logdir)])
  data = json.loads(capsys.readouterr().out)
  assert data['verdict'] == 'ok' and len(data['findings']) == 10
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
  log = loglib.read(logdir)
  assert len(log.rows) == 20 and len(log.steps) == 100 and not log.summary
  found = doctor.check_log(log)
  assert found.verdict == 'warning' and 'lines that' in found.evidence
  (logdir / 'config.yaml').write_text('lore: {enab')
  with pytest.raises(errors.ConfigError, match='half written'):
    loglib.read(logdir)


def test_folders_without_a_run(tmp_path, logdir):
  empty = tmp_path / 'empty'
  with pytest.raises(errors.ConfigError, match='not a folder'):
    loglib.read(empty)
  empty.mkdir()
  with pytest.raises(errors.ConfigError, match='it is empty'):
    loglib.read(empty)
  outer = tmp_path / 'outer'
  (outer / 'inner').mkdir(parents=True)
  (outer / 'inner' / 'config.yaml').touch()
  with pytest.raises(errors.ConfigError, match='Runs are inside'):
    loglib.read(outer)
  (logdir / 'metrics.jsonl').unlink()
  (logdir / 'scores.jsonl').unlink()
  with pytest.raises(errors.ConfigError, match='logged nothing yet'):
    loglib.read(logdir)
  with pytest.raises(errors.ConfigError, match='after the logdir'):
    doctor.main([str(logdir), 'another'])


def test_readable_without_a_screen():
  text = finding.table([
      finding.Finding('a', 'ok', 'fine'),
      finding.Finding('b', 'problem', 'broken', 'mend it')])
  assert text == (
      'ok       a: fine\nproblem  b: broken\n         -> mend it\n'
      '1 ok, 0 warning, 1 problem, 0 unknown')
  assert finding.overall([]) == 'ok'
