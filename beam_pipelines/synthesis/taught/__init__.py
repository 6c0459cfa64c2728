"""Sets that a teacher model writes, one module each: what it is asked, what is kept.

A set is a frozen dataclass that gin binds, and `set.TaughtSet` says what it has to offer.
"""
