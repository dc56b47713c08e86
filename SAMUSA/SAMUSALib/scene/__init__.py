"""MRML nodes to domain types and back; no Qt, no torch. docs/scene.md shows how it is used."""
