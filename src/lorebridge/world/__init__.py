"""The planted world: languages, facts, documents, questions, and the truth about them."""
