"""lorebridge: how cultural knowledge crosses between languages while a language model learns the second one."""

__version__ = "0.1.0"
