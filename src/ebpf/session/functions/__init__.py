"""Python functions as programs: declared maps and variables, decorators for every hook, `attach`.

``hooks`` are the decorators, made from the table of section names; ``function`` what they make; ``containers`` and
``globals`` what programs share with Python; ``attaching`` compiles, loads, attaches, and binds the declarations to the
session, whose maps they then are. ``codecs`` are the declared types of keys, values and events.
"""
