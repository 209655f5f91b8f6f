"""Question sets, cloze scoring, and the decisions that follow from the scores."""
