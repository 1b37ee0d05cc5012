"""Runs LoRe with upstream's prefetching thread replaced, see tiny.Inline."""

import sys

import embodied
import tiny

from lore_plugin import launch

embodied.streams.Prefetch = tiny.Inline
sys.exit(launch.main())
