"""Drawings of annotated plates: closed shapes, each with its structure."""
