"""LoRe: a language model advises DreamerV3 while the agent is unsure."""

__version__ = '0.2.0'
