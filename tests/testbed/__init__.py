"""Real container engines and registries in a scratch folder, started and removed by the tests.

Nothing here touches an engine that the machine already runs. See README.md beside this file.
"""
