"""Tokenizer, token stores, and the data order: what a model reads, and when."""
