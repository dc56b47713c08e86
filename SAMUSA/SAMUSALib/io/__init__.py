"""Reading clips and prompts, writing segmentations. Heavy libraries are imported on use."""
