"""Parts of genflow from another package."""
