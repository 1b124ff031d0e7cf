"""What is kept: files and folders that appear whole or not at all, and models as files that run no code."""
