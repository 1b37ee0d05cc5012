"""LoRe's main() in the small world: run_lore.py FLAGS..."""

import sys

import tiny
from lore_plugin import launch
from lore_plugin import upstream

upstream.original()
tiny.prepare()
sys.exit(launch.main(sys.argv[1:]))
