"""From sources to tables: the script filter, documents and pairs with their audits, chunks for retrieval."""
