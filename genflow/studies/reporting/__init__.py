"""What all studies share: numbers, tables, pictures, reports, and the folder that they go to."""
