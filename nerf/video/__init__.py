"""From camera paths to films."""
