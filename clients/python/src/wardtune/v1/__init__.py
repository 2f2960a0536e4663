"""The generated messages and stubs of wardtune.v1. Made by generate.py."""
