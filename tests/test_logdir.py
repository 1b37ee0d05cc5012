"""The files of a run."""

import pathlib

import hypothesis
import hypothesis.strategies as st
import pytest

from lore_plugin import errors
from lore_plugin import logdir


def test_paths_are_expanded_once(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  assert logdir.expand('~/x') == logdir.expand('x') == tmp_path / 'x'
  assert logdir.expand('~') == tmp_path
  # As the shell and the system read them.
  assert logdir.expand('./~') == tmp_path / '~'
  assert logdir.expand('a/~/b') == tmp_path / 'a' / '~' / 'b'
  assert logdir.expand('$HOME') == tmp_path / '$HOME'
  assert logdir.expand(tmp_path / 'a b') == tmp_path / 'a b'


@pytest.mark.parametrize('text, match', [
    ('', 'is no path'), ('a\0b', 'is no path'),
    ('~nobody-of-this-name/x', 'no home folder ~nobody-of-this-name'),
    ('gs://bucket/x', 'not on this machine')])
def test_what_is_no_path_is_said(text, match):
  with pytest.raises(errors.ConfigError, match=match):
    logdir.expand(text)


@hypothesis.given(
    st.text(st.characters(exclude_characters='\0~:'), min_size=1))
@hypothesis.settings(deadline=None)
def test_expanding_again_changes_nothing(text):
  path = logdir.expand(text)
  assert path.is_absolute() and logdir.expand(path) == path
  assert path == pathlib.Path.cwd() / text
