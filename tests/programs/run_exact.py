"""Runs LoRe without upstream's threads, see tiny.in_order."""

import sys

import tiny

from lore_plugin import launch

tiny.in_order()
sys.exit(launch.main())
