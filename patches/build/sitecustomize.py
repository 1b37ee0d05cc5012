"""Supplies what the published `dreamer==3.3.1` needs in order to be built.

On PYTHONPATH while pip builds that one source distribution, and nowhere else.
Its `setup.py` opens a `requirements.txt` that was left out of the archive, and
the package imports `embodied.envs`, which was left out as well. Both are made
here, empty; see patches/README.md.
"""

import pathlib
import sys


def repair(root):
  """Adds the missing files to an unpacked dreamer 3.3.1; else does nothing."""
  root = pathlib.Path(root)
  try:
    meta = (root / 'PKG-INFO').read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError):
    return False
  if 'Name: dreamer' not in meta or 'Version: 3.3.1' not in meta:
    return False
  wanted = root / 'requirements.txt'
  if not wanted.exists():
    # Empty on purpose: LoRe's setup.py states what is really needed.
    wanted.write_text('', encoding='utf-8')
  envs = root / 'embodied' / 'envs'
  if (root / 'embodied').is_dir() and not envs.exists():
    envs.mkdir()
    (envs / '__init__.py').write_text('', encoding='utf-8')
  return True


def chain():
  """Runs the sitecustomize that this one hides, as Python would have."""
  here = pathlib.Path(__file__).resolve().parent
  for entry in sys.path:
    folder = pathlib.Path(entry or '.').resolve()
    path = folder / 'sitecustomize.py'
    if folder != here and path.is_file():
      code = compile(path.read_bytes(), str(path), 'exec')
      exec(code, {'__name__': 'sitecustomize', '__file__': str(path)})
      return


repair('.')
chain()
