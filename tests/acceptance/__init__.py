"""What a user does, and what he sees: whole programs as processes of their own, bad input of every kind.

`programs/` holds scripts as people write them for BCC; `process` runs one and watches what it says.
"""
