"""A cluster in virtual time: the real core and the real state machine, everything else played.

One heap of callbacks, one seeded source of chance, no clock and no set that is ever iterated: the
same seed is the same story, whatever PYTHONHASHSEED says.
"""
