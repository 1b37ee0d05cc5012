"""From a configuration to an advisor, and from one run to the next."""

import copy
import logging

import pytest
import questions
from advising import consider

from lore_plugin import errors
from lore_plugin import options
from lore_plugin.advisor import build
from lore_plugin.advisor import store as storelib

DEFAULTS = options.section('lore.advisor')


class TestConfig:

  def config(self, tmp_path, **kwargs):
    section = copy.deepcopy(DEFAULTS)
    section.update(provider='scripted')
    section.update(kwargs)
    return {
        'logdir': str(tmp_path), 'seed': 0, 'lore': {'advisor': section}}

  def test_builds(self, tmp_path):
    advisor = build.build(self.config(tmp_path), 4)
    _, valid = consider(advisor, 'a')
    assert valid.all()
    advisor.close()
    advisor.close()
    assert (tmp_path / 'advice.sqlite').is_file()

  @pytest.mark.parametrize('kwargs, text', [
      (dict(provider='antropic'), "'antropic'.*anthropic, flawed"),
      (dict(mode='word'), "'word'.*subgoal, action"),
      (dict(calibrate='yes'), "'yes'.*auto, always, never"),
      (dict(calls=-2), 'lore.advisor.calls is -2'),
      (dict(cooldown=-1), 'lore.advisor.cooldown is -1'),
      (dict(timeout=0.0), 'lore.advisor.timeout is 0.0'),
      (dict(retries=-1), 'lore.advisor.retries is -1'),
      (dict(ask='later'), "'later'.*auto, sync, async"),
      (dict(provider='scripted,'), "''.*anthropic, flawed"),
  ])
  def test_bad_values(self, tmp_path, kwargs, text):
    with pytest.raises(errors.ConfigError, match=text):
      build.build(self.config(tmp_path, **kwargs), 4)

  def test_money_needs_a_price(self, tmp_path, monkeypatch):
    monkeypatch.setenv('ANTHROPIC_API_KEY', 'x')
    config = self.config(
        tmp_path, provider='anthropic', model='unheard-of', money=1.0)
    with pytest.raises(errors.ConfigError, match='price.input'):
      build.build(config, 4)
    # One that is known, or stated, or of this machine.
    for more in (
        dict(model='claude-haiku-4-5'),
        dict(model='unheard-of', price=dict(input=1.0, output=2.0)),
        dict(model='unheard-of', url='http://127.0.0.1:9')):
      build.build(self.config(
          tmp_path, provider='anthropic', money=1.0, **more), 4).close()

  @pytest.mark.parametrize('cap', ['money', 'tokens'])
  def test_caps_on_cost_are_the_servers(self, tmp_path, cap):
    for most in (2, 0):
      config = self.config(
          tmp_path, address='127.0.0.1:9', **{cap: most})
      config['lore']['world'] = 'auto'
      for start in (build.rehearse, lambda x: build.build(x, 4)):
        with pytest.raises(errors.ConfigError) as e:
          start(config)
        assert f'lore.advisor.{cap} is {most}' in str(e.value)
        assert f'9 --lore.advisor.{cap} {most}`' in str(e.value)
        assert f'--lore.advisor.{cap} -1 here' in str(e.value)
    # Calls are counted by the run itself; a replay asks no server.
    config['lore']['advisor'].update({cap: -1, 'calls': 5})
    assert build.rehearse(config) == []
    config['lore']['advisor'].update({cap: 2, 'replay': 'lenient'})
    assert build.rehearse(config) == []

  def test_unusable_store(self, tmp_path):
    (tmp_path / 'x.sqlite').write_text('hello ' * 1000)
    config = self.config(tmp_path, store=str(tmp_path / 'x.sqlite'))
    with pytest.raises(errors.StoreError):
      build.build(config, 4)

  def test_advice_of_a_world_that_is_gone(self, tmp_path, caplog):
    store = storelib.Store(tmp_path / 'advice.sqlite')
    store.add(questions.row('You see a key.', describer='minigrid-1'))
    store.close()
    with caplog.at_level(logging.WARNING):
      build.build(self.config(tmp_path), 4).close()
    assert '1 replies in the words of minigrid-view, a world' in caplog.text
    with pytest.raises(errors.ConfigError, match='be replayed.*replay none'):
      build.build(self.config(tmp_path, replay='strict'), 4)

  def test_where_the_file_is(self, tmp_path):
    locate = lambda x: str(build.locate(x, '/log.dir'))
    assert locate('') == '/log.dir/advice.sqlite'
    assert locate('/x/shared.db') == '/x/shared.db'
    assert locate('/x/shared') == '/x/shared/advice.sqlite'
    folder = tmp_path / 'a.b'
    folder.mkdir()
    assert locate(str(folder)) == f'{folder}/advice.sqlite'
