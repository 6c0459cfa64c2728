"""What the stages of a plan came to: figures, comparisons with error bars, tables."""
