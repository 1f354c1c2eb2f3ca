"""Where text becomes tokens: sources, tokenization, the prepared store, batches."""
