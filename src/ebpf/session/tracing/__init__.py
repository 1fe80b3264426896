"""Scripts of the tracing language while they run: `build` compiles, `trace` runs, the rest reads, names and prints."""
