"""Trains on made-up experience with proven advice, and prints what is logged.

The flags choose devices; --jax.mock_devices makes several of one machine.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import agents  # noqa: E402

if __name__ == '__main__':
  print(json.dumps(agents.learn_what_is_proven(sys.argv[1:])))
