"""Pictures in the place of words: how they travel, and how they are shown.

A world that has no words gives its picture as the facts of a question: as a
data URL, which is a text like any other to the table, the store and the
server. Providers that see send the picture, enlarged; to the others it says
nothing.
"""

import base64
import functools
import io

import numpy as np

PREFIX = 'data:image/png;base64,'
# Models read small pictures badly, and pay for large ones by their area.
LONG = 512


def encode(image: np.ndarray) -> str:
  """Returns a picture as a data URL.

  Args:
    image: Shape [H, W, 1 or 3], u8.
  """
  import PIL.Image
  image = np.asarray(image)
  squeezed = image[..., 0] if image.shape[-1] == 1 else image
  file = io.BytesIO()
  PIL.Image.fromarray(squeezed).save(file, 'PNG', compress_level=3)
  return PREFIX + base64.b64encode(file.getvalue()).decode('ascii')


def room(shape: tuple[int, ...]) -> int:
  """Returns the most bytes that a picture takes as a data URL.

  Args:
    shape: Height, width and channels.
  """
  height, width, channels = shape
  # What can't be compressed costs a byte a row and a few a block.
  data = height * (width * channels + 1)
  return (data + data // 500 + 1000) * 4 // 3 + len(PREFIX)


def is_picture(text: str) -> bool:
  """Whether a text is a picture."""
  return text.startswith(PREFIX)


@functools.lru_cache(maxsize=8)
def enlarge(text: str) -> str:
  """Returns a picture for a model's eyes, as a PNG in base64.

  Each pixel becomes a square, so that the longer side has about 512 pixels.
  """
  import PIL.Image
  data = text.removeprefix(PREFIX)
  with PIL.Image.open(io.BytesIO(base64.b64decode(data))) as image:
    factor = LONG // max(image.size)
    if factor <= 1:
      return data
    size = factor * image.width, factor * image.height
    file = io.BytesIO()
    image.resize(size, PIL.Image.Resampling.NEAREST).save(file, 'PNG')
  return base64.b64encode(file.getvalue()).decode('ascii')
