"""Zhang et al., ACL 2025: a base language, others learned from it with a bridge between them or without."""
