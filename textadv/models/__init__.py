"""The networks: normalized embedding, encoders, language model, classifier."""
