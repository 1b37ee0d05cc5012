"""Installs LoRe. The official dreamerv3 is installed apart; see Makefile."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent


def version():
  text = (ROOT / 'lore_plugin/__init__.py').read_text(encoding='utf-8')
  return re.search(r"^__version__ = '(.+)'$", text, re.M).group(1)


def long_description():
  readme = ROOT / 'README.md'
  return readme.read_text(encoding='utf-8') if readme.exists() else ''


# What upstream imports. Its own metadata pins jax to one version for CUDA 12,
# and names tools for debugging that it does not import.
UPSTREAM = [
    'av',
    'chex',
    'cloudpickle',
    'einops',
    'elements>=3.19.1',
    'google-resumable-media>=2.7.2',
    'granular>=0.20.3',
    'jax>=0.4.33',
    'ninjax>=3.5.1',
    'numpy>=1.26',
    'nvsmi',
    'optax',
    'portal>=3.5.0',
    'psutil',
    'ruamel.yaml>=0.17.4',
    'scope>=0.4.4',
    'tqdm',
]

OURS = [
    'anthropic>=0.40',
    'crafter>=1.8.3',
    'filelock>=3.30',
    'genai-prices>=0.2',
    'gymnasium>=1.0',
    'httpx2>=2',
    'minigrid>=3.0',
    # Later ones take five times as long to make a world of Crafter.
    'opensimplex<0.4',
    'pydantic>=2.7',
    'scipy>=1.15',
    'starlette>=0.40',
    'uvicorn>=0.30',
    'xllamacpp>=2025.1',
]

# Built-in parts come in by the door that is open to other packages.
PROVIDERS = {
    'adversarial': 'Adversarial',
    'anthropic': 'Anthropic',
    'flawed': 'Flawed',
    'local': 'Local',
    'mock': 'Mock',
    'openai': 'OpenAI',
    'random': 'Random',
    'scripted': 'Scripted',
    'shuffled': 'Shuffled',
    'uniform': 'Uniform',
}

WORLDS = {
    'crafter': 'crafter.world:CrafterWorld',
    'generic': 'generic:GenericWorld',
    'minigrid': 'minigrid.world:MiniGridWorld',
    'vision': 'vision:VisionWorld',
}

EXTRAS = {
    'atari': ['ale-py>=0.10'],
    'cuda12': ['jax[cuda12]>=0.4.33'],
    'cuda13': ['jax[cuda13]>=0.7.2'],
    'openai': ['openai>=1.50'],
    'report': ['matplotlib>=3.8'],
    'ray': ['ray>=2.9'],
    # elements writes for TensorBoard by tensorflow.
    'tensorboard': ['tensorflow'],
    'tune': ['optuna>=4'],
    'wandb': ['wandb'],
    'test': [
        'hypothesis', 'ipykernel', 'matplotlib>=3.8', 'mypy>=1.11',
        'nbclient>=0.10', 'openai>=1.50', 'optuna>=4', 'pytest>=8',
        'pytest-xdist', 'ray>=2.9', 'ruff'],
}

setuptools.setup(
    name='lore-dreamerv3',
    version=version(),
    author='The LoRe authors',
    description='A language model advises DreamerV3 while it is unsure',
    long_description=long_description(),
    long_description_content_type='text/markdown',
    license='MIT',
    license_files=['LICENSE'],
    python_requires='>=3.11',
    # The fixed folders beside the package travel inside it.
    packages=[
        *setuptools.find_packages(include=['lore_plugin', 'lore_plugin.*']),
        'lore_plugin.configs', 'lore_plugin.patches'],
    package_dir={
        'lore_plugin.configs': 'configs',
        'lore_plugin.patches': 'patches'},
    package_data={
        'lore_plugin': [
            '**/*.txt', '**/*.json', '**/*.yaml', '**/*.md', '**/*.html',
            '**/*.css', '**/*.js', '*.pyi', 'py.typed'],
        'lore_plugin.configs': ['*.yaml'],
        'lore_plugin.patches': ['*.yaml', '*.txt', '*.md', 'build/*.py']},
    install_requires=UPSTREAM + OURS,
    extras_require=EXTRAS,
    entry_points={
        'console_scripts': ['lore = lore_plugin.__main__:main'],
        'lore_plugin.providers': [
            f'{k} = lore_plugin.advisor.providers.{k}:{v}'
            for k, v in PROVIDERS.items()],
        'lore_plugin.worlds': [
            f'{k} = lore_plugin.worlds.{v}'
            for k, v in WORLDS.items()],
    },
    classifiers=[
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
