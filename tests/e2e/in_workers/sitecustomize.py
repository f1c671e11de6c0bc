"""Imported by every Python process that finds this folder: workers of a service of small networks.

They build their converters by themselves, so they need them small too.
"""

from small_seedvc import make_small

make_small()
