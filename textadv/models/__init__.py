"""The networks: normalized embedding, LSTM encoder, language model, classifier."""
