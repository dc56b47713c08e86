"""The panels of the module SAMUSA, one file each; `qt` and `slicer` are imported where used."""
