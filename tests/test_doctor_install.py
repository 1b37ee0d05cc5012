"""The doctor's look at an installation."""

import dataclasses
import json
import pathlib
import re
import types

import pytest

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import upstream
from lore_plugin.doctor import install
from lore_plugin.doctor import run as doctor
from lore_plugin.upstream import contract


def test_installation(monkeypatch, capsys):
  for name in install.http.KEYS:
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
  found = install.check_key(section())
  assert found.verdict == 'ok' and 'ANTHROPIC_API_KEY' in found.evidence
  assert '1234' not in str(dataclasses.astuple(found))
  monkeypatch.setenv('ANTHROPIC_API_KEY', 'not-a-key-1234\n')
  found = install.check_key(section())
  assert found.verdict == 'problem'
  assert '1234' not in str(dataclasses.astuple(found))


def test_missing_keys(monkeypatch):
  for name in install.http.KEYS:
    monkeypatch.delenv(name, raising=False)
  assert install.check_key(section()).verdict == 'problem'
  openai = section(provider='local,openai', url='http://127.0.0.1:1/v1')
  assert install.check_key(openai).verdict == 'warning'
  assert install.check_key(section(provider='auto')).verdict == 'ok'


def test_missing_parts(monkeypatch):
  found = install.check_model(
      section(provider='local', model='/nowhere.gguf'))
  assert found.verdict == 'problem' and 'nowhere.gguf' in found.evidence
  monkeypatch.setattr(
      install, 'PACKAGES', ('numpy', 'no-such-package'))
  found = install.check_versions()
  assert found.verdict == 'problem' and 'no-such-package' in found.change


def test_no_upstream(monkeypatch):
  def find():
    raise errors.UpstreamError('DreamerV3 is not installed.')
  monkeypatch.setattr(upstream, 'find', find)
  monkeypatch.setattr(contract, 'find', find)
  assert install.check_upstream().verdict == 'problem'
  assert install.check_patch().verdict == 'unknown'


@pytest.mark.parametrize('state, expected', [
    ('absent', 'warning'), ('foreign', 'warning')])
def test_patch(monkeypatch, tmp_path, state, expected):
  monkeypatch.setattr(
      upstream, 'find', lambda: types.SimpleNamespace(folder=tmp_path))
  if state == 'foreign':
    (tmp_path / '__main__.py').write_text('print()\n')
  assert install.check_patch().verdict == expected


def test_a_provider_that_fails(monkeypatch):
  monkeypatch.setenv('ANTHROPIC_API_KEY', 'not-a-key-1234')

  class Broken:
    def close(self):
      self.closed = True

    def ask(self, query):
      raise errors.RejectedCall('no such key: not-a-key-1234')

  broken = Broken()
  monkeypatch.setattr(
      install.providers, 'create', lambda *args: broken)
  found = install.check_call('anthropic', section())
  assert found.verdict == 'problem' and broken.closed
  assert 'the key' in found.change
  assert found.evidence == 'RejectedCall: no such key: ***'


@pytest.mark.parametrize('error, words', [
    (errors.BusyCall('x'), 'asks to wait'),
    (errors.FailedCall('x'), 'network'),
    (errors.ParseError('x'), 'another --lore.advisor.model'),
    (errors.MissingKey('Type export X=...'), '')])
def test_what_to_do_about_a_call_that_fails(monkeypatch, error, words):
  def create(*args):
    raise error
  monkeypatch.setattr(install.providers, 'create', create)
  found = install.check_call('anthropic', section())
  assert found.verdict == 'problem' and words in found.change
  assert 'provider local' not in found.change


def test_hints_name_keys_that_exist():
  keys = configlib.load()['defaults']
  named = {
      x for path in pathlib.Path(install.__file__).parent.glob(
          '*.py')
      for x in re.findall(
          r'--((?:lore|run|agent|logger)\.[a-z_.]*[a-z_])(?![a-z_.{])',
          path.read_text())}
  assert len(named) > 20
  assert [x for x in sorted(named) if x not in keys] == []
