"""Names: what people type becomes the classes, parts and models that they mean."""
