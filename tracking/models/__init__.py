"""Published models by name: a catalogue, where a model lies on this machine, and how it gets there.

The catalogue (`catalogue.json`) is data: addresses, sizes, hashes, licences and the preprocessing of models that others
have published. `resolve.py` finds a model in the models folder or the cache, and downloads it if the user said so.
Detectors and embedders come here with a name, and get a path.
"""
