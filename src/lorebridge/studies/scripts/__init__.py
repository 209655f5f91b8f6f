"""Whether knowledge stays within a script: judged answers of any models to questions of one language in others."""
