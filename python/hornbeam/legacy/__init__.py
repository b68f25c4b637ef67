"""Translation of Keras 1 spellings."""
