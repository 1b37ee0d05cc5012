import elements
import numpy as np
import pytest

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import launch
from lore_plugin.upstream import checkpoint as restore
from lore_plugin import upstream


def params(**shapes):
  return {k.replace('__', '/'): np.zeros(v) for k, v in shapes.items()}


HAVE = params(pol__head=(2, 7), val__head=(3,), lore_dual__value=())


def test_the_same_agent_takes_all():
  taken, extra = restore.fit(dict(HAVE), HAVE)
  assert taken.keys() == HAVE.keys() and not extra


def test_own_state_comes_and_goes_with_options():
  saved = {
      **params(pol__head=(2, 7), val__head=(3,)),
      **params(lore_moments_value__mean=(), lore_dual__value=(4,))}
  taken, extra = restore.fit(saved, HAVE)
  assert taken.keys() == {'pol/head', 'val/head'}
  # Gone, and of another shape.
  assert extra == ['lore_dual/value', 'lore_moments_value/mean']
  assert restore.modules(extra) == 'lore_dual, lore_moments_value'
  # As of an agent that was never advised.
  assert restore.fit(params(pol__head=(2, 7), val__head=(3,)), HAVE)[1] == []


@pytest.mark.parametrize('saved, words', [
    (params(pol__head=(2, 7)), '1 of 2 parameters differ; val/head is mi'),
    (params(pol__head=(2, 7), val__head=(4,)), 'of shape (4,) in the check'),
    (params(pol__head=(2, 7), val__head=(3,), rew=()), 'rew is of shape ()'),
])
def test_another_agent(saved, words):
  with pytest.raises(errors.ConfigError) as e:
    restore.fit(saved, HAVE)
  assert words in str(e.value) and '--configs' in str(e.value)


def test_a_part_of_a_checkpoint():
  saved = params(pol__head=(2, 7), val__head=(9,), lore_gone=())
  taken, extra = restore.fit(saved, HAVE, 'pol/|lore_')
  assert taken.keys() == {'pol/head'} and extra == ['lore_gone']
  with pytest.raises(errors.ConfigError, match='val/head is of shape'):
    restore.fit(saved, HAVE, '.*')
  with pytest.raises(errors.ConfigError, match='fits none of the 3 param'):
    restore.fit(saved, HAVE, 'enc/')


def configured(tmp_path, *argv):
  return configlib.resolve(
      ['--configs', 'minigrid', *argv, '--logdir', str(tmp_path)],
      configlib.load(upstream.find().configs))


@pytest.mark.parametrize('before, now, words', [
    (['lore'], [], '--lore.gate.beta_max 0'),
    ([], ['lore'], 'without lore'),
    (['lore', '--lore.gate.hysteresis', '0.5'], ['lore'],
     '--lore.gate.hysteresis 0.5'),
    (['lore'], ['lore', '--lore.gate.hysteresis', '0.5'], 'lacks'),
])
def test_replay_of_another_kind(tmp_path, before, now, words):
  found = upstream.find()
  config = configured(tmp_path, *now)
  # No run yet, or one that has saved nothing.
  restore.check_replay(config, found)
  configured(tmp_path, *before).save(elements.Path(tmp_path / 'config.yaml'))
  restore.check_replay(config, found)
  folder = upstream.checkpoint(tmp_path, found.version)
  (folder / '1').mkdir(parents=True)
  restore.check_replay(config, found)
  (folder / '1' / 'done').touch()
  with pytest.raises(errors.ConfigError) as e:
    restore.check_replay(config, found)
  assert words in str(e.value) and str(tmp_path) in str(e.value)
  restore.check_replay(configured(tmp_path, *before), found)
  # Upstream's parallel script has another place.
  parallel = config.update(script='parallel')
  restore.check_replay(parallel, found)
  folder = upstream.checkpoint(tmp_path, found.version, 'parallel')
  (folder / '1').mkdir(parents=True)
  (folder / '1' / 'done').touch()
  with pytest.raises(errors.ConfigError, match='trained with'):
    restore.check_replay(parallel, found)
  # Who only looks on reads no replay, and other file systems are not read.
  restore.check_replay(config.update(script='eval_only'), found)
  restore.check_replay(config.update(logdir='gs://bucket/run'), found)
  # What was written by half says nothing.
  (tmp_path / 'config.yaml').write_text('a: [1')
  restore.check_replay(config, found)


def test_a_refused_run_keeps_its_configuration(tmp_path):
  path = tmp_path / 'config.yaml'
  path.write_text('old')
  with pytest.raises(errors.ConfigError):
    with restore.keep_config(tmp_path):
      path.write_text('new')
      raise errors.ConfigError('no')
  assert path.read_text() == 'old'
  with restore.keep_config(tmp_path):
    path.write_text('new')
  assert path.read_text() == 'new'
  with pytest.raises(errors.ConfigError):
    with restore.keep_config(tmp_path / 'none'):
      raise errors.ConfigError('no')
  assert not (tmp_path / 'none').exists()


def test_the_program_keeps_it(tmp_path, monkeypatch, capsys):
  path = tmp_path / 'config.yaml'
  path.write_text('task: old')
  def refuse(config, **parts):
    path.write_text('task: new')
    raise errors.ConfigError('It does not fit.')
  monkeypatch.setattr(upstream, 'run', refuse)
  assert launch.main(['--configs', 'minigrid', '--logdir', str(tmp_path)]) == 2
  assert capsys.readouterr().err == 'lore: It does not fit.\n'
  assert path.read_text() == 'task: old'
