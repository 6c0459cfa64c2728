"""Stands in for vLLM, which needs a GPU: the same command starts our own server."""
