"""The built-in zero-shot converter: small, causal, and trained by the recipe in ``training/``."""
