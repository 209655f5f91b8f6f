"""Which facts a multilingual model knows in which language (Zhao et al., EACL 2024): given models, asked facts."""
