"""The demo: real media as live topics through a pipeline, watched as a reader sees it."""
