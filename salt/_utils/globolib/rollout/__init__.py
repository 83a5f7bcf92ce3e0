"""
A version on many servers, from the master: a rollout is a stored object, and its engine a pure state machine.

``state`` holds the values, ``engine`` decides, ``drive`` carries out, ``show`` says what happened.
"""
