"""Measurements that a person runs; nothing here is installed."""
