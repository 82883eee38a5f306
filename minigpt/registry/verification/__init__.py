"""Prove a version: build it again, or hash again what is stored of it."""
