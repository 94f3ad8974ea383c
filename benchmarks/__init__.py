"""Speed, memory and time to quality, measured; see docs/performance.md. Not part of the package."""
